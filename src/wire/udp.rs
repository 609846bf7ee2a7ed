//! UDP (RFC 768), as an outer header.

use super::checksum::Sum;

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 8;

/// Writes a header without source port, length and checksum to the start of `into`, which holds at least
/// [`HEADER_LEN`] bytes.
pub fn template(into: &mut [u8], destination_port: u16) {
    into[..HEADER_LEN].fill(0);
    into[2..4].copy_from_slice(&destination_port.to_be_bytes());
}

/// Completes a header made by [`template`], with no checksum. `len` is that of header and payload, in bytes.
pub fn fill(header: &mut [u8], source_port: u16, len: u16) {
    header[0..2].copy_from_slice(&source_port.to_be_bytes());
    header[4..6].copy_from_slice(&len.to_be_bytes());
}

/// Puts the checksum into a header completed by [`fill`]; `sum` is that of the pseudo-header, this header and the payload.
/// One that comes out as 0 is sent as its other form, since 0 means that there is none.
pub fn set_checksum(header: &mut [u8], sum: Sum) {
    let checksum = match sum.finish() {
        0 => 0xffff,
        checksum => checksum,
    };
    header[6..8].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_of_zero_is_sent_as_ones() {
        let mut header = [0xee; HEADER_LEN];
        template(&mut header, 6080);
        fill(&mut header, 0xc000, 8);
        assert_eq!(header, [0xc0, 0, 0x17, 0xc0, 0, 8, 0, 0]);
        set_checksum(&mut header, Sum::default().add_word(0xffff));
        assert_eq!(header[6..], [0xff, 0xff]);
        set_checksum(&mut header, Sum::default().add_word(1));
        assert_eq!(header[6..], [0xff, 0xfe]);
    }
}
