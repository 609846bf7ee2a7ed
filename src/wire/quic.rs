//! QUIC: which datagrams open a connection, by what all its versions have in common (RFC 8999).

use super::udp;

/// The header form: set in long headers, which packets of a handshake have (RFC 8999 section 5.1).
const LONG: u8 = 0x80;
/// The type of a long header's packet, which versions number differently.
const TYPE: u8 = 0x30;
/// Version 1 (RFC 9000).
const V1: u32 = 1;
/// Version 2 (RFC 9369).
const V2: u32 = 0x6b33_43cf;
/// The drafts of version 1 have its packet types; the last eight bits are the draft's number.
const DRAFT: u32 = 0xff00_0000;
/// A client's first packets fill their datagrams to at least this, in bytes (RFC 9000 section 14.1), in versions that a server
/// does not know, too: it answers no others.
const SHORTEST_INITIAL: usize = 1200;

/// Whether the UDP datagram that begins here opens a QUIC connection: its payload is as long as it must be, and begins with a
/// long header that is not known to be a later kind of packet. The fixed bit may have any value (RFC 9287); a version of 0 is
/// a server's word (RFC 8999 section 6).
pub fn is_initial(datagram: &[u8]) -> bool {
    let Some(payload) = datagram.get(udp::HEADER_LEN..) else { return false };
    if payload.len() < SHORTEST_INITIAL {
        return false;
    }
    let &[first, a, b, c, d, ..] = payload else { return false };
    let version = u32::from_be_bytes([a, b, c, d]);
    first & LONG != 0 && version != 0 && initial_type(version).is_none_or(|initial| first & TYPE == initial)
}

/// How a version numbers its Initial packets, if that is known.
fn initial_type(version: u32) -> Option<u8> {
    match version {
        V1 => Some(0x00),
        V2 => Some(0x10),
        _ if version & 0xffff_ff00 == DRAFT => Some(0x00),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(first: u8, version: u32, len: usize) -> bool {
        let mut bytes = vec![0; udp::HEADER_LEN + len];
        bytes[udp::HEADER_LEN] = first;
        bytes[udp::HEADER_LEN + 1..udp::HEADER_LEN + 5].copy_from_slice(&version.to_be_bytes());
        is_initial(&bytes)
    }

    #[test]
    fn knows_initial_packets_of_known_versions() {
        assert!(datagram(0xc3, 1, 1200) && datagram(0xd0, 0x6b33_43cf, 1252) && datagram(0xc0, 0xff00_001d, 1200));
        for (first, version) in [(0xe0, 1), (0xd0, 1), (0xf0, 1), (0xc0, V2), (0xf0, V2), (0xe0, 0xff00_001d)] {
            assert!(!datagram(first, version, 1200), "{first:x} {version:x} is a later packet");
        }
        assert!(!datagram(0x40, 1, 1200), "a short header");
        assert!(!datagram(0xc0, 0, 1200), "version negotiation");
        assert!(!datagram(0xc0, 1, 1199) && !is_initial(&[0; 7]) && !is_initial(&[0; 12]));
    }

    #[test]
    fn takes_long_headers_of_other_versions_for_first_packets() {
        // mvfst's, one that is meant to be unknown (RFC 9000 section 15), and any other.
        for version in [0xface_b002, 0x1a2a_3a4a, 2, 0x5130_3530] {
            for first in [0xc0, 0xf3, 0x80] {
                assert!(datagram(first, version, 1200), "{first:x} {version:x}");
            }
            assert!(!datagram(0x40, version, 1200) && !datagram(0xc0, version, 1199));
        }
    }

    #[test]
    fn the_fixed_bit_may_be_greased() {
        assert!(datagram(0x83, 1, 1200) && datagram(0x90, V2, 1200) && !datagram(0xa0, 1, 1200));
    }
}
