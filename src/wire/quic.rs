//! QUIC (RFC 9000): which datagrams open a connection.

use super::udp;

/// Long header, fixed bit, and the packet type, which versions number differently.
const FORM_AND_TYPE: u8 = 0xf0;
/// First byte and version of an Initial packet: version 1 (RFC 9000 section 17.2.2) and version 2 (RFC 9369 section 3).
const INITIALS: [(u8, [u8; 4]); 2] = [(0xc0, [0, 0, 0, 1]), (0xd0, [0x6b, 0x33, 0x43, 0xcf])];
/// A client's Initial fills its datagram to at least this, in bytes (RFC 9000 section 14.1).
const SHORTEST_INITIAL: usize = 1200;

/// Whether the UDP datagram that begins here opens a QUIC connection: its payload is as long as it must be, and begins
/// with an Initial packet of a version that is known. Six bytes of 48 leave other protocols little chance of looking alike.
pub fn is_initial(datagram: &[u8]) -> bool {
    let Some(payload) = datagram.get(udp::HEADER_LEN..) else { return false };
    let &[first, a, b, c, d, ..] = payload else { return false };
    payload.len() >= SHORTEST_INITIAL && INITIALS.contains(&(first & FORM_AND_TYPE, [a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_initial_packets_of_both_versions() {
        let datagram = |first: u8, version: u32, len: usize| {
            let mut bytes = vec![0; udp::HEADER_LEN + len];
            bytes[udp::HEADER_LEN] = first;
            bytes[udp::HEADER_LEN + 1..udp::HEADER_LEN + 5].copy_from_slice(&version.to_be_bytes());
            is_initial(&bytes)
        };
        assert!(datagram(0xc3, 1, 1200) && datagram(0xd0, 0x6b33_43cf, 1252));
        assert!(!datagram(0xe0, 1, 1200), "a handshake packet");
        assert!(!datagram(0x40, 1, 1200), "a short header");
        assert!(!datagram(0xc0, 2, 1200) && !datagram(0xc0, 1, 1199));
        assert!(!is_initial(&[0; 7]) && !is_initial(&[0; 12]));
    }
}
