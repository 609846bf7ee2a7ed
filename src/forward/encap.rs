//! The headers put in front of a packet: prebuilt for each endpoint, completed for each packet.

mod outer;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::parse::Packet;
use super::verdict::DropReason;
use crate::flow::FlowHash;
use crate::frame::Frame;
use crate::snapshot::{Dscp, NextHop, Settings, Tag};
use crate::wire::ethernet::{ETHERTYPE_LEN, HEADER_LEN as ETHERNET_LEN, TAG_LEN};
use crate::wire::{ethernet, gue, ipv6, udp};

pub use outer::{Outer, OuterHeaders, SharedHeaders};

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
        if self.outer.headers().has_udp_checksum() {
            self.outer.headers().set_udp_checksum(into, pieces);
        }
        len
    }

    /// The same for a packet of `packet_len` bytes, but for a UDP checksum.
    #[inline(always)]
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
        let len = ETHERTYPE_LEN + self.outer.overhead();
        let tag = match self.next_hop.tag {
            Tag::None => None,
            Tag::Fixed(tag) => Some(tag),
            Tag::AsReceived => inner.tag,
        };
        let front = &mut into[..MOST_OUTER - len];
        len + match tag {
            None => self.write_addresses(front),
            Some(control) => front.split_last_chunk_mut().map_or(0, |(front, tag)| {
                *tag = ethernet::tag(control);
                tag.len() + self.write_addresses(front)
            }),
        }
    }

    /// Writes Ethernet's addresses to the end of `into`; answers their length.
    #[inline(always)]
    fn write_addresses(&self, into: &mut [u8]) -> usize {
        into.last_chunk_mut().map_or(0, |addresses| {
            *addresses = ethernet::addresses(self.next_hop.destination, self.next_hop.source);
            addresses.len()
        })
    }

    /// Puts the headers in front of the packet in `frame`, in the place of its Ethernet header, and cuts off what lies
    /// behind the packet. Where there is no room for them, what is left of the frame means nothing.
    #[inline(always)]
    pub fn encapsulate(&self, frame: &mut Frame<'_>, inner: &Inner, settings: &Settings) -> Result<(), DropReason> {
        let is_done = frame.put_in_front((inner.strip, inner.total_len), |room, packet| {
            let len = self.write_headers(room, packet.len(), inner, settings);
            if self.outer.headers().has_udp_checksum() {
                self.outer.headers().set_udp_checksum(room, &[packet]);
            }
            len
        });
        if is_done { Ok(()) } else { self.encapsulate_narrowly(frame, inner, settings) }
    }

    /// The same where there is less room in front than the longest headers need.
    #[cold]
    fn encapsulate_narrowly(
        &self,
        frame: &mut Frame<'_>,
        inner: &Inner,
        settings: &Settings,
    ) -> Result<(), DropReason> {
        frame.narrow(inner.strip, inner.total_len);
        let mut headers = [0; MOST_OUTER];
        let len = self.write(&mut headers, &[frame.bytes()], inner, settings);
        if frame.replace_front(0, &headers[MOST_OUTER - len..]) { Ok(()) } else { Err(DropReason::NoHeadroom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
