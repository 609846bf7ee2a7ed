//! Flow → service → slot → endpoint.

use super::parse::Packet;
use super::track::{Place, Sign, Tracked};
use super::verdict::DropReason;
use crate::flow::{Affinity, FlowHash, FlowKey};
use crate::handover::Memory;
use crate::maglev;
use crate::moment::Moment;
use crate::snapshot::{EndpointEntry, Handover, ServiceEntry, Snapshot};
use crate::vip_map::{Found, ServiceIndex};
use crate::wire::{Family, icmp, ipv6};

/// The service of a packet. `Ok(None)`: the packet is not for a VIP.
pub fn find_service(packet: &Packet, snapshot: &Snapshot) -> Result<Option<ServiceIndex>, DropReason> {
    let flow = &packet.flow;
    if !packet.is_flow_known {
        return find_by_client(packet, snapshot);
    }
    match snapshot.vips.find(flow.destination, flow.protocol, flow.ports.destination) {
        Found::NotAVip => Ok(None),
        Found::Service(service) => Ok(Some(service)),
        Found::NoService if packet.icmp == Some(icmp::Kind::EchoRequest) => {
            Ok(snapshot.vips.first_service(flow.destination))
        }
        // An error about the reply to a ping, which went to an endpoint though no service takes ICMP.
        Found::NoService if packet.icmp == Some(icmp::Kind::Error) && flow.protocol == packet.family.icmp() => {
            let service = snapshot.vips.first_service(flow.destination);
            let entry = service.and_then(|service| snapshot.services.get(service as usize));
            if entry.is_some_and(|entry| entry.forwards_echo()) { Ok(service) } else { Err(DropReason::NoService) }
        }
        Found::NoService => Err(DropReason::NoService),
    }
}

/// The service of a packet whose ports are not known: the only one that can take it, if it asks for no more than
/// addresses.
fn find_by_client(packet: &Packet, snapshot: &Snapshot) -> Result<Option<ServiceIndex>, DropReason> {
    let flow = &packet.flow;
    if !snapshot.vips.holds(flow.destination) {
        return Ok(None);
    }
    // Behind an extension header even the protocol is hidden.
    let protocol = Some(flow.protocol).filter(|number| packet.family == Family::V4 || !ipv6::is_extension(*number));
    let only = snapshot.vips.only_service(flow.destination, protocol);
    let entry = only.and_then(|service| snapshot.services.get(service as usize));
    match (entry.map(|entry| entry.service.affinity), packet.icmp) {
        (Some(Affinity::Client), _) => Ok(only),
        (_, Some(icmp::Kind::Error)) => Err(DropReason::QuoteUnreadable),
        _ => Err(DropReason::FragmentWithoutFirst),
    }
}

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Its hash.
    pub hash: FlowHash,
    /// Its slot in the service's table.
    pub slot: u32,
    /// The slot's endpoint; none where the service has none that takes new flows.
    pub endpoint: Option<maglev::Index>,
}

/// The slot and the slot's endpoint of a flow within its service.
pub fn select(flow: &FlowKey, entry: &ServiceEntry, snapshot: &Snapshot) -> Selection {
    let hash = snapshot.settings.seed.hash(flow, entry.affinity);
    let slot = hash.slot(entry.table.size());
    Selection { hash, slot, endpoint: entry.table.get(slot) }
}

/// What is known of a packet whose flow may have another endpoint than its slot's.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// Its flow's hash.
    pub hash: FlowHash,
    /// What it says of its flow.
    pub sign: Sign,
    /// What [`Tracked::place`] says of the flow, where that has been asked.
    pub place: Place,
    /// Whether it is a flow of UDP.
    pub is_udp: bool,
}

/// The endpoint of a flow whose service is in a handover, where that can be another than its slot's (section 7 of the
/// contract): a tracked flow keeps its own; a new one takes the slot's; any other that the slot remembers an endpoint for
/// is older than the change, and takes that one. From then on it is tracked.
///
/// To be asked for flows alone whose slot is [touched](Handover::touched).
pub fn hand_over(
    of_slot: Option<maglev::Index>,
    packet: Asking,
    (handover, endpoints): (&Handover, &[EndpointEntry]),
    tracked: &mut Tracked,
    now: Moment,
) -> Option<maglev::Index> {
    let Asking { hash, sign, place, is_udp } = packet;
    if let Some(cell) = tracked.find_at(place, hash, sign, now) {
        match handover.endpoint(cell) {
            Some(own) => return Some(own),
            // It went down, or left the set: its flows move at once.
            None => tracked.forget(hash),
        }
    }
    let endpoint = match handover.memory(hash, is_udp) {
        Memory::None => return of_slot,
        Memory::Had(had) if sign != Sign::Opens => Some(had),
        Memory::Had(_) | Memory::Gone => of_slot,
    };
    let cell = endpoint.and_then(|index| endpoints.get(usize::from(index))).map(|entry| entry.cell);
    if let Some(cell) = cell.filter(|_| sign != Sign::None) {
        tracked.insert(hash, cell, sign, now);
    }
    endpoint
}
