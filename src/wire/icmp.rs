//! ICMP (RFC 792) and ICMPv6 (RFC 4443): which messages are errors, and echo.

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
        (protocol::ICMPV6, Some(133..=137), _) => Kind::NeighbourDiscovery,
        _ => Kind::Other,
    }
}

/// The type of the answer to an echo request.
pub fn echo_reply_type(protocol: u8) -> u8 {
    if protocol == protocol::ICMPV6 { 129 } else { 0 }
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
        assert_eq!(kind(protocol::ICMP, &[5, 0]), Kind::Other, "redirect");
        assert_eq!(kind(protocol::ICMPV6, &[]), Kind::Other);
    }
}
