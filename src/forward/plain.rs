//! The short way of plain packets, as nearly all are: untagged, whole, without options or extension headers, TCP or UDP, to
//! a service that takes them. What it does not know it leaves to the thorough way, and says nothing of it.
//!
//! It is gone in steps. A worker takes each step for its whole batch before the next (`ahead`): the loads of one step do
//! not wait for each other, so that many packets wait for memory at the same time.

use super::encap::{Inner, Way};
use super::parse::{Addressed, Packet};
use super::select::{self, Asking};
use super::track::{Place, Sign, Tracked};
use super::verdict::DropReason;
use crate::flow::{FlowHash, FlowKey, address_bits};
use crate::frame::Frame;
use crate::maglev;
use crate::moment::Moment;
use crate::snapshot::{EndpointEntry, ServiceEntry, Snapshot};
use crate::vip_map::{Found, ServiceIndex};
use crate::wire::ethernet::{self, ethertype};
use crate::wire::l4::{Ports, protocol};
use crate::wire::{PlainHeader, ipv4, ipv6};

/// A plain packet, as far as it has been looked into. Small, since there is one for each frame of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    hash: FlowHash,
    service: ServiceIndex,
    /// Where its flow is tracked, as far as that is known; none where it need not be asked whether it is.
    place: Option<Place>,
    /// The slot's endpoint.
    endpoint: Option<maglev::Index>,
    total_len: u16,
    traffic_class: u8,
    sign: Sign,
}

const _: () = assert!(size_of::<Option<Plain>>() <= 32);

/// What the headers say, read and checked.
struct Headers {
    key: FlowKey,
    total_len: u16,
    traffic_class: u8,
    sign: Sign,
}

impl Plain {
    /// The first step: reads the headers, hashes the flow by `hash` (affinity `flow`), finds the service. A hash that is not
    /// known yet is to be [put in](Self::set_hash) before the other steps.
    #[inline(always)]
    pub fn read(frame: &[u8], snapshot: &Snapshot, hash: impl FnOnce(&FlowKey) -> FlowHash) -> Option<Self> {
        let Headers { key, total_len, traffic_class, sign } = Headers::read(frame)?;
        let hash = hash(&key);
        let FlowKey { destination, protocol, ports, .. } = key;
        if protocol == protocol::UDP && snapshot.gue_ports.contains(&ports.destination) {
            return None;
        }
        let Found::Service(service) = snapshot.vips.find(destination, protocol, ports.destination) else { return None };
        Some(Self { hash, service, place: None, endpoint: None, total_len, traffic_class, sign })
    }

    /// Puts in the flow's hash.
    #[inline(always)]
    pub fn set_hash(&mut self, hash: FlowHash) {
        self.hash = hash;
    }

    /// Its service.
    #[inline(always)]
    pub fn entry<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a ServiceEntry> {
        snapshot.services.get(self.service as usize).map(|entry| &**entry)
    }

    /// The second step: looks at the service. `packet` is the one read. Answers whether it is a plain one after all.
    #[inline(always)]
    pub fn admit<'a>(&mut self, packet: impl FnOnce() -> &'a [u8], snapshot: &Snapshot) -> bool {
        let Some(entry) = self.entry(snapshot) else { return false };
        if entry.takes_every_flow() {
            return true;
        }
        let hash = hash_if_allowed(packet(), entry, snapshot);
        self.hash = hash.unwrap_or(self.hash);
        hash.is_some()
    }

    /// Has the memory of the slot come near.
    #[inline(always)]
    pub fn approach_slot(&self, snapshot: &Snapshot) {
        self.entry(snapshot).into_iter().for_each(|entry| entry.table.approach(self.hash.slot(entry.table.size())));
    }

    /// The third step: looks up the slot's endpoint, and whether flows of the slot may be tracked.
    #[inline(always)]
    pub fn look_up(&mut self, snapshot: &Snapshot) {
        let Some(entry) = self.entry(snapshot) else { return };
        self.endpoint = entry.table.get(self.hash.slot(entry.table.size()));
        if let Some(handover) = &entry.handover
            && handover.touched.holds(self.hash)
        {
            self.place = Some(Place::default());
        }
    }

    /// The flow, where it may be tracked, and where it is: to be found out before the last step, so that this need not look
    /// for it.
    #[inline(always)]
    pub fn place(&mut self) -> Option<(FlowHash, &mut Place)> {
        self.place.as_mut().map(|place| (self.hash, place))
    }

    /// What is to be read of the slot's endpoint.
    #[inline(always)]
    pub fn endpoint<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a EndpointEntry> {
        self.entry(snapshot)?.endpoints.get(usize::from(self.endpoint?))
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
        let Some(entry) = snapshot.services.get(service as usize) else {
            return Outcome::Dropped(DropReason::NoService, service);
        };
        let chosen = match (&entry.handover, self.place) {
            (Some(handover), Some(place)) => {
                // What is plain is TCP or UDP.
                let is_udp = self.sign == Sign::Datagram;
                let packet = Asking { hash: self.hash, sign: self.sign, place, is_udp };
                select::hand_over(self.endpoint, packet, (handover, &entry.endpoints), tracked, now)
            }
            _ => self.endpoint,
        };
        let Some(index) = chosen else { return Outcome::Dropped(DropReason::NoEndpoint, service) };
        let rest = Outcome::Carry { service, index, hash: self.hash };
        let Some(endpoint) = entry.endpoints.get(usize::from(index)) else { return rest };
        let (Some(outer), Some(path)) = (&endpoint.outer, snapshot.paths.get(endpoint.path)) else {
            return rest;
        };
        let Some(next_hop) = path.next_hop else { return rest };
        let total_len = usize::from(self.total_len);
        if total_len + outer.overhead() > path.mtu as usize {
            return rest;
        }
        let inner = Inner { strip: ethernet::HEADER_LEN, total_len, traffic_class: self.traffic_class, tag: None };
        match (Way { outer, next_hop, hash: self.hash }).encapsulate(frame, &inner, &snapshot.settings) {
            Ok(()) => Outcome::Forwarded(service, index),
            Err(reason) => Outcome::Dropped(reason, service),
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
    /// Nothing can be done.
    Dropped(DropReason, ServiceIndex),
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
        match split(frame)? {
            (ethertype::IPV4, packet) => Self::of(&ipv4::read_plain(packet)?, ipv4::HEADER_LEN, packet),
            (ethertype::IPV6, packet) => Self::of(&ipv6::read_plain(packet)?, ipv6::HEADER_LEN, packet),
            _ => None,
        }
    }

    #[inline(always)]
    fn of(ip: &PlainHeader, header_len: usize, packet: &[u8]) -> Option<Self> {
        let &PlainHeader { total_len, traffic_class, protocol, source, destination } = ip;
        let upper = packet.get(header_len..total_len.into())?;
        // One after the other, so that of each only what concerns it is looked at.
        let (ports, sign) = match protocol {
            protocol::TCP => (Ports::read(protocol::TCP, upper), Sign::of_first_part(protocol::TCP, upper)),
            protocol::UDP => (Ports::read(protocol::UDP, upper), Sign::of_first_part(protocol::UDP, upper)),
            _ => return None,
        };
        let key = FlowKey { source, destination, ports: ports.ok()?, protocol };
        Some(Self { key, total_len, traffic_class, sign })
    }
}

/// Ethertype and payload of a frame from one station to one.
#[inline(always)]
fn split(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (header, packet) = frame.split_first_chunk::<{ ethernet::HEADER_LEN }>()?;
    let [.., t0, t1] = *header;
    if ethernet::is_group(header) {
        return None;
    }
    Some((u16::from_be_bytes([t0, t1]), packet))
}

/// The address that a packet is for, if it may be a plain one.
#[inline(always)]
pub fn destination(frame: &[u8]) -> Option<u128> {
    match split(frame)? {
        (ethertype::IPV4, packet) => ipv4::destination(packet).map(|address| address_bits(address.into())),
        (ethertype::IPV6, packet) => ipv6::destination(packet).map(|address| address_bits(address.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
