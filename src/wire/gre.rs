//! GRE (RFC 2784) with the optional key of RFC 2890. Checksum and sequence number are never sent.

/// Length without a key, in bytes.
pub const HEADER_LEN: usize = 4;
/// Length with a key, in bytes.
pub const KEYED_HEADER_LEN: usize = 8;

const KEY_PRESENT: u16 = 0x2000;

/// Length of the header for this key, in bytes.
pub fn header_len(key: Option<u32>) -> usize {
    if key.is_some() { KEYED_HEADER_LEN } else { HEADER_LEN }
}

/// Writes the header to the start of `into`, which holds at least [`header_len`] bytes; `ethertype` is that of the
/// packet inside.
pub fn write(into: &mut [u8], key: Option<u32>, ethertype: u16) {
    let flags = if key.is_some() { KEY_PRESENT } else { 0 };
    into[0..2].copy_from_slice(&flags.to_be_bytes());
    into[2..4].copy_from_slice(&ethertype.to_be_bytes());
    if let Some(key) = key {
        into[4..8].copy_from_slice(&key.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_both_forms() {
        let mut bytes = [0xff; 8];
        write(&mut bytes, None, 0x86dd);
        assert_eq!(bytes[..header_len(None)], [0, 0, 0x86, 0xdd]);
        write(&mut bytes, Some(7), 0x0800);
        assert_eq!(bytes[..header_len(Some(7))], [0x20, 0, 8, 0, 0, 0, 0, 7]);
    }
}
