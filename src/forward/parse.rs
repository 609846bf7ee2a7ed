//! Frame → [`Packet`]: everything that later steps ask of a packet, read and checked once.

use std::net::IpAddr;

use super::verdict::DropReason;
use crate::flow::{FlowKey, address_bits};
use crate::wire::ethernet::{Ethernet, ethertype};
use crate::wire::l4::{Ports, protocol};
use crate::wire::{HeaderError, IpHeader, icmp, ipv4, ipv6};

/// Which IP a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Its ethertype.
    pub fn ethertype(self) -> u16 {
        match self {
            Self::V4 => ethertype::IPV4,
            Self::V6 => ethertype::IPV6,
        }
    }
}

/// A frame whose destination address can be read.
#[derive(Clone, Copy, Debug)]
pub struct Addressed {
    /// Its Ethernet header.
    pub ethernet: Ethernet,
    /// Which IP it carries.
    pub family: Family,
    /// Where it goes; IPv4 as `::ffff:a.b.c.d`.
    pub destination: u128,
}

impl Addressed {
    /// Reads as far as the destination address, and checks nothing else; the steering program looks no further either.
    /// `Ok(None)`: not IP.
    pub fn read(frame: &[u8]) -> Result<Option<Self>, DropReason> {
        let ethernet = Ethernet::read(frame)?;
        let packet = frame.get(ethernet.header_len()..).ok_or(DropReason::Truncated)?;
        let (family, destination) = match ethernet.ethertype {
            ethertype::IPV4 => (Family::V4, ipv4::destination(packet).map(IpAddr::V4)),
            ethertype::IPV6 => (Family::V6, ipv6::destination(packet).map(IpAddr::V6)),
            _ => return Ok(None),
        };
        let destination = address_bits(destination.ok_or(DropReason::Truncated)?);
        Ok(Some(Self { ethernet, family, destination }))
    }
}

/// A well-formed IP packet. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// The frame's Ethernet header.
    pub ethernet: Ethernet,
    /// Which IP it is.
    pub family: Family,
    /// Length of the IP header with options or extension headers.
    pub header_len: usize,
    /// Length by the IP header; the frame may be longer.
    pub total_len: usize,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether it is a part of a larger packet; its ports are then not read.
    pub fragment: bool,
    /// What an ICMP message of the packet's own family is.
    pub icmp: Option<icmp::Kind>,
    /// Its flow.
    pub flow: FlowKey,
}

impl From<HeaderError> for DropReason {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Truncated => Self::Truncated,
            HeaderError::Malformed => Self::Malformed,
        }
    }
}

impl Packet {
    /// Reads the packet in `frame`, whose destination has been read.
    pub fn read(frame: &[u8], addressed: &Addressed) -> Result<Self, DropReason> {
        let bytes = frame.get(addressed.ethernet.header_len()..).ok_or(DropReason::Truncated)?;
        let ip = match addressed.family {
            Family::V4 => ipv4::read(bytes)?,
            Family::V6 => ipv6::read(bytes)?,
        };
        let mut packet = Self::new(&ip, addressed);
        let upper = bytes.get(packet.header_len..packet.total_len).ok_or(DropReason::Truncated)?;
        if !packet.fragment {
            packet.read_upper(upper)?;
        }
        Ok(packet)
    }

    fn new(ip: &IpHeader, addressed: &Addressed) -> Self {
        Self {
            ethernet: addressed.ethernet,
            family: addressed.family,
            header_len: ip.header_len,
            total_len: ip.total_len,
            traffic_class: ip.traffic_class,
            ttl: ip.ttl,
            fragment: ip.fragment,
            icmp: None,
            flow: FlowKey {
                source: address_bits(ip.source),
                destination: addressed.destination,
                ports: Ports::default(),
                protocol: ip.protocol,
            },
        }
    }

    /// Reads what lies behind the IP header: ports, or what an ICMP message is.
    fn read_upper(&mut self, upper: &[u8]) -> Result<(), DropReason> {
        self.flow.ports = Ports::read(self.flow.protocol, upper)?;
        let own_icmp = match self.family {
            Family::V4 => protocol::ICMP,
            Family::V6 => protocol::ICMPV6,
        };
        if self.flow.protocol == own_icmp {
            if upper.len() < icmp::HEADER_LEN {
                return Err(DropReason::Truncated);
            }
            self.icmp = Some(icmp::kind(own_icmp, upper));
        }
        Ok(())
    }
}
