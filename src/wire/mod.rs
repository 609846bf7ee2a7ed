//! Reading and writing protocol headers over bytes: one protocol a file, no state, no unsafe. Every multi-byte field
//! is big endian on the wire and in host order in the values given out.

pub mod checksum;
pub mod dccp;
pub mod ethernet;
pub mod gre;
pub mod gue;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod l4;
pub mod mpls;
pub mod quic;
pub mod sctp;
pub mod tcp;
pub mod udp;

use std::net::IpAddr;

/// Why bytes are not the header they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than the header, or than the length it claims.
    Truncated,
    /// The header contradicts itself.
    Malformed,
}

/// Which IP a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Its ethertype.
    pub fn ethertype(self) -> u16 {
        match self {
            Self::V4 => ethernet::ethertype::IPV4,
            Self::V6 => ethernet::ethertype::IPV6,
        }
    }

    /// Its protocol number behind another IP header.
    pub fn protocol(self) -> u8 {
        match self {
            Self::V4 => l4::protocol::IPV4,
            Self::V6 => l4::protocol::IPV6,
        }
    }

    /// The protocol number of its ICMP.
    pub fn icmp(self) -> u8 {
        match self {
            Self::V4 => l4::protocol::ICMP,
            Self::V6 => l4::protocol::ICMPV6,
        }
    }

    /// Reads the headers at the start of `packet`, which must hold all of the total length.
    #[inline]
    pub fn read(self, packet: &[u8]) -> Result<IpHeader, HeaderError> {
        match self {
            Self::V4 => ipv4::read(packet),
            Self::V6 => ipv6::read(packet),
        }
    }

    /// Reads the headers at the start of a packet that may have been cut behind them.
    pub fn read_quoted(self, packet: &[u8]) -> Result<IpHeader, HeaderError> {
        match self {
            Self::V4 => ipv4::read_quoted(packet),
            Self::V6 => ipv6::read_quoted(packet),
        }
    }

    /// The destination address, as far as the bytes reach to it; nothing else is checked.
    #[inline]
    pub fn destination(self, packet: &[u8]) -> Option<IpAddr> {
        match self {
            Self::V4 => ipv4::destination(packet).map(IpAddr::V4),
            Self::V6 => ipv6::destination(packet).map(IpAddr::V6),
        }
    }

    /// The source address of a packet, likewise.
    pub fn source(self, packet: &[u8]) -> Option<IpAddr> {
        match self {
            Self::V4 => ipv4::source(packet).map(IpAddr::V4),
            Self::V6 => ipv6::source(packet).map(IpAddr::V6),
        }
    }

    /// The MPLS label that says no more than this.
    pub fn explicit_null(self) -> u32 {
        match self {
            Self::V4 => mpls::IPV4_EXPLICIT_NULL,
            Self::V6 => mpls::IPV6_EXPLICIT_NULL,
        }
    }
}

/// A part of a larger packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What all parts have in common, 16 bits with IPv4.
    pub identification: u32,
    /// Where its payload belongs, in bytes; 0 for the first.
    pub offset: u16,
    /// Whether others come behind it.
    pub more: bool,
    /// Where its payload begins in its packet, in bytes: behind the fragment header, or behind all of IPv4's header.
    pub payload_at: usize,
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
    /// Where the packet belongs, if it is a part of a larger one: the first or a later fragment. An atomic fragment (RFC
    /// 6946), whole in itself, is none.
    pub fragment: Option<Fragment>,
    /// Sender.
    pub source: IpAddr,
}

/// What the header says of a packet that is whole, and has neither options nor extension headers.
#[derive(Clone, Copy, Debug)]
pub struct PlainHeader {
    /// The whole packet's length, in bytes; the frame may be longer (padding).
    pub total_len: u16,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Sender, as one number: IPv4 as `::ffff:a.b.c.d`.
    pub source: u128,
    /// Receiver, likewise.
    pub destination: u128,
}

/// The first `N` bytes of `bytes`.
#[inline]
fn header<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], HeaderError> {
    bytes.first_chunk::<N>().ok_or(HeaderError::Truncated)
}

/// The 16-bit field at `offset` of a header at least that long.
#[inline]
fn field16(header: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([header[offset], header[offset + 1]])
}
