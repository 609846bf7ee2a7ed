//! Flow → service → slot → endpoint.

use super::parse::Packet;
use super::verdict::DropReason;
use crate::flow::{FlowHash, FlowKey};
use crate::maglev;
use crate::snapshot::{ServiceEntry, Snapshot};
use crate::vip_map::{Found, ServiceIndex};
use crate::wire::icmp;

/// Neighbour discovery never crosses a router, which its hop limit proves (RFC 4861 section 3.1). The steering program
/// passes the same packets.
const NEIGHBOUR_HOP_LIMIT: u8 = 255;

/// The service of a packet. `Ok(None)`: the packet is not for a VIP.
pub fn find_service(packet: &Packet, snapshot: &Snapshot) -> Result<Option<ServiceIndex>, DropReason> {
    let flow = &packet.flow;
    if packet.icmp == Some(icmp::Kind::NeighbourDiscovery) && packet.ttl == NEIGHBOUR_HOP_LIMIT {
        return Ok(None);
    }
    let set_aside = match packet.icmp {
        _ if packet.fragment => Some(DropReason::Fragment),
        Some(icmp::Kind::Error) => Some(DropReason::IcmpError),
        _ => None,
    };
    if let Some(reason) = set_aside {
        return if snapshot.vips.holds(flow.destination) { Err(reason) } else { Ok(None) };
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
