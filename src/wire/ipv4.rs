//! IPv4 (RFC 791).

use std::net::{IpAddr, Ipv4Addr};

use super::checksum::Sum;
use super::{HeaderError, IpHeader, field16, header};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The destination address, as far as the bytes reach to it; nothing else is checked.
pub fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    packet.get(16..20)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

/// Reads the header at the start of `packet`, which must hold all of `total_len`.
pub fn read(packet: &[u8]) -> Result<IpHeader, HeaderError> {
    let fixed = header::<HEADER_LEN>(packet)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(field16(fixed, 2));
    if fixed[0] >> 4 != 4 || header_len < HEADER_LEN || total_len < header_len {
        return Err(HeaderError::Malformed);
    }
    if packet.len() < total_len {
        return Err(HeaderError::Truncated);
    }
    let fragmentation = field16(fixed, 6);
    Ok(IpHeader {
        header_len,
        total_len,
        traffic_class: fixed[1],
        ttl: fixed[8],
        protocol: fixed[9],
        dont_fragment: fragmentation & DONT_FRAGMENT != 0,
        fragment: fragmentation & (MORE_FRAGMENTS | OFFSET_MASK) != 0,
        source: IpAddr::from([fixed[12], fixed[13], fixed[14], fixed[15]]),
    })
}

/// An outer header in front of a tunnelled packet: everything but length, traffic class and the checksum, which
/// [`fill`] adds for each packet. DF is set and the identification 0 (an atomic packet, RFC 6864).
pub fn template(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, protocol: u8) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[0] = 0x45;
    bytes[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    bytes[8] = ttl;
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&source.octets());
    bytes[16..20].copy_from_slice(&destination.octets());
    bytes
}

/// Completes a header made by [`template`]: traffic class, total length in bytes, checksum.
pub fn fill(header: &mut [u8; HEADER_LEN], traffic_class: u8, total_len: u16) {
    header[1] = traffic_class;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[10..12].fill(0);
    let checksum = Sum::default().add_bytes(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Makes sender and receiver of a whole header (options included) change places and gives it a fresh TTL.
pub fn turn_round(header: &mut [u8], ttl: u8) {
    let (source, destination) = header[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    header[8] = ttl;
    header[10..12].fill(0);
    let checksum = Sum::default().add_bytes(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> [u8; HEADER_LEN] {
        let mut header =
            template(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(203, 0, 113, 10), 64, crate::wire::l4::protocol::GRE);
        fill(&mut header, 0xb9, 20);
        header
    }

    #[test]
    fn what_is_written_reads_back_with_a_right_checksum() {
        let header = sample();
        assert_eq!(Sum::default().add_bytes(&header).finish(), 0);
        let ipv4 = read(&header).expect("well formed");
        assert_eq!((ipv4.header_len, ipv4.total_len, ipv4.traffic_class, ipv4.ttl), (20, 20, 0xb9, 64));
        assert!(ipv4.dont_fragment && !ipv4.fragment);
        assert_eq!(destination(&header), Some(Ipv4Addr::new(203, 0, 113, 10)));
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
