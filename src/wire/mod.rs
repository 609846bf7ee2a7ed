//! Reading and writing protocol headers over bytes: one protocol a file, no state, no unsafe. Every multi-byte field
//! is big endian on the wire and in host order in the values given out.

pub mod checksum;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod l4;

/// Why bytes are not the header they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than the header, or than the length it claims.
    Truncated,
    /// The header contradicts itself.
    Malformed,
}

/// The first `N` bytes of `bytes`.
fn header<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], HeaderError> {
    bytes.first_chunk::<N>().ok_or(HeaderError::Truncated)
}

/// The 16-bit field at `offset` of a header at least that long.
fn field16(header: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([header[offset], header[offset + 1]])
}
