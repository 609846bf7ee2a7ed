//! IPv6 (RFC 8200) and its extension headers.

use std::net::{IpAddr, Ipv6Addr};

use super::l4::protocol;
use super::{Fragment, HeaderError, IpHeader, PlainHeader, field16, header};

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 40;
/// The most extension headers that are walked. Senders use one or two; each is a step that an attacker can ask for.
pub const MOST_EXTENSIONS: usize = 8;

/// The destination address, as far as the bytes reach to it; nothing else is checked.
#[inline]
pub fn destination(packet: &[u8]) -> Option<Ipv6Addr> {
    packet.get(24..40)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
}

/// The source address, likewise.
pub fn source(packet: &[u8]) -> Option<Ipv6Addr> {
    packet.get(8..24)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
}

/// Whether no packet with this source may be forwarded: unspecified and loopback (RFC 4291 sections 2.5.2 and 2.5.3),
/// IPv4-mapped (RFC 6890 section 2.2.3: not forwardable), link-local (RFC 4291 section 2.5.6), multicast (section 2.7).
pub const fn is_martian(source: Ipv6Addr) -> bool {
    let is_mapped = source.to_ipv4_mapped().is_some();
    is_mapped
        || source.is_unspecified()
        || source.is_loopback()
        || source.is_unicast_link_local()
        || source.is_multicast()
}

/// Whether a source may be one of those: a single comparison, which holds for `::/64` and all from `fe80::` on.
#[inline(always)]
const fn may_be_martian(source: u128) -> bool {
    const LINK_LOCAL: u64 = 0xfe80 << 48;
    ((source >> 64) as u64).wrapping_sub(1) >= LINK_LOCAL - 1
}

/// Reads the headers at the start of `packet`, which must hold all of `total_len`. What its [source](is_martian) is the
/// caller has to look at.
#[inline]
pub fn read(packet: &[u8]) -> Result<IpHeader, HeaderError> {
    let total_len = HEADER_LEN + usize::from(field16(header::<HEADER_LEN>(packet)?, 4));
    read_headers(packet.get(..total_len).ok_or(HeaderError::Truncated)?)
}

/// Reads the headers at the start of a packet that may have been cut behind them.
#[inline]
pub fn read_quoted(packet: &[u8]) -> Result<IpHeader, HeaderError> {
    if source(packet).is_some_and(is_mapped) { Err(HeaderError::Malformed) } else { read_headers(packet) }
}

fn read_headers(packet: &[u8]) -> Result<IpHeader, HeaderError> {
    let fixed = header::<HEADER_LEN>(packet)?;
    if fixed[0] >> 4 != 6 {
        return Err(HeaderError::Malformed);
    }
    let total_len = HEADER_LEN + usize::from(field16(fixed, 4));
    let mut source = [0; 16];
    source.copy_from_slice(&fixed[8..24]);
    let source = Ipv6Addr::from(source);
    let upper = walk(packet, fixed[6])?;
    Ok(IpHeader {
        header_len: upper.offset,
        total_len,
        traffic_class: fixed[0] << 4 | fixed[1] >> 4,
        ttl: fixed[7],
        protocol: upper.protocol,
        dont_fragment: true,
        fragment: upper.fragment,
        source: IpAddr::from(source),
    })
}

/// Reads the header at the start of a packet where it is a plain one that may be forwarded. Whether all of the packet is
/// there is not looked at, nor whether its protocol is an extension header.
#[inline(always)]
pub fn read_plain(packet: &[u8]) -> Option<PlainHeader> {
    let fixed = packet.first_chunk::<HEADER_LEN>()?;
    let source = u128::from_be_bytes(*fixed[8..24].first_chunk()?);
    let destination = u128::from_be_bytes(*fixed[24..].first_chunk()?);
    // The same as `is_mapped`, without taking addresses to pieces.
    let is_mapped = |bits: u128| bits >> 32 == 0xffff;
    let (version, hop_limit) = (fixed[0] >> 4, fixed[7]);
    // A mapped source may be martian, too.
    if version != 6 || hop_limit == 0 || is_mapped(destination) || may_be_martian(source) || source == destination {
        return None;
    }
    Some(PlainHeader {
        total_len: field16(fixed, 4).checked_add(HEADER_LEN as u16)?,
        traffic_class: fixed[0] << 4 | fixed[1] >> 4,
        protocol: fixed[6],
        source,
        destination,
    })
}

/// Where the extension headers end.
struct Upper {
    protocol: u8,
    offset: usize,
    fragment: Option<Fragment>,
}

/// Whether an address stands for one of IPv4 (RFC 4291 section 2.5.5.2). No packet has such a one on the wire, and inside
/// this program the same number means the IPv4 address.
#[inline]
pub fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// Whether this protocol number is that of an extension header, behind which there is another header: no packet is of this
/// protocol. An authentication header is none here: as over IPv4, it is what the packet is, whatever it authenticates.
#[inline]
pub fn is_extension(number: u8) -> bool {
    use protocol::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS].contains(&number)
}

/// What a fragment header that ends at `end` says; none of an atomic fragment.
fn fragment(header: &[u8; 8], end: usize) -> Option<Fragment> {
    let [.., a, b, c, d] = *header;
    let place = field16(header, 2);
    let fragment = Fragment {
        identification: u32::from_be_bytes([a, b, c, d]),
        offset: place & 0xfff8,
        more: place & 1 != 0,
        payload_at: end,
    };
    (fragment.more || fragment.offset > 0).then_some(fragment)
}

/// Walks the extension headers of `packet`; the length claimed by each must lie inside. Behind the header of a later
/// fragment there is only payload, so the walk ends there. It goes on behind an authentication header, for a fragment header may
/// come there; but what the packet is has been found.
#[inline]
fn walk(packet: &[u8], first: u8) -> Result<Upper, HeaderError> {
    let mut upper = Upper { protocol: first, offset: HEADER_LEN, fragment: None };
    let mut is_authenticated = false;
    for walked in 0..=MOST_EXTENSIONS {
        is_authenticated |= upper.protocol == protocol::AUTHENTICATION;
        if !is_extension(upper.protocol) && upper.protocol != protocol::AUTHENTICATION {
            break;
        }
        if walked == MOST_EXTENSIONS {
            return Err(HeaderError::Malformed);
        }
        let extension = packet.get(upper.offset..).map(header::<8>).ok_or(HeaderError::Truncated)??;
        let end = upper.offset + extension_len(upper.protocol, extension);
        let fragment = (upper.protocol == protocol::FRAGMENT).then(|| fragment(extension, end)).flatten();
        upper.protocol = extension[0];
        upper.offset = end;
        if upper.offset > packet.len() {
            return Err(HeaderError::Truncated);
        }
        upper.fragment = upper.fragment.or(fragment);
        if fragment.is_some_and(|fragment| fragment.offset > 0) {
            break;
        }
    }
    if is_authenticated {
        upper.protocol = protocol::AUTHENTICATION;
    }
    Ok(upper)
}

/// Whether a header says that its packet is not for the final destination yet: a routing header with segments left (RFC 8200
/// section 4.4). `header` holds all of the fixed header and the extension headers, as [`read`] has found them.
pub fn is_routed_on(header: &[u8]) -> bool {
    extensions(header).any(|(number, extension)| number == protocol::ROUTING && extension[3] > 0)
}

/// Whether a header has an option that whoever does not know it has to discard the packet for (RFC 8200 section 4.2): of those
/// that say so in their type, this node knows none.
pub fn has_unknown_option(header: &[u8]) -> bool {
    const OPTIONS: [u8; 2] = [protocol::HOP_BY_HOP, protocol::DESTINATION_OPTIONS];
    let mut options = extensions(header).filter(|(number, _)| OPTIONS.contains(number));
    options.any(|(_, extension)| option_types(&extension[2..]).any(|kind| kind & DISCARD != 0))
}

/// The bits of an option's type of which one at least is set where who does not know it discards the packet.
const DISCARD: u8 = 0xc0;

/// Extension headers with their numbers, up to one that does not end inside.
fn extensions(header: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let (mut next, mut rest) = (header.get(6).copied(), header.get(HEADER_LEN..).unwrap_or_default());
    std::iter::from_fn(move || {
        let (number, lengths) = (next?, rest.first_chunk::<8>()?);
        let (extension, behind) = rest.split_at_checked(extension_len(number, lengths))?;
        (next, rest) = (Some(extension[0]), behind);
        Some((number, extension))
    })
}

/// The types of options, but for padding of one byte, which has no length.
fn option_types(mut options: &[u8]) -> impl Iterator<Item = u8> {
    const PAD1: u8 = 0;
    std::iter::from_fn(move || {
        while let [PAD1, rest @ ..] = options {
            options = rest;
        }
        let [kind, len, rest @ ..] = options else { return None };
        options = rest.get(usize::from(*len)..).unwrap_or_default();
        Some(*kind)
    })
}

/// Length of the extension header of this number that begins so, in bytes.
fn extension_len(number: u8, header: &[u8; 8]) -> usize {
    match number {
        protocol::FRAGMENT => 8,
        protocol::AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
        _ => (usize::from(header[1]) + 1) * 8,
    }
}

/// An outer header in front of a tunnelled packet: everything but traffic class, flow label and length, which [`fill`]
/// adds for each packet.
pub fn template(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, protocol: u8) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[6] = protocol;
    bytes[7] = hop_limit;
    bytes[8..24].copy_from_slice(&source.octets());
    bytes[24..40].copy_from_slice(&destination.octets());
    bytes
}

/// Puts another destination into a header at the start of `header`.
#[inline]
pub fn set_destination(header: &mut [u8], destination: &[u8; 16]) {
    header[24..40].copy_from_slice(destination);
}

/// Completes a header made by [`template`] at the start of `header`: the source's host bits, which were 0, traffic class,
/// flow label (20 bits), payload length in bytes.
#[inline]
pub fn fill(header: &mut [u8], host_bits: u128, traffic_class: u8, flow_label: u32, payload_len: u16) {
    let header = &mut header[..HEADER_LEN];
    let first = 6 << 28 | u32::from(traffic_class) << 20 | flow_label & 0x000f_ffff;
    header[0..4].copy_from_slice(&first.to_be_bytes());
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    if host_bits != 0 {
        header[8..24].iter_mut().zip(host_bits.to_be_bytes()).for_each(|(byte, bits)| *byte |= bits);
    }
}

/// Makes a header without extension headers for the answer to a packet with the header `question`: sender and receiver
/// change places, with a fresh hop limit, a payload of this protocol and length in bytes. `question` holds at least
/// [`HEADER_LEN`] bytes.
pub fn turned_round(question: &[u8], hop_limit: u8, protocol: u8, payload_len: u16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(&question[..HEADER_LEN]);
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[6] = protocol;
    header[7] = hop_limit;
    let (source, destination) = header[8..40].split_at_mut(16);
    source.swap_with_slice(destination);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut fixed = template("2001:db8::1".parse().expect("v6"), "2001:db8::2".parse().expect("v6"), 64, first);
        fill(&mut fixed, 0, 0xb9, 0xabcde, payload.len() as u16);
        [&fixed[..], payload].concat()
    }

    #[test]
    fn what_is_written_reads_back() {
        let ipv6 = read(&packet(protocol::UDP, &[0; 8])).expect("well formed");
        assert_eq!((ipv6.header_len, ipv6.total_len, ipv6.traffic_class), (40, 48, 0xb9));
        assert_eq!((ipv6.ttl, ipv6.protocol, ipv6.fragment), (64, protocol::UDP, None));
        assert_eq!(packet(protocol::UDP, &[])[0..4], [0x6b, 0x9a, 0xbc, 0xde]);
    }

    #[test]
    fn walks_extension_headers_of_every_length() {
        let mut payload = vec![protocol::DESTINATION_OPTIONS, 1];
        payload.extend([0; 14]);
        payload.extend([protocol::AUTHENTICATION, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([protocol::TCP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let ipv6 = read(&packet(protocol::HOP_BY_HOP, &payload)).expect("well formed");
        assert_eq!((ipv6.protocol, ipv6.header_len), (protocol::AUTHENTICATION, 40 + 16 + 8 + 12));
    }

    #[test]
    fn tells_fragments_from_atomic_ones() {
        let part = |place: u16| {
            let [high, low] = place.to_be_bytes();
            read(&packet(protocol::FRAGMENT, &[protocol::UDP, 0, high, low, 1, 2, 3, 4])).map(|v6| v6.fragment)
        };
        let fragment = |offset, more| Ok(Some(Fragment { identification: 0x0102_0304, offset, more, payload_at: 48 }));
        assert_eq!(part(0x0000), Ok(None), "atomic");
        assert_eq!(part(0x0001), fragment(0, true), "first");
        assert_eq!(part(0x0009), fragment(8, true), "one in the middle");
        assert_eq!(part(0xfff8), fragment(65_528, false), "last");
    }

    #[test]
    fn the_walk_is_bounded() {
        let chain = |count: usize| [protocol::HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0].repeat(count);
        let mut most = chain(MOST_EXTENSIONS - 1);
        most.extend([protocol::UDP, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(read(&packet(protocol::HOP_BY_HOP, &most)).map(|v6| v6.protocol), Ok(protocol::UDP));
        let over = chain(MOST_EXTENSIONS + 1);
        assert_eq!(read(&packet(protocol::HOP_BY_HOP, &over)), Err(HeaderError::Malformed));
    }

    #[test]
    fn refuses_lengths_beyond_the_bytes() {
        assert_eq!(
            read(&packet(protocol::ROUTING, &[protocol::UDP, 1, 0, 0, 0, 0, 0, 0])),
            Err(HeaderError::Truncated)
        );
        let whole = packet(protocol::UDP, &[0; 8]);
        assert_eq!(read(&whole[..47]), Err(HeaderError::Truncated));
        assert_eq!(read(&whole[..39]), Err(HeaderError::Truncated));
    }
}
