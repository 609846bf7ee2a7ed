//! IPv4 (RFC 791).

use std::net::{IpAddr, Ipv4Addr};

use super::checksum::Sum;
use super::{Fragment, HeaderError, IpHeader, PlainHeader, field16, header};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;
/// Length of the longest header, in bytes.
pub const LONGEST_HEADER: usize = 60;

/// Version and length as the first byte has them.
const WITHOUT_OPTIONS: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;
/// The offset of a fragment is in units of so many bytes.
const OFFSET_UNIT: u16 = 8;

/// Options of one byte: the end of the list, and padding.
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
/// Set in the type of an option that every fragment has.
const COPIED: u8 = 0x80;

/// The destination address, as far as the bytes reach to it; nothing else is checked.
#[inline]
pub fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    packet.get(16..20)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

/// The source address, likewise.
pub fn source(packet: &[u8]) -> Option<Ipv4Addr> {
    packet.get(12..16)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

/// Whether no packet with this source may be forwarded (RFC 1812 section 5.3.7): "this network" (0/8), loopback (127/8),
/// link-local (169.254/16, RFC 3927 section 2.7), multicast (224/4), and what is reserved, the broadcast address with it
/// (240/4).
#[inline(always)]
pub const fn is_martian(source: Ipv4Addr) -> bool {
    let [first, second, ..] = source.octets();
    first.wrapping_sub(1) >= 223 || first == 127 || first == 169 && second == 254
}

/// Reads the header at the start of `packet`, which must hold all of `total_len`.
#[inline]
pub fn read(packet: &[u8]) -> Result<IpHeader, HeaderError> {
    let ip = read_quoted(packet)?;
    if ip.total_len < ip.header_len {
        return Err(HeaderError::Malformed);
    }
    if packet.len() < ip.total_len { Err(HeaderError::Truncated) } else { Ok(ip) }
}

/// Reads the header at the start of a packet that may have been cut behind it. Its total length may be any: there are hosts
/// that have changed it, or its byte order, before they quote the packet.
#[inline]
pub fn read_quoted(packet: &[u8]) -> Result<IpHeader, HeaderError> {
    let fixed = header::<HEADER_LEN>(packet)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(field16(fixed, 2));
    if fixed[0] >> 4 != 4 || header_len < HEADER_LEN {
        return Err(HeaderError::Malformed);
    }
    if packet.len() < header_len {
        return Err(HeaderError::Truncated);
    }
    let fragmentation = field16(fixed, 6);
    let fragment = Fragment {
        identification: field16(fixed, 4).into(),
        offset: (fragmentation & OFFSET_MASK) * OFFSET_UNIT,
        more: fragmentation & MORE_FRAGMENTS != 0,
        payload_at: header_len,
    };
    Ok(IpHeader {
        header_len,
        total_len,
        traffic_class: fixed[1],
        ttl: fixed[8],
        protocol: fixed[9],
        dont_fragment: fragmentation & DONT_FRAGMENT != 0,
        fragment: (fragment.more || fragment.offset > 0).then_some(fragment),
        source: IpAddr::from([fixed[12], fixed[13], fixed[14], fixed[15]]),
    })
}

/// Whether a header says that its packet is not for the final destination yet: a source route that is not used up (RFC 791
/// section 3.1; RFC 7126 section 4.3 would have it dropped everywhere). `header` holds all of the header with its options.
pub fn is_routed_on(header: &[u8]) -> bool {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let mut options = header.get(HEADER_LEN..).unwrap_or_default();
    loop {
        match options {
            [] | [END, ..] | [_] => return false,
            [NOTHING, rest @ ..] => options = rest,
            [LOOSE | STRICT, len, pointer, ..] if pointer <= len => return true,
            [_, len, ..] => options = options.get(usize::from(*len).max(2)..).unwrap_or_default(),
        }
    }
}

/// Reads the header at the start of a packet where it is a plain one that may be forwarded. Whether all of the packet is
/// there is not looked at.
#[inline(always)]
pub fn read_plain(packet: &[u8]) -> Option<PlainHeader> {
    let fixed = packet.first_chunk::<HEADER_LEN>()?;
    let [first, traffic_class, l0, l1, _, _, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
    let is_part = u16::from_be_bytes([f0, f1]) & (MORE_FRAGMENTS | OFFSET_MASK) != 0;
    if first != WITHOUT_OPTIONS || is_part || ttl == 0 {
        return None;
    }
    let (source, destination) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
    if is_martian(source) || source == destination {
        return None;
    }
    let bits = |address: Ipv4Addr| u128::from(address.to_ipv6_mapped());
    let (source, destination) = (bits(source), bits(destination));
    Some(PlainHeader { total_len: u16::from_be_bytes([l0, l1]), traffic_class, protocol, source, destination })
}

/// An outer header in front of a tunnelled packet: everything but length, traffic class and the checksum, which
/// [`fill`] adds for each packet. DF is set and the identification 0 (an atomic packet, RFC 6864).
pub fn template(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, protocol: u8) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[0] = WITHOUT_OPTIONS;
    bytes[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    bytes[8] = ttl;
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&source.octets());
    bytes[16..20].copy_from_slice(&destination.octets());
    bytes
}

/// Puts another destination into a header at the start of `header`; a checksum is not right any more.
#[inline]
pub fn set_destination(header: &mut [u8], destination: &[u8; 4]) {
    header[16..20].copy_from_slice(destination);
}

/// Completes a header made by [`template`] at the start of `header`: the source's host bits, which were 0, traffic class,
/// total length in bytes, checksum.
#[inline]
pub fn fill(header: &mut [u8], host_bits: u32, traffic_class: u8, total_len: u16) {
    let header = &mut header[..HEADER_LEN];
    header[1] = traffic_class;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[12..16].iter_mut().zip(host_bits.to_be_bytes()).for_each(|(byte, bits)| *byte |= bits);
    set_checksum(header);
}

/// Whether the checksum of a whole header, options included, is right.
pub fn has_right_checksum(header: &[u8]) -> bool {
    Sum::default().add_bytes(header).finish() == 0
}

/// Puts the checksum into a whole header, options included.
pub fn set_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = Sum::default().add_bytes(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// What of a header changes when its packet is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Header and payload, in bytes.
    pub total_len: usize,
    /// Where the payload belongs, in bytes, a multiple of 8.
    pub offset: usize,
    /// Whether others come behind it.
    pub more: bool,
}

impl Piece {
    /// Writes this into a whole header, options included.
    pub fn write(&self, header: &mut [u8]) {
        let more = if self.more { MORE_FRAGMENTS } else { 0 };
        let kept = field16(header, 6) & !(MORE_FRAGMENTS | OFFSET_MASK);
        let fragmentation = kept | more | (self.offset as u16 / OFFSET_UNIT);
        header[2..4].copy_from_slice(&(self.total_len as u16).to_be_bytes());
        header[6..8].copy_from_slice(&fragmentation.to_be_bytes());
        set_checksum(header);
    }
}

/// Makes the header that later fragments have from the first one's: only the options that are marked for it are copied,
/// and the last ones padded with zeros (RFC 791 section 3.1). `into` holds zeros. Answers its length in bytes.
pub fn header_of_later_fragments(first: &[u8], into: &mut [u8; LONGEST_HEADER]) -> usize {
    into[..HEADER_LEN].copy_from_slice(&first[..HEADER_LEN]);
    let (mut len, mut options) = (HEADER_LEN, &first[HEADER_LEN..]);
    while let Some(&kind) = options.first().filter(|kind| **kind != END_OF_OPTIONS) {
        let option_len = match (kind, options.get(1)) {
            (NO_OPERATION, _) => 1,
            (_, Some(&option_len)) if option_len >= 2 => usize::from(option_len),
            _ => break,
        };
        let Some((option, rest)) = options.split_at_checked(option_len) else { break };
        if kind & COPIED != 0 {
            into[len..len + option_len].copy_from_slice(option);
            len += option_len;
        }
        options = rest;
    }
    let len = len.next_multiple_of(4);
    into[0] = 0x40 | (len / 4) as u8;
    len
}

/// Makes a header without options for the answer to a packet with the header `question`: sender and receiver change
/// places, with a fresh TTL, and as long as `total_len`, in bytes, says. `question` holds at least [`HEADER_LEN`] bytes.
pub fn turned_round(question: &[u8], ttl: u8, total_len: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(&question[..HEADER_LEN]);
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[8] = ttl;
    let (source, destination) = header[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    set_checksum(&mut header);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> [u8; HEADER_LEN] {
        let mut header =
            template(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(203, 0, 113, 10), 64, crate::wire::l4::protocol::GRE);
        fill(&mut header, 0, 0xb9, 20);
        header
    }

    #[test]
    fn what_is_written_reads_back_with_a_right_checksum() {
        let header = sample();
        assert_eq!(Sum::default().add_bytes(&header).finish(), 0);
        let ipv4 = read(&header).expect("well formed");
        assert_eq!((ipv4.header_len, ipv4.total_len, ipv4.traffic_class, ipv4.ttl), (20, 20, 0xb9, 64));
        assert!(ipv4.dont_fragment && ipv4.fragment.is_none());
        assert_eq!(destination(&header), Some(Ipv4Addr::new(203, 0, 113, 10)));
    }

    #[test]
    fn later_fragments_copy_the_options_that_are_marked() {
        let options = [NO_OPERATION, 0x07, 3, 4, 0x83, 7, 4, 9, 9, 9, 9, 0x88, 4, 1, 2, END_OF_OPTIONS];
        let first = [&sample()[..], &options].concat();
        let mut later = [0; LONGEST_HEADER];
        assert_eq!(header_of_later_fragments(&first, &mut later), 32);
        assert_eq!(later[0], 0x48);
        assert_eq!(later[20..32], [0x83, 7, 4, 9, 9, 9, 9, 0x88, 4, 1, 2, 0]);
        for broken in [[0x83, 0, 0, 0], [0x83, 1, 0, 0], [0x83, 5, 0, 0], [1, 1, 1, 0x83]] {
            let first = [&sample()[..], &broken].concat();
            assert_eq!(header_of_later_fragments(&first, &mut [0; LONGEST_HEADER]), 20, "{broken:?}");
        }
    }

    #[test]
    fn a_piece_keeps_what_is_not_its_own() {
        let mut header = sample();
        Piece { total_len: 1452, offset: 65_528, more: true }.write(&mut header);
        let piece = read_quoted(&header).expect("well formed");
        assert_eq!((piece.total_len, piece.dont_fragment), (1452, true));
        assert_eq!(
            piece.fragment,
            Some(Fragment { identification: 0, offset: 65_528, more: true, payload_at: HEADER_LEN })
        );
        assert_eq!(Sum::default().add_bytes(&header).finish(), 0);
    }

    #[test]
    fn refuses_contradictions() {
        let broken = |change: fn(&mut [u8; HEADER_LEN])| {
            let mut header = sample();
            change(&mut header);
            read(&header)
        };
        assert_eq!(broken(|h| h[0] = 0x65), Err(HeaderError::Malformed), "version 6");
        assert_eq!(broken(|h| h[0] = 0x44), Err(HeaderError::Malformed), "header of 16 bytes");
        assert_eq!(broken(|h| h[3] = 19), Err(HeaderError::Malformed), "total shorter than the header");
        assert_eq!(broken(|h| h[3] = 21), Err(HeaderError::Truncated), "total longer than the bytes");
        assert_eq!(read(&sample()[..19]), Err(HeaderError::Truncated));
    }
}
