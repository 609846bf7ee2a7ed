//! The short way of plain packets, as nearly all are: untagged, whole, without options or extension headers, TCP or UDP, to
//! a service that takes them. What it does not know it leaves to the thorough way, and says nothing of it.
//!
//! It is gone in four steps. A worker takes each step for its whole batch before the next: the loads of one step do not
//! wait for each other, so that many packets wait for memory at the same time.

use std::net::IpAddr;
use std::num::NonZeroU8;

use super::encap::{Inner, Way};
use super::parse::{Addressed, Packet};
use super::select;
use super::track::{Place, Sign, Tracked};
use crate::flow::{Affinity, FlowHash, FlowKey, address_bits};
use crate::frame::Frame;
use crate::maglev;
use crate::moment::Moment;
use crate::snapshot::{EndpointEntry, Handover, ServiceEntry, Snapshot};
use crate::vip_map::{Found, ServiceIndex};
use crate::wire::ethernet::{self, Ethernet, ethertype};
use crate::wire::l4::{Ports, protocol};
use crate::wire::{IpHeader, ipv4, ipv6};

/// A plain packet, as far as it has been looked into. Small, since there is one for each frame of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    hash: FlowHash,
    service: ServiceIndex,
    /// Number of the way to the slot's endpoint, where `mtu` is known.
    path: u32,
    /// The slot's endpoint.
    endpoint: Option<maglev::Index>,
    /// Where its flow may be tracked.
    place: Place,
    total_len: u16,
    /// What fits on the way to the slot's endpoint, as far as 16 bits say; 0: it is not known.
    mtu: u16,
    traffic_class: u8,
    protocol: u8,
    /// Where its transport header begins in the frame.
    upper: NonZeroU8,
}

const _: () = assert!(size_of::<Option<Plain>>() <= 40);

/// What the headers say, read and checked.
struct Headers {
    key: FlowKey,
    total_len: u16,
    traffic_class: u8,
    upper: NonZeroU8,
}

impl Plain {
    /// The first step: reads the headers, hashes the flow, finds the service.
    #[inline]
    pub fn read(frame: &[u8], snapshot: &Snapshot) -> Option<Self> {
        let Headers { key, total_len, traffic_class, upper } = Headers::read(frame)?;
        let FlowKey { destination, protocol, ports, .. } = key;
        if protocol == protocol::UDP && snapshot.gue_ports.contains(&ports.destination) {
            return None;
        }
        let hash = snapshot.settings.seed.hash(&key, Affinity::Flow);
        let Found::Service(service) = snapshot.vips.find(destination, protocol, ports.destination) else { return None };
        let (path, mtu, endpoint, place) = (0, 0, None, Place::default());
        Some(Self { hash, service, path, endpoint, place, total_len, mtu, traffic_class, protocol, upper })
    }

    /// The second step: looks up the slot's endpoint, and, while there is a handover, the tracked flow. `frame` is the one
    /// read. None where the packet is no plain one after all.
    #[inline]
    pub fn look_up<'a>(
        mut self,
        frame: impl FnOnce() -> &'a [u8],
        snapshot: &Snapshot,
        tracked: &Tracked,
    ) -> Option<Self> {
        let entry = snapshot.services.get(self.service as usize)?;
        if !entry.takes_every_flow() {
            self.hash = hash_if_allowed(frame(), entry, snapshot)?;
        }
        self.endpoint = select::endpoint(self.hash, entry);
        if entry.handover.is_some() {
            self.place = tracked.place(self.hash);
        }
        Some(self)
    }

    /// The third step: looks up the way to the slot's endpoint.
    #[inline]
    pub fn approach(&mut self, snapshot: &Snapshot) {
        let entry = snapshot.services.get(self.service as usize);
        let endpoint = entry.zip(self.endpoint).and_then(|(entry, index)| entry.endpoints.get(usize::from(index)));
        let Some(endpoint) = endpoint else { return };
        let Some(path) = snapshot.paths.get(endpoint.path as usize) else { return };
        (self.path, self.mtu) = (endpoint.path, path.mtu.min(u16::MAX.into()) as u16);
    }

    /// The last step, in the frames' order: decides on the endpoint, and puts the outer headers in front where no more than
    /// that is to be done. Says what is left to do, if anything.
    #[inline]
    pub fn encapsulate(
        &self,
        frame: &mut Frame<'_>,
        snapshot: &Snapshot,
        tracked: &mut Tracked,
        now: Moment,
    ) -> Outcome {
        let service = self.service;
        let Some(entry) = snapshot.services.get(service as usize) else { return Outcome::NoEndpoint(service) };
        let chosen = match &entry.handover {
            None => self.endpoint,
            Some(handover) => self.hand_over(frame.bytes(), (handover, &entry.endpoints), tracked, now),
        };
        let Some(index) = chosen else { return Outcome::NoEndpoint(service) };
        let rest = Outcome::Carry { service, index, hash: self.hash };
        let Some(endpoint) = entry.endpoints.get(usize::from(index)) else { return rest };
        let (Some(outer), Some(path)) = (&endpoint.outer, snapshot.paths.get(endpoint.path as usize)) else {
            return rest;
        };
        let mtu = if self.mtu > 0 && endpoint.path == self.path { u32::from(self.mtu) } else { path.mtu };
        let Some(next_hop) = &path.next_hop else { return rest };
        let total_len = usize::from(self.total_len);
        if total_len + outer.overhead() > mtu as usize {
            return rest;
        }
        let inner = Inner { strip: ethernet::HEADER_LEN, total_len, traffic_class: self.traffic_class, tag: None };
        match (Way { outer, next_hop, hash: self.hash }).encapsulate(frame, &inner, &snapshot.settings) {
            Ok(()) => Outcome::Forwarded(service, index),
            Err(_) => rest,
        }
    }

    #[inline(never)]
    fn hand_over(
        &self,
        frame: &[u8],
        service: (&Handover, &[EndpointEntry]),
        tracked: &mut Tracked,
        now: Moment,
    ) -> Option<maglev::Index> {
        let upper = frame.get(usize::from(self.upper.get())..).unwrap_or_default();
        let sign = Sign::of_first_part(self.protocol, upper.get(..self.upper_len()).unwrap_or(upper));
        let found = tracked.find_at(self.place, self.hash, sign, now);
        select::hand_over((self.hash, self.endpoint), (found, sign), service, tracked, now)
    }

    /// Length of what lies behind the IP header; the frame may be longer.
    fn upper_len(&self) -> usize {
        usize::from(self.total_len) + ethernet::HEADER_LEN - usize::from(self.upper.get())
    }
}

/// The hash of a flow whose service asks for more than others do.
#[inline(never)]
fn hash_if_allowed(frame: &[u8], entry: &ServiceEntry, snapshot: &Snapshot) -> Option<FlowHash> {
    let addressed = Addressed::read(frame).ok()??;
    let Packet { flow, source, .. } = Packet::read(frame, &addressed).ok()?;
    entry.allows(source).then(|| snapshot.settings.seed.hash(&flow, entry.affinity))
}

/// What is left to do for a plain packet.
pub enum Outcome {
    /// Nothing: the frame holds the outer packet.
    Forwarded(ServiceIndex, maglev::Index),
    /// Nothing can be done: there is no endpoint.
    NoEndpoint(ServiceIndex),
    /// All that comes after the choice of the endpoint: more than headers in front is asked for.
    Carry {
        /// The packet's service.
        service: ServiceIndex,
        /// Its endpoint.
        index: maglev::Index,
        /// Its flow.
        hash: FlowHash,
    },
}

impl Headers {
    #[inline(always)]
    fn read(frame: &[u8]) -> Option<Self> {
        let ethernet = Ethernet::read(frame).ok()?;
        let packet = frame.get(ethernet::HEADER_LEN..)?;
        match (ethernet.tag, ethernet.ethertype) {
            (None, ethertype::IPV4) => {
                let destination = ipv4::destination(packet)?;
                Self::of(&ipv4::read(packet).ok()?, ipv4::HEADER_LEN, destination.into(), packet)
            }
            (None, ethertype::IPV6) => {
                let destination = ipv6::destination(packet).filter(|address| !ipv6::is_mapped(*address))?;
                Self::of(&ipv6::read(packet).ok()?, ipv6::HEADER_LEN, destination.into(), packet)
            }
            _ => None,
        }
    }

    /// Those of a packet whose IP header has `plain_len` bytes if it is a plain one.
    #[inline(always)]
    fn of(ip: &IpHeader, plain_len: usize, destination: IpAddr, packet: &[u8]) -> Option<Self> {
        let &IpHeader { header_len, total_len, protocol, ttl, traffic_class, fragment, source, .. } = ip;
        let is_plain = header_len == plain_len && fragment.is_none() && ttl > 0;
        if !is_plain || total_len > usize::from(u16::MAX) || !matches!(protocol, protocol::TCP | protocol::UDP) {
            return None;
        }
        let ports = Ports::read(protocol, packet.get(plain_len..total_len)?).ok()?;
        let key = FlowKey { source: address_bits(source), destination: address_bits(destination), ports, protocol };
        let upper = NonZeroU8::new((ethernet::HEADER_LEN + plain_len) as u8)?;
        Some(Self { key, total_len: total_len as u16, traffic_class, upper })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flows, forward, forward_thoroughly};
    use super::*;
    use crate::control::update::Builder;
    use crate::flow::Seed;
    use crate::forward::encap::{Source, Sources};
    use crate::forward::verdict::Verdict;
    use crate::frame::Span;
    use crate::snapshot::{Dscp, NextHop, Settings, Tag};
    use crate::wire::ethernet::MacAddress;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const HEADROOM: usize = 128;

    /// Services of all kinds, in the midst of a handover.
    static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
        let own = Source { address: "2001:db8:51b::1".parse().expect("v6"), entropy: 0.into() };
        let sources = Sources { v4: None, v6: Some(own) };
        let settings = Settings { seed: Seed([7; 16]), dscp: Dscp::Copy, underlay_mtu: 600, hop_limit: 64, sources };
        let mut builder = Builder::new(settings, 600, 1);
        let mac = MacAddress([2, 0, 0, 0, 0, 9]);
        for (second, state) in [(0, "active"), (10, "draining")] {
            let endpoints = format!(
                r#"[{{"name":"a","address":"2001:db8:10::a","state":"{state}"}},{{"name":"b","address":"2001:db8:10::b"}},
                    {{"name":"c","address":"192.0.2.7"}}]"#
            );
            let service = |name: &str, vip: &str, more: &str| {
                format!(r#"{{"name":"{name}","vip":"{vip}","endpoints":{endpoints}{more}}}"#)
            };
            let services = [
                service("every", "203.0.113.1", ""),
                service("web", "203.0.113.2", r#","protocol":"tcp","ports":[80],"allow":["10.0.0.0/9"]"#),
                service("client", "2001:db8:1::1", r#","affinity":"client""#),
                service("gue", "2001:db8:1::2", r#","protocol":"udp","encap":{"type":"gue"}"#),
            ];
            let set = format!(r#"{{"services":[{}]}}"#, services.join(","));
            builder.update(&crate::endpoint_set::parse(&set).expect("valid"), (0, 0), second);
        }
        builder.resolve(|_| Some(NextHop { destination: mac, source: mac, tag: Tag::None }));
        builder.snapshot()
    });

    fn frame(vip: usize, number: u8, len: usize) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let upper: &[u8] = &[0x9c, 0x40, 0, 80, 0, 20, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0];
        let total = (len - 14) as u16;
        if vip < 2 {
            frame.extend([8, 0, 0x45, 0, (total >> 8) as u8, total as u8, 0, 0, 0x40, 0, 64, number, 0, 0]);
            frame.extend([10, 0, 0, 9, 203, 0, 113, 1 + vip as u8]);
        } else {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, ((total - 40) >> 8) as u8, (total - 40) as u8, number, 64]);
            frame.extend([0x20, 1, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend([0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, vip as u8 - 1]);
        }
        frame.extend(upper);
        frame.resize(len, 0);
        frame
    }

    /// What becomes of a frame, and what leaves.
    fn outcome(bytes: &[u8], way: impl FnOnce(&mut Frame<'_>) -> Verdict) -> (Verdict, Option<Vec<u8>>) {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend(bytes);
        let mut frame = Frame::new(&mut buffer, Span { start: HEADROOM, len: bytes.len() }).expect("inside");
        let verdict = way(&mut frame);
        (verdict, (!matches!(verdict, Verdict::Dropped(..))).then(|| frame.bytes().to_vec()))
    }

    proptest! {
        #[test]
        fn the_short_way_ends_where_the_thorough_one_does(
            (vip, number, len) in (0usize..4, prop_oneof![Just(6u8), Just(17u8), any::<u8>()], 80usize..1_000),
            changes in prop::collection::vec((12usize..80, any::<u8>()), 0..3),
            flags in prop::collection::vec(any::<u8>(), 1..4),
        ) {
            let (mut short, mut thorough) = (Flows::default(), Flows::default());
            for flag in flags {
                let mut bytes = frame(vip, number, len);
                let at = if vip < 2 { 14 + 20 + 13 } else { 14 + 40 + 13 };
                bytes[at] = flag;
                changes.iter().for_each(|(at, to)| bytes[*at] = *to);
                let now = Moment(1_000_000_000);
                let one = outcome(&bytes, |frame| forward(frame, &SNAPSHOT, &mut short, now));
                let other = outcome(&bytes, |frame| forward_thoroughly(frame, &SNAPSHOT, &mut thorough, now));
                prop_assert_eq!(&one, &other);
                let parts = |flows: &Flows| flows.parts().iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
                prop_assert_eq!(parts(&short), parts(&thorough));
                thorough.parts.clear();
                prop_assert!(short.tracked().take_changes().eq(thorough.tracked().take_changes()));
            }
        }
    }

    #[test]
    fn plain_packets_go_it() {
        for (vip, number) in [(0, 6), (0, 17), (1, 6), (2, 6), (2, 17), (3, 17)] {
            assert!(Plain::read(&frame(vip, number, 100), &SNAPSHOT).is_some(), "{vip} {number}");
        }
        assert!(Plain::read(&frame(0, 1, 100), &SNAPSHOT).is_none());
    }
}
