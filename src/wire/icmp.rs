//! ICMP (RFC 792) and ICMPv6 (RFC 4443): which messages are errors, and echo.

use std::net::Ipv6Addr;

use super::checksum::Sum;
use super::l4::protocol;

/// Length of the header that every message has, in bytes: type, code, checksum and four bytes of their own.
pub const HEADER_LEN: usize = 8;

/// What a message is, as far as forwarding cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for an answer.
    EchoRequest,
    /// Speaks of another packet, which it quotes.
    Error,
    /// An error of a kind that no flow is found by: a redirect, or one that is not known here.
    OtherError,
    /// Neighbour discovery (RFC 4861), which is between the client's router and the kernel.
    NeighbourDiscovery,
    /// Everything else.
    Other,
}

/// What the message at the start of `message` is; `protocol` is ICMP or ICMPv6.
pub fn kind(protocol: u8, message: &[u8]) -> Kind {
    match (protocol, message.first(), message.get(1)) {
        (protocol::ICMP, Some(8), Some(0)) | (protocol::ICMPV6, Some(128), Some(0)) => Kind::EchoRequest,
        (protocol::ICMP, Some(3 | 4 | 11 | 12), _) | (protocol::ICMPV6, Some(1..=4), _) => Kind::Error,
        (protocol::ICMP, Some(5), _) | (protocol::ICMPV6, Some(0 | 5..=127), _) => Kind::OtherError,
        (protocol::ICMPV6, Some(133..=137), _) => Kind::NeighbourDiscovery,
        _ => Kind::Other,
    }
}

/// Turns an echo request into its reply and mends its checksum (RFC 1624). `message` is whole; the addresses of an ICMPv6
/// pseudo-header change places only, which leaves their sum alone.
pub fn turn_to_reply(protocol: u8, message: &mut [u8]) {
    let old = u16::from_be_bytes([message[0], message[1]]);
    let sum = u16::from_be_bytes([message[2], message[3]]);
    message[0] = if protocol == protocol::ICMPV6 { 129 } else { 0 };
    let mut checksum = Sum::default().add_word(!sum).add_word(!old).add_bytes(&message[0..2]).finish();
    // Of the two zeros of a one's complement sum, a message of nothing but zeros has the other one.
    if checksum == 0 && protocol == protocol::ICMP && message[4..].iter().all(|byte| *byte == 0) {
        checksum = 0xffff;
    }
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

/// Mends the checksum of a whole message (RFC 1624) of which only the first `len` bytes are to stay; to cut it is left to the
/// caller.
pub fn mend_for_cut(protocol: u8, message: &mut [u8], len: usize) {
    let whole_len = message.len();
    let (kept, gone) = message.split_at_mut(len);
    let (half, words) = gone.split_at(len % 2);
    let gone = half.iter().fold(Sum::default().add_bytes(words), |sum, low| sum.add_word((*low).into()));
    // The pseudo-header of ICMPv6 has the length.
    let (before, after) = if protocol == protocol::ICMPV6 { (whole_len, len) } else { (0, 0) };
    let gone = gone.add_word(before as u16).finish();
    let sum = u16::from_be_bytes([kept[2], kept[3]]);
    let checksum = Sum::default().add_word(!sum).add_word(gone).add_word(after as u16).finish();
    kept[2..4].copy_from_slice(&checksum.to_be_bytes());
}

/// The header of "destination unreachable: fragmentation needed and DF set" (RFC 1191 section 4) before a quote.
pub fn fragmentation_needed(mtu: u16, quote: &[u8]) -> [u8; HEADER_LEN] {
    let [high, low] = mtu.to_be_bytes();
    with_checksum([3, 4, 0, 0, 0, 0, high, low], Sum::default(), quote)
}

/// The header of "packet too big" (RFC 4443 section 3.2) from one address to another before a quote.
pub fn packet_too_big(mtu: u32, (from, to): (Ipv6Addr, Ipv6Addr), quote: &[u8]) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = mtu.to_be_bytes();
    let pseudo = Sum::default().add_bytes(&from.octets()).add_bytes(&to.octets());
    let pseudo = pseudo.add_word((HEADER_LEN + quote.len()) as u16).add_word(protocol::ICMPV6.into());
    with_checksum([2, 0, 0, 0, a, b, c, d], pseudo, quote)
}

fn with_checksum(mut header: [u8; HEADER_LEN], sum: Sum, quote: &[u8]) -> [u8; HEADER_LEN] {
    let checksum = sum.add_bytes(&header).add_bytes(quote).finish();
    header[2..4].copy_from_slice(&checksum.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_errors_from_questions() {
        for error in [3, 4, 11, 12] {
            assert_eq!(kind(protocol::ICMP, &[error, 1]), Kind::Error);
        }
        for error in [1, 2, 3, 4] {
            assert_eq!(kind(protocol::ICMPV6, &[error, 0]), Kind::Error);
        }
        assert_eq!(kind(protocol::ICMP, &[8, 0]), Kind::EchoRequest);
        assert_eq!(kind(protocol::ICMPV6, &[128, 0]), Kind::EchoRequest);
        assert_eq!(kind(protocol::ICMPV6, &[135, 0]), Kind::NeighbourDiscovery);
        assert_eq!(kind(protocol::ICMP, &[5, 0]), Kind::OtherError, "redirect");
        assert_eq!(kind(protocol::ICMPV6, &[100, 0]), Kind::OtherError, "RFC 4443 section 2.1");
        assert_eq!(kind(protocol::ICMPV6, &[]), Kind::Other);
    }
}
