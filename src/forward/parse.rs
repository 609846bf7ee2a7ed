//! Frame → [`Packet`]: everything that later steps ask of a packet, read and checked once.

use std::net::IpAddr;

use super::verdict::DropReason;
use crate::flow::{FlowKey, address_bits};
use crate::wire::ethernet::{Ethernet, ethertype};
use crate::wire::l4::{Ports, has_ports};
use crate::wire::{Family, Fragment, HeaderError, IpHeader, icmp, ipv4, ipv6};

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
    /// `Ok(None)`: not IP, or IPv6 to an IPv4 address in disguise, which is no VIP.
    pub fn read(frame: &[u8]) -> Result<Option<Self>, DropReason> {
        let ethernet = Ethernet::read(frame)?;
        let packet = frame.get(ethernet.header_len()..).ok_or(DropReason::Truncated)?;
        let family = match ethernet.ethertype {
            ethertype::IPV4 => Family::V4,
            ethertype::IPV6 => Family::V6,
            _ => return Ok(None),
        };
        let destination = family.destination(packet).ok_or(DropReason::Truncated)?;
        if is_mapped(destination) {
            return Ok(None);
        }
        Ok(Some(Self { ethernet, family, destination: address_bits(destination) }))
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
    /// Whether nobody may cut it; always so with IPv6.
    pub dont_fragment: bool,
    /// Where it belongs, if it is a part of a larger packet.
    pub fragment: Option<Fragment>,
    /// What an ICMP message of the packet's own family is.
    pub icmp: Option<icmp::Kind>,
    /// Who sent it; IPv4 as `::ffff:a.b.c.d`.
    pub source: u128,
    /// The flow that it belongs to, from client to VIP; that of an ICMP error is the one it speaks of.
    pub flow: FlowKey,
    /// Whether all of `flow` could be read: of a later fragment, and of a quoted one, protocol and ports may be hidden.
    pub is_flow_known: bool,
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
        let ip = addressed.family.read(bytes)?;
        let mut packet = Self::new(&ip, addressed);
        let upper = bytes.get(packet.header_len..packet.total_len).ok_or(DropReason::Truncated)?;
        packet.check_fragment()?;
        let is_read = if packet.is_later_fragment() {
            packet.is_flow_known = !hides_flow(packet.family, ip.protocol);
            Ok(())
        } else {
            packet.read_upper(upper)
        };
        // Neighbours ask for each other from link-local addresses, and from none.
        let is_martian = is_martian(ip.source) || packet.source == addressed.destination;
        if is_martian && !packet.is_neighbour_discovery() {
            return Err(DropReason::MartianSource);
        }
        is_read.map(|()| packet)
    }

    fn new(ip: &IpHeader, addressed: &Addressed) -> Self {
        let source = address_bits(ip.source);
        let (destination, protocol) = (addressed.destination, ip.protocol);
        Self {
            ethernet: addressed.ethernet,
            family: addressed.family,
            header_len: ip.header_len,
            total_len: ip.total_len,
            traffic_class: ip.traffic_class,
            ttl: ip.ttl,
            dont_fragment: ip.dont_fragment,
            fragment: ip.fragment,
            icmp: None,
            source,
            flow: FlowKey { source, destination, ports: Ports::default(), protocol },
            is_flow_known: true,
        }
    }

    /// Reads what lies behind the IP header: ports, or what an ICMP message is and speaks of.
    fn read_upper(&mut self, upper: &[u8]) -> Result<(), DropReason> {
        if self.flow.protocol != self.family.icmp() {
            self.flow.ports = Ports::read(self.flow.protocol, upper)?;
            return Ok(());
        }
        let quote = upper.get(icmp::HEADER_LEN..).ok_or(DropReason::Truncated)?;
        let kind = icmp::kind(self.flow.protocol, upper);
        self.icmp = Some(kind);
        match kind {
            icmp::Kind::Error if self.fragment.is_some() => Err(DropReason::FragmentedIcmp),
            icmp::Kind::Error => self.read_quote(quote),
            _ => Ok(()),
        }
    }

    /// Takes on the flow of the packet that an ICMP error quotes, which went the other way. The quote may end anywhere
    /// behind the ports.
    fn read_quote(&mut self, quote: &[u8]) -> Result<(), DropReason> {
        let unreadable = |_| DropReason::QuoteUnreadable;
        let ip = self.family.read_quoted(quote).map_err(unreadable)?;
        if address_bits(ip.source) != self.flow.destination {
            return Err(DropReason::QuoteNotFromVip);
        }
        let client = self.family.destination(quote).filter(|client| !is_mapped(*client));
        let client = client.ok_or(DropReason::QuoteUnreadable)?;
        self.flow.source = address_bits(client);
        self.flow.protocol = ip.protocol;
        if ip.fragment.is_some_and(|fragment| fragment.offset > 0) {
            self.is_flow_known = !hides_flow(self.family, ip.protocol);
        } else if has_ports(ip.protocol) {
            let upper = quote.get(ip.header_len..).ok_or(DropReason::QuoteUnreadable)?;
            self.flow.ports = Ports::read_quoted(upper).map_err(unreadable)?.reversed();
        }
        Ok(())
    }

    /// What lies behind its IP headers, in the frame that it was read from.
    pub fn upper<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let start = self.ethernet.header_len();
        frame.get(start + self.header_len..start + self.total_len).unwrap_or_default()
    }

    /// Refuses a part that can be put together with no other: one that is not the last has whole units of eight bytes, and
    /// none reaches beyond the longest packet (RFC 791 section 3.2, RFC 8200 section 4.5).
    fn check_fragment(&self) -> Result<(), DropReason> {
        let Some(fragment) = self.fragment else { return Ok(()) };
        // Of a first one, headers behind the fragment header are a part, too.
        let len = self.total_len - fragment.payload_at;
        let end = usize::from(fragment.offset) + len;
        let contradicts = fragment.more && !len.is_multiple_of(8) || end > usize::from(u16::MAX);
        if contradicts { Err(DropReason::Malformed) } else { Ok(()) }
    }

    /// Whether it is a part of a larger packet, and not the first.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset > 0)
    }

    /// Neighbour discovery never crosses a router, which its hop limit proves (RFC 4861 section 3.1). The steering
    /// program passes the same packets, and looks behind no extension header for it.
    pub fn is_neighbour_discovery(&self) -> bool {
        const HOP_LIMIT: u8 = 255;
        self.icmp == Some(icmp::Kind::NeighbourDiscovery)
            && self.ttl == HOP_LIMIT
            && self.header_len == ipv6::HEADER_LEN
    }
}

/// Whether nobody elsewhere can have this address, so that no packet from it is forwarded or answered. The same holds of
/// the VIP that the packet is for, but of no other address of a VIP's prefix: clients may be within one that is wide.
pub fn is_martian(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => ipv4::is_martian(v4),
        IpAddr::V6(v6) => ipv6::is_martian(v6),
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if ipv6::is_mapped(v6))
}

/// Whether a later fragment of this protocol hides which flow it belongs to: ports, what an ICMP message is, or the
/// protocol itself.
fn hides_flow(family: Family, protocol: u8) -> bool {
    has_ports(protocol) || protocol == family.icmp() || family == Family::V6 && ipv6::is_extension(protocol)
}
