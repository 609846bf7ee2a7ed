//! The headers put in front of a packet: prebuilt for each endpoint, completed for each packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::parse::{Family, Packet};
use super::verdict::DropReason;
use crate::flow::FlowHash;
use crate::frame::Frame;
use crate::model::Encap;
use crate::snapshot::{Dscp, NextHop, Settings, Tag};
use crate::wire::ethernet::{Ethernet, HEADER_LEN as ETHERNET_LEN, TAG_LEN};
use crate::wire::l4::protocol;
use crate::wire::{gre, ipv4, ipv6};

/// The longest headers that are put in front, in bytes: tagged Ethernet, IPv6, GRE with a key.
pub const MOST_OUTER: usize = ETHERNET_LEN + TAG_LEN + ipv6::HEADER_LEN + gre::KEYED_HEADER_LEN;

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

/// The outer headers for one endpoint, Ethernet aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    ip: OuterIp,
    key: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OuterIp {
    V4([u8; ipv4::HEADER_LEN], Ipv4Addr),
    V6([u8; ipv6::HEADER_LEN], Ipv6Addr),
}

impl Outer {
    /// The headers to reach `endpoint`, or `None` where this node cannot send them: an encapsulation that it does not
    /// have, or an address family without a source.
    pub fn new(encap: Encap, endpoint: IpAddr, sources: &Sources, hop_limit: u8) -> Option<Self> {
        let Encap::Gre { key } = encap else { return None };
        let ip = match endpoint {
            IpAddr::V4(to) => {
                let source = sources.v4?;
                OuterIp::V4(ipv4::template(source.address, to, hop_limit, protocol::GRE), source.entropy)
            }
            IpAddr::V6(to) => {
                let source = sources.v6?;
                OuterIp::V6(ipv6::template(source.address, to, hop_limit, protocol::GRE), source.entropy)
            }
        };
        Some(Self { ip, key })
    }

    /// How many bytes it adds to an IP packet.
    pub fn overhead(&self) -> usize {
        let ip = match self.ip {
            OuterIp::V4(..) => ipv4::HEADER_LEN,
            OuterIp::V6(..) => ipv6::HEADER_LEN,
        };
        ip + gre::header_len(self.key)
    }

    fn family(&self) -> Family {
        match self.ip {
            OuterIp::V4(..) => Family::V4,
            OuterIp::V6(..) => Family::V6,
        }
    }

    /// Writes the headers to the start of `into` and answers their length.
    fn write(&self, into: &mut [u8], packet: &Packet, hash: FlowHash, dscp: Dscp) -> usize {
        let traffic_class = match dscp {
            Dscp::Copy => packet.traffic_class,
            Dscp::Fixed(dscp) => dscp << 2 | packet.traffic_class & 0b11,
        };
        let len = self.overhead();
        let total = len + packet.total_len;
        let ip_len = match self.ip {
            OuterIp::V4(mut header, entropy) => {
                mix_in(&mut header[12..16], &entropy.octets(), hash);
                ipv4::fill(&mut header, traffic_class, total as u16);
                into[..ipv4::HEADER_LEN].copy_from_slice(&header);
                ipv4::HEADER_LEN
            }
            OuterIp::V6(mut header, entropy) => {
                mix_in(&mut header[8..24], &entropy.octets(), hash);
                ipv6::fill(&mut header, traffic_class, hash.flow_label(), (total - ipv6::HEADER_LEN) as u16);
                into[..ipv6::HEADER_LEN].copy_from_slice(&header);
                ipv6::HEADER_LEN
            }
        };
        gre::write(&mut into[ip_len..], self.key, packet.family.ethertype());
        len
    }
}

/// Fills the masked bits at the end of an address from the flow hash.
fn mix_in(address: &mut [u8], entropy: &[u8], hash: FlowHash) {
    let bits = hash.0.to_be_bytes();
    for ((byte, mask), bits) in address.iter_mut().rev().zip(entropy.iter().rev()).zip(bits.iter().rev()) {
        *byte |= mask & bits;
    }
}

/// Puts the outer headers in front of the packet in `frame`, in the place of its Ethernet header, and cuts off what
/// lies behind the packet.
pub fn encapsulate(
    frame: &mut Frame<'_>,
    packet: &Packet,
    hash: FlowHash,
    (outer, next_hop): (&Outer, &NextHop),
    settings: &Settings,
) -> Result<(), DropReason> {
    if outer.overhead() + packet.total_len > settings.underlay_mtu as usize {
        return Err(DropReason::TooBig);
    }
    let mut headers = [0; MOST_OUTER];
    let ethernet = Ethernet {
        destination: next_hop.destination,
        source: next_hop.source,
        tag: match next_hop.tag {
            Tag::None => None,
            Tag::Fixed(tag) => Some(tag),
            Tag::AsReceived => packet.ethernet.tag,
        },
        ethertype: outer.family().ethertype(),
    };
    let mut len = ethernet.write(&mut headers);
    len += outer.write(&mut headers[len..], packet, hash, settings.dscp);
    let strip = packet.ethernet.header_len();
    frame.truncate(strip + packet.total_len);
    if frame.replace_front(strip, &headers[..len]) { Ok(()) } else { Err(DropReason::NoHeadroom) }
}
