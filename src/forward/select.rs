//! Flow → service → slot → endpoint.

use super::parse::Packet;
use super::verdict::DropReason;
use crate::flow::{Affinity, FlowHash, FlowKey};
use crate::maglev;
use crate::snapshot::{ServiceEntry, Snapshot};
use crate::vip_map::{Found, ServiceIndex};
use crate::wire::icmp;

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
    let only = snapshot.vips.only_service(flow.destination, flow.protocol);
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

/// The slot and the endpoint of a flow within its service.
pub fn select(flow: &FlowKey, entry: &ServiceEntry, snapshot: &Snapshot) -> Selection {
    let hash = snapshot.settings.seed.hash(flow, entry.service.affinity);
    let slot = hash.slot(entry.table_size);
    Selection { hash, slot, endpoint: entry.table.get(slot as usize).copied() }
}
