//! MPLS (RFC 3032): one entry of a label stack.

/// Length of an entry, in bytes.
pub const ENTRY_LEN: usize = 4;
/// The lowest label that is not reserved.
pub const FIRST_LABEL: u32 = 16;
/// The highest label: they have 20 bits.
pub const LAST_LABEL: u32 = 0x000f_ffff;
/// "Pop me, and take what is inside as IPv4" (section 2.1).
pub const IPV4_EXPLICIT_NULL: u32 = 0;
/// The same for IPv6.
pub const IPV6_EXPLICIT_NULL: u32 = 2;

const BOTTOM_OF_STACK: u32 = 0x100;

/// Writes an entry, the only one of its stack, to the start of `into`, which holds at least [`ENTRY_LEN`] bytes.
/// Its traffic class is 0.
pub fn write(into: &mut [u8], label: u32, ttl: u8) {
    let entry = label << 12 | BOTTOM_OF_STACK | u32::from(ttl);
    into[..ENTRY_LEN].copy_from_slice(&entry.to_be_bytes());
}

/// Puts the traffic class, 3 bits, into an entry made by [`write()`].
pub fn set_traffic_class(entry: &mut [u8], traffic_class: u8) {
    entry[2] |= (traffic_class & 0b111) << 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_places() {
        let mut entry = [0; ENTRY_LEN];
        write(&mut entry, 0xabcde, 64);
        set_traffic_class(&mut entry, 0b101);
        assert_eq!(entry, [0xab, 0xcd, 0xeb, 0x40]);
    }
}
