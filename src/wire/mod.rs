//! Reading and writing protocol headers over bytes: one protocol a file, no state, no unsafe. Every multi-byte field
//! is big endian on the wire and in host order in the values given out.

pub mod checksum;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod l4;

use std::net::IpAddr;

/// Why bytes are not the header they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than the header, or than the length it claims.
    Truncated,
    /// The header contradicts itself.
    Malformed,
}

/// What an IP header of either version says, extension headers included. The destination is read apart, by
/// [`ipv4::destination`] and [`ipv6::destination`], so that steering can come before checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Length of the header with its options or extension headers, in bytes.
    pub header_len: usize,
    /// The whole packet's length, in bytes; the frame may be longer (padding).
    pub total_len: usize,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Protocol of the payload, behind all extension headers.
    pub protocol: u8,
    /// Whether routers must not fragment the packet; always so with IPv6.
    pub dont_fragment: bool,
    /// Whether the packet is a part of a larger one: the first or a later fragment. An atomic fragment (RFC 6946), whole
    /// in itself, is not.
    pub fragment: bool,
    /// Sender.
    pub source: IpAddr,
}

/// The first `N` bytes of `bytes`.
fn header<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], HeaderError> {
    bytes.first_chunk::<N>().ok_or(HeaderError::Truncated)
}

/// The 16-bit field at `offset` of a header at least that long.
fn field16(header: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([header[offset], header[offset + 1]])
}
