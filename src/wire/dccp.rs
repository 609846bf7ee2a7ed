//! DCCP (RFC 4340): which packets open a connection.

/// Reserved bits, the type and the bit of long sequence numbers (section 5.1).
const TYPE_AT: usize = 8;
/// The type, 0 for a Request.
const TYPE: u8 = 0x1e;

/// Whether the packet that begins here opens a connection: a Request.
pub fn is_request(packet: &[u8]) -> bool {
    packet.get(TYPE_AT).is_some_and(|byte| byte & TYPE == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_opens() {
        let packet = |byte: u8| [0x80, 1, 0, 80, 4, 0, 1, 2, byte, 0, 0, 1];
        assert!(is_request(&packet(0x01)) && is_request(&packet(0xe1)), "reserved bits mean nothing");
        assert!((1..16).all(|kind| !is_request(&packet(kind << 1 | 1))));
        assert!(!is_request(&packet(1)[..8]));
    }
}
