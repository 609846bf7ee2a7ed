//! What must hold of the fragments that an IPv4 packet was cut into (RFC 791 section 3.2).

use super::packet::{Ip, be16};

/// The fragments, in this order, make up the packet `whole`, byte for byte; it may be a fragment itself.
pub fn assert_make_up(parts: &[Ip<'_>], whole: &Ip<'_>) {
    assert!(!whole.v6 && !whole.dont_fragment, "this packet must not be cut");
    let mut payload = Vec::with_capacity(whole.payload.len());
    for (index, part) in parts.iter().enumerate() {
        let is_last = index == parts.len() - 1;
        assert_eq!(part.offset, whole.offset + payload.len(), "each part follows the one before it");
        assert_eq!(part.more_fragments, !is_last || whole.more_fragments);
        assert!(!part.payload.is_empty(), "no part is empty");
        assert!(is_last || part.payload.len() % 8 == 0, "offsets count in eights");
        assert_header(part, whole, index == 0);
        payload.extend_from_slice(part.payload);
    }
    assert_eq!(payload, whole.payload, "the parts make up the packet");
}

/// A part has the packet's header but for length, offset, flags and checksum; later ones may leave out options that
/// are not to be copied.
fn assert_header(part: &Ip<'_>, whole: &Ip<'_>, with_all_options: bool) {
    let fixed = |ip: &Ip<'_>| (ip.class, ip.id, ip.dont_fragment, ip.ttl, ip.protocol, ip.source, ip.destination);
    assert_eq!(fixed(part), fixed(whole));
    assert_eq!(be16(part.header, 6) & 0x8000, be16(whole.header, 6) & 0x8000, "the reserved bit");
    if with_all_options {
        assert_eq!(part.header[20..], whole.header[20..], "the options");
    } else {
        assert_eq!(part.header[20..], copied_options(&whole.header[20..]), "the options that are to be copied");
    }
    assert!(whole.header_is_right() && part.header_is_right(), "a broken header is not blessed");
}

/// The options that go into every part, padded to full words.
fn copied_options(mut options: &[u8]) -> Vec<u8> {
    let mut copied = Vec::new();
    while let [kind, rest @ ..] = options {
        let len = match kind {
            0 => break,
            1 => 1,
            _ => match rest.first() {
                Some(len) if (2..=options.len()).contains(&usize::from(*len)) => usize::from(*len),
                _ => break,
            },
        };
        if kind & 0x80 != 0 {
            copied.extend_from_slice(&options[..len]);
        }
        options = &options[len..];
    }
    copied.resize(copied.len().next_multiple_of(4), 0);
    copied
}
