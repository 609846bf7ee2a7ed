//! The short way of plain packets, as nearly all are: untagged, whole, without options or extension headers, TCP or UDP, to
//! a service that takes them. What it does not know it leaves to the thorough way, and says nothing of it.
//!
//! It is gone in four steps. A worker takes each step for its whole batch before the next: the loads of one step do not
//! wait for each other, so that many packets wait for memory at the same time.

use std::net::IpAddr;

use super::encap::{Inner, Way};
use super::parse::{Addressed, Packet};
use super::select;
use super::track::{Place, Sign, Tracked};
use crate::flow::{Affinity, FlowHash, FlowKey, address_bits};
use crate::frame::Frame;
use crate::maglev;
use crate::moment::Moment;
use crate::snapshot::{ServiceEntry, Snapshot};
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
    /// Where its flow is tracked; none where it need not be asked whether it is.
    place: Option<Place>,
    total_len: u16,
    /// What fits on the way to the slot's endpoint, as far as 16 bits say; 0: it is not known.
    mtu: u16,
    traffic_class: u8,
    sign: Sign,
}

const _: () = assert!(size_of::<Option<Plain>>() <= 40);

/// What the headers say, read and checked.
struct Headers {
    key: FlowKey,
    total_len: u16,
    traffic_class: u8,
    sign: Sign,
}

impl Plain {
    /// The first step: reads the headers, hashes the flow, finds the service.
    #[inline]
    pub fn read(frame: &[u8], snapshot: &Snapshot) -> Option<Self> {
        let Headers { key, total_len, traffic_class, sign } = Headers::read(frame)?;
        let FlowKey { destination, protocol, ports, .. } = key;
        if protocol == protocol::UDP && snapshot.gue_ports.contains(&ports.destination) {
            return None;
        }
        let hash = snapshot.settings.seed.hash(&key, Affinity::Flow);
        let Found::Service(service) = snapshot.vips.find(destination, protocol, ports.destination) else { return None };
        let (path, mtu, endpoint, place) = (0, 0, None, None);
        Some(Self { hash, service, path, endpoint, place, total_len, mtu, traffic_class, sign })
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
        if let Some(handover) = &entry.handover
            && handover.touched.holds(self.hash)
        {
            self.place = Some(tracked.place(self.hash));
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
        let chosen = match (&entry.handover, self.place) {
            (Some(handover), Some(place)) => {
                let flow = (self.hash, self.sign, place);
                select::hand_over(self.endpoint, flow, (handover, &entry.endpoints), tracked, now)
            }
            _ => self.endpoint,
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

    /// Whether it opens a flow.
    #[inline]
    pub fn opens(&self) -> bool {
        self.sign == Sign::Opens
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
        let upper = packet.get(plain_len..total_len)?;
        let ports = Ports::read(protocol, upper).ok()?;
        let key = FlowKey { source: address_bits(source), destination: address_bits(destination), ports, protocol };
        let sign = Sign::of_first_part(protocol, upper);
        Some(Self { key, total_len: total_len as u16, traffic_class, sign })
    }
}

#[cfg(test)]
mod tests;
