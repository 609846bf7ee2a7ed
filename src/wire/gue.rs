//! Generic UDP encapsulation, variant 0 (draft-ietf-intarea-gue-09): no options, an IP packet inside.

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 4;
/// The port that IANA gave it.
pub const PORT: u16 = 6080;

/// Writes the header to the start of `into`, which holds at least [`HEADER_LEN`] bytes; `protocol` is the number of the
/// packet inside, 4 for IPv4 and 41 for IPv6. Variant, control bit, length of options and flags are all 0.
pub fn write(into: &mut [u8], protocol: u8) {
    into[..HEADER_LEN].copy_from_slice(&[0, protocol, 0, 0]);
}
