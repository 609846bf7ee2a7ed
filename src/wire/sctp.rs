//! SCTP (RFC 9260): which packets open an association.

/// Ports, verification tag and checksum, in bytes.
const HEADER_LEN: usize = 12;
/// The chunk type of INIT (section 3.3.2).
const INIT: u8 = 1;

/// Whether the packet that begins here opens an association: its first chunk is INIT, which alone has no verification tag
/// (section 8.5.1).
pub fn is_init(packet: &[u8]) -> bool {
    packet.get(4..8) == Some(&[0; 4]) && packet.get(HEADER_LEN) == Some(&INIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_init_without_a_tag_opens() {
        let packet = |tag: u8, chunk: u8| [0x80, 1, 0, 80, 0, 0, 0, tag, 1, 2, 3, 4, chunk, 0, 0, 20];
        assert!(is_init(&packet(0, 1)));
        assert!(!is_init(&packet(9, 1)) && !is_init(&packet(0, 6)) && !is_init(&packet(0, 1)[..12]));
    }
}
