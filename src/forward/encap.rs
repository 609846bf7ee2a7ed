//! The headers put in front of a packet: prebuilt for each endpoint, completed for each packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::parse::Packet;
use super::verdict::DropReason;
use crate::flow::FlowHash;
use crate::frame::Frame;
use crate::model::{Encap, MplsOver};
use crate::snapshot::{Dscp, NextHop, Settings, Tag};
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{Ethernet, HEADER_LEN as ETHERNET_LEN, TAG_LEN, ethertype};
use crate::wire::l4::protocol;
use crate::wire::{Family, gre, gue, ipv4, ipv6, mpls, udp};

/// The longest headers behind Ethernet's, in bytes: IPv6, UDP, GUE.
const LONGEST: usize = ipv6::HEADER_LEN + udp::HEADER_LEN + gue::HEADER_LEN;

/// The longest headers that are put in front, in bytes, a tag included.
pub const MOST_OUTER: usize = ETHERNET_LEN + TAG_LEN + LONGEST;

/// The node's address in outer headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<A> {
    /// The address; where there is entropy, its host bits are 0.
    pub address: A,
    /// Which bits come from the flow hash: those behind a prefix, or none.
    pub entropy: A,
}

/// The node's addresses in outer headers, where it has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// For endpoints with an IPv4 address.
    pub v4: Option<Source<Ipv4Addr>>,
    /// For endpoints with an IPv6 address.
    pub v6: Option<Source<Ipv6Addr>>,
}

impl Sources {
    /// These, and of another the ones that are missing here.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self { v4: self.v4.or(other.v4), v6: self.v6.or(other.v6) }
    }

    /// Whether outer packets of this node can have this source.
    pub fn hold(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4.is_some_and(|own| v4 & !own.entropy == own.address),
            IpAddr::V6(v6) => self.v6.is_some_and(|own| v6 & !own.entropy == own.address),
        }
    }
}

/// The outer headers for one endpoint, Ethernet aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// As they leave, but for what depends on the packet. They end where it ends: so all of it can be copied to before a
    /// packet, which costs less than to copy as much as there is.
    template: [u8; LONGEST],
    len: u8,
    carrier: Carrier,
    tunnel: Tunnel,
}

/// The outermost header behind Ethernet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    V4,
    V6,
    Label,
}

/// What of the headers behind it depends on the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    Nothing,
    Udp,
    UdpWithChecksum,
    Label,
}

impl Outer {
    /// The headers to reach `endpoint` with packets of the family `inner`, or `None` where this node has no source
    /// address of the endpoint's family.
    pub fn new(encap: Encap, inner: Family, endpoint: IpAddr, sources: &Sources, hop_limit: u8) -> Option<Self> {
        let mut outer = Self { template: [0; LONGEST], len: 0, carrier: Carrier::Label, tunnel: Tunnel::Nothing };
        match encap {
            Encap::Gre { key } => {
                outer.add_ip(endpoint, sources, hop_limit, protocol::GRE)?;
                outer.add(gre::header_len(key), |into| gre::write(into, key, inner.ethertype()));
            }
            Encap::Ipip => outer.add_ip(endpoint, sources, hop_limit, inner.protocol())?,
            Encap::Gue { port, checksum } => {
                outer.add_ip(endpoint, sources, hop_limit, protocol::UDP)?;
                let has_checksum = checksum.unwrap_or(endpoint.is_ipv6());
                outer.tunnel = if has_checksum { Tunnel::UdpWithChecksum } else { Tunnel::Udp };
                outer.add(udp::HEADER_LEN, |into| udp::template(into, port));
                outer.add(gue::HEADER_LEN, |into| gue::write(into, inner.protocol()));
            }
            Encap::Mpls { label, over } => {
                if over == Some(MplsOver::Gre) {
                    outer.add_ip(endpoint, sources, hop_limit, protocol::GRE)?;
                    outer.add(gre::HEADER_LEN, |into| gre::write(into, None, ethertype::MPLS));
                }
                outer.tunnel = Tunnel::Label;
                let label = label.unwrap_or(inner.explicit_null());
                outer.add(mpls::ENTRY_LEN, |into| mpls::write(into, label, hop_limit));
            }
        }
        // They were written from the start on.
        let unused = LONGEST - outer.overhead();
        outer.template.rotate_right(unused);
        Some(outer)
    }

    fn add_ip(&mut self, endpoint: IpAddr, sources: &Sources, hop_limit: u8, protocol: u8) -> Option<()> {
        match endpoint {
            IpAddr::V4(to) => {
                let Source { address, .. } = sources.v4?;
                self.carrier = Carrier::V4;
                let header = ipv4::template(address, to, hop_limit, protocol);
                self.add(ipv4::HEADER_LEN, |into| into[..ipv4::HEADER_LEN].copy_from_slice(&header));
            }
            IpAddr::V6(to) => {
                let Source { address, .. } = sources.v6?;
                self.carrier = Carrier::V6;
                let header = ipv6::template(address, to, hop_limit, protocol);
                self.add(ipv6::HEADER_LEN, |into| into[..ipv6::HEADER_LEN].copy_from_slice(&header));
            }
        }
        Some(())
    }

    fn add(&mut self, len: usize, write: impl FnOnce(&mut [u8])) {
        let at = self.overhead();
        write(&mut self.template[at..]);
        self.len += len as u8;
    }

    /// How many bytes it adds to an IP packet.
    #[inline]
    pub fn overhead(&self) -> usize {
        usize::from(self.len)
    }

    fn ethertype(&self) -> u16 {
        match self.carrier {
            Carrier::V4 => ethertype::IPV4,
            Carrier::V6 => ethertype::IPV6,
            Carrier::Label => ethertype::MPLS,
        }
    }

    /// Writes the headers to the end of `into`, for a packet of `len` bytes, but for a UDP checksum.
    #[inline]
    fn write(&self, into: &mut [u8; LONGEST], len: usize, (hash, traffic_class): (FlowHash, u8), sources: &Sources) {
        *into = self.template;
        let into = &mut into[LONGEST - self.overhead()..];
        let total = self.overhead() + len;
        self.fill_carrier(into, total, (hash, traffic_class), sources);
        if self.tunnel != Tunnel::Nothing {
            self.fill_tunnel(into, total, (hash, traffic_class));
        }
    }

    /// Completes what lies behind the IP header.
    #[inline(never)]
    fn fill_tunnel(&self, headers: &mut [u8], total: usize, (hash, traffic_class): (FlowHash, u8)) {
        match self.tunnel {
            Tunnel::Nothing => {}
            Tunnel::Udp | Tunnel::UdpWithChecksum => {
                udp::fill(&mut headers[self.ip_len()..], hash.source_port(), (total - self.ip_len()) as u16);
            }
            Tunnel::Label => {
                let at = headers.len() - mpls::ENTRY_LEN;
                mpls::set_traffic_class(&mut headers[at..], traffic_class >> 5);
            }
        }
    }

    /// Puts the UDP checksum into finished headers at the end of `headers`. `pieces` are those of the packet; all but the last
    /// have an even length.
    #[inline(never)]
    fn set_udp_checksum(&self, headers: &mut [u8], pieces: &[&[u8]]) {
        let at = headers.len() - self.overhead();
        let (ip, udp) = headers[at..].split_at_mut(self.ip_len());
        let addresses = if self.carrier == Carrier::V4 { &ip[12..20] } else { &ip[8..40] };
        let pseudo = Sum::default().add_bytes(addresses).add_word(protocol::UDP.into());
        let len = udp.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let sum = pseudo.add_word(len as u16).add_bytes(udp);
        udp::set_checksum(udp, pieces.iter().fold(sum, |sum, piece| sum.add_bytes(piece)));
    }

    fn ip_len(&self) -> usize {
        match self.carrier {
            Carrier::V4 => ipv4::HEADER_LEN,
            Carrier::V6 => ipv6::HEADER_LEN,
            Carrier::Label => 0,
        }
    }

    /// Completes the IP header, if there is one, in front of a packet that has `total` bytes with all headers.
    #[inline]
    fn fill_carrier(&self, headers: &mut [u8], total: usize, (hash, traffic_class): (FlowHash, u8), sources: &Sources) {
        match self.carrier {
            Carrier::V4 => {
                let bits = sources.v4.map_or(0, |own| v4_host_bits(hash, own.entropy.into()));
                ipv4::fill(headers, bits, traffic_class, total as u16);
            }
            Carrier::V6 => {
                let bits = sources.v6.map_or(0, |own| v6_host_bits(hash, own.entropy.into()));
                ipv6::fill(headers, bits, traffic_class, hash.flow_label(), (total - ipv6::HEADER_LEN) as u16);
            }
            Carrier::Label => {}
        }
    }
}

/// The bits of an outer source that come from the flow hash: not 0, which is the subnet-router anycast address (RFC 4291
/// section 2.6.1).
fn v6_host_bits(hash: FlowHash, entropy: u128) -> u128 {
    match u128::from(hash.0) & entropy {
        0 => entropy & 1,
        bits => bits,
    }
}

/// The same for IPv4: neither all 0, the network itself, nor all 1, its broadcast address; a /31 has two hosts (RFC 3021).
fn v4_host_bits(hash: FlowHash, entropy: u32) -> u32 {
    match hash.0 as u32 & entropy {
        0 => entropy & 1,
        all if all == entropy && entropy > 1 => all - 1,
        bits => bits,
    }
}

/// Where one packet goes and how it gets there.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The headers in front.
    pub outer: &'a Outer,
    /// The neighbour that gets the frame.
    pub next_hop: &'a NextHop,
    /// The packet's flow.
    pub hash: FlowHash,
}

/// What outer headers depend on, of the packet behind them and of the frame that it came in.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Length of the frame's Ethernet header, in bytes.
    pub strip: usize,
    /// Its tag's control field.
    pub tag: Option<u16>,
    /// Length of the packet by its own header, in bytes.
    pub total_len: usize,
    /// Its DSCP and ECN.
    pub traffic_class: u8,
}

impl Inner {
    /// That of a packet as it came.
    pub fn of(packet: &Packet) -> Self {
        let &Packet { ethernet, total_len, traffic_class, .. } = packet;
        Self { strip: ethernet.header_len(), tag: ethernet.tag, total_len, traffic_class }
    }
}

impl Way<'_> {
    /// Writes all headers for a packet, given in pieces of which all but the last have an even length, to the end of
    /// `into`; answers their length.
    pub fn write(&self, into: &mut [u8; MOST_OUTER], pieces: &[&[u8]], inner: &Inner, settings: &Settings) -> usize {
        let len = self.write_headers(into, pieces.iter().map(|piece| piece.len()).sum(), inner, settings);
        if self.outer.tunnel == Tunnel::UdpWithChecksum {
            self.outer.set_udp_checksum(into, pieces);
        }
        len
    }

    /// The same for a packet of `packet_len` bytes, but for a UDP checksum.
    #[inline]
    fn write_headers(
        &self,
        into: &mut [u8; MOST_OUTER],
        packet_len: usize,
        inner: &Inner,
        settings: &Settings,
    ) -> usize {
        let traffic_class = match settings.dscp {
            Dscp::Copy => inner.traffic_class,
            Dscp::Fixed(dscp) => dscp << 2 | inner.traffic_class & 0b11,
        };
        if let Some(headers) = into.last_chunk_mut() {
            self.outer.write(headers, packet_len, (self.hash, traffic_class), &settings.sources);
        }
        let ethernet = Ethernet {
            destination: self.next_hop.destination,
            source: self.next_hop.source,
            tag: match self.next_hop.tag {
                Tag::None => None,
                Tag::Fixed(tag) => Some(tag),
                Tag::AsReceived => inner.tag,
            },
            ethertype: self.outer.ethertype(),
        };
        let len = ethernet.header_len() + self.outer.overhead();
        ethernet.write(&mut into[MOST_OUTER - len..]);
        len
    }

    /// Puts the headers in front of the packet in `frame`, in the place of its Ethernet header, and cuts off what lies
    /// behind the packet.
    #[inline]
    pub fn encapsulate(self, frame: &mut Frame<'_>, inner: Inner, settings: &Settings) -> Result<(), DropReason> {
        frame.truncate(inner.strip + inner.total_len);
        let Some((room, packet)) = frame.split_before(inner.strip) else {
            return self.encapsulate_narrowly(frame, inner, settings);
        };
        let len = self.write_headers(room, packet.len(), &inner, settings);
        if self.outer.tunnel == Tunnel::UdpWithChecksum {
            self.outer.set_udp_checksum(room, &[packet]);
        }
        if frame.begin_before(inner.strip, len) { Ok(()) } else { Err(DropReason::NoHeadroom) }
    }

    /// The same where there is less room in front than the longest headers need.
    #[cold]
    fn encapsulate_narrowly(self, frame: &mut Frame<'_>, inner: Inner, settings: &Settings) -> Result<(), DropReason> {
        let mut headers = [0; MOST_OUTER];
        let len = self.write(&mut headers, &[&frame.bytes()[inner.strip..]], &inner, settings);
        let fits = frame.replace_front(inner.strip, &headers[MOST_OUTER - len..]);
        if fits { Ok(()) } else { Err(DropReason::NoHeadroom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_never_makes_a_networks_own_address() {
        let v4 = |hash: u64| v4_host_bits(FlowHash(hash), 0xff);
        assert_eq!((v4(0x1234), v4(0x1200), v4(0x12ff)), (0x34, 1, 0xfe));
        assert_eq!(v4_host_bits(FlowHash(u64::MAX), 0), 0, "an address has no host bits");
        assert_eq!(v4_host_bits(FlowHash(u64::MAX), 1), 1, "both addresses of a /31 are hosts");
        let v6 = |hash: u64| v6_host_bits(FlowHash(hash), 0xff);
        assert_eq!((v6(0x1234), v6(0x1200), v6(0x12ff)), (0x34, 1, 0xff));
        assert_eq!(v6_host_bits(FlowHash(u64::MAX), 0), 0);
    }

    #[test]
    fn knows_its_own_sources() {
        let v6 = Source { address: "2001:db8:51b::".parse().expect("v6"), entropy: Ipv6Addr::from(0xffff_ffff) };
        let v4 = Source { address: Ipv4Addr::new(192, 0, 2, 1), entropy: Ipv4Addr::UNSPECIFIED };
        let sources = Sources { v4: Some(v4), v6: Some(v6) };
        let holds = |text: &str| sources.hold(text.parse().expect("an address"));
        assert!(holds("192.0.2.1") && holds("2001:db8:51b::abcd:1"));
        assert!(!holds("192.0.2.2") && !holds("2001:db8:51b:0:1::1"));
        assert!(!Sources::default().hold(Ipv4Addr::UNSPECIFIED.into()));
    }
}
