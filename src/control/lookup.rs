//! Where would this flow go, and why? The same steps as a packet's, told instead of taken.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use crate::document::{Collector, Node, Problems};
use crate::flow::{FlowHash, FlowKey, address_bits};
use crate::forward::select::select;
use crate::handover::Memory;
use crate::model::Protocol;
use crate::snapshot::{ServiceEntry, Snapshot};
use crate::vip_map::Found;
use crate::wire::l4::{Ports, WITH_PORTS, protocol};

/// A flow that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The client.
    pub src: IpAddr,
    /// The VIP.
    pub dst: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Source port; 0 where there is none.
    pub sport: u16,
    /// Destination port; 0 where there is none.
    pub dport: u16,
}

impl Query {
    /// Reads a query from parameters: `{src, dst, protocol, sport, dport}`.
    pub fn read(params: &Value) -> Result<Self, Problems> {
        let collector = Collector::default();
        let query = Self::read_from(&Node::root(params, &collector));
        collector.finish(query)
    }

    fn read_from(root: &Node<'_>) -> Option<Self> {
        let table = root.table(&["src", "dst", "protocol", "sport", "dport"])?;
        let address = |key| -> Option<IpAddr> {
            let node = table.require(key)?;
            let text = node.text()?;
            let parsed = text.parse().ok();
            if parsed.is_none() {
                node.refuse(format!("\"{text}\" is not an IP address"));
            }
            parsed
        };
        let (src, dst) = (address("src"), address("dst"));
        let protocol: Option<Protocol> = table.require("protocol").and_then(|node| node.parsed());
        let port = |key| table.get(key).map_or(Some(0), |node| node.integer(0..=65_535).map(|port| port as u16));
        let (sport, dport) = (port("sport"), port("dport"));
        if let (Some(src), Some(dst)) = (src, dst)
            && src.is_ipv4() != dst.is_ipv4()
        {
            root.refuse("\"src\" and \"dst\" are not of the same family");
            return None;
        }
        Some(Self { src: src?, dst: dst?, protocol: protocol?, sport: sport?, dport: dport? })
    }

    fn flow(&self) -> FlowKey {
        let has_ports = WITH_PORTS.contains(&self.protocol.0);
        let ports = Ports { source: self.sport, destination: self.dport };
        FlowKey {
            source: address_bits(self.src),
            destination: address_bits(self.dst),
            ports: if has_ports { ports } else { Ports::default() },
            protocol: self.protocol.0,
        }
    }

    /// Whether a packet of this flow is a ping, as far as can be known: ICMP of the VIP's family.
    fn is_ping(&self) -> bool {
        self.protocol.0 == if self.dst.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 }
    }
}

/// What there is to say of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The service that takes it.
    pub service: Option<String>,
    /// Its slot in the service's table.
    pub slot: Option<u32>,
    /// The endpoint that gets it.
    pub endpoint: Option<String>,
    /// The endpoint's address.
    pub address: Option<IpAddr>,
    /// Why, in a sentence.
    pub reason: String,
}

/// Explains where a flow goes.
pub fn explain(query: &Query, snapshot: &Snapshot) -> Answer {
    let flow = query.flow();
    let index = match snapshot.vips.find(flow.destination, flow.protocol, flow.ports.destination) {
        Found::Service(index) => Some(index),
        Found::NoService if query.is_ping() => snapshot.vips.first_service(flow.destination),
        Found::NoService => return told(format!("{} is a VIP, but no service takes {}", query.dst, matter(query))),
        Found::NotAVip => return told(format!("{} is not a VIP; the packet is the kernel's", query.dst)),
    };
    match index.and_then(|index| snapshot.services.get(index as usize)) {
        Some(entry) => explain_service(query, &flow, entry, snapshot),
        None => told(format!("{} has no service", query.dst)),
    }
}

/// What a change of endpoints means for a flow that is not new.
fn handover_note(hash: FlowHash, entry: &ServiceEntry) -> String {
    let Some(handover) = &entry.handover else { return String::new() };
    match handover.remembered.of(hash) {
        Memory::None => "; a tracked flow keeps its endpoint".to_owned(),
        Memory::Gone => "; the slot's endpoint before is gone; a tracked flow keeps its own".to_owned(),
        Memory::Had(index) => {
            let before = entry.service.endpoints.get(usize::from(index)).map_or("", |endpoint| &endpoint.name);
            format!(
                "; the slot remembers {before}: a flow older than the change goes there, a tracked one keeps its own"
            )
        }
    }
}

fn told(reason: String) -> Answer {
    Answer { reason, ..Answer::default() }
}

fn matter(query: &Query) -> String {
    match query.dport {
        0 => query.protocol.to_string(),
        port => format!("{} port {port}", query.protocol),
    }
}

fn explain_service(query: &Query, flow: &FlowKey, entry: &ServiceEntry, snapshot: &Snapshot) -> Answer {
    let service = Some(entry.service.name.clone());
    if !entry.allows(flow.source) {
        return Answer { service, ..told(format!("dropped: not_allowed, {} is in no prefix of allow", query.src)) };
    }
    if query.is_ping() && !entry.forwards_echo() {
        return Answer { service, ..told("a ping of this VIP is answered by the node itself".to_owned()) };
    }
    let selection = select(flow, entry, snapshot);
    let slot = Some(selection.slot);
    let Some(index) = selection.endpoint.map(usize::from) else {
        return Answer { service, slot, ..told("dropped: no_endpoint, none takes new flows".to_owned()) };
    };
    let (endpoint, ready) = (&entry.service.endpoints[index], &entry.endpoints[index]);
    let hop = snapshot.paths.get(ready.path as usize).and_then(|path| path.next_hop.as_ref());
    let chosen = format!(
        "hash {:016x} is slot {} of {}, whose endpoint is {}",
        selection.hash.0, selection.slot, entry.table_size, endpoint.name
    );
    let chosen = chosen + &handover_note(selection.hash, entry);
    let reason = match (ready.outer, hop) {
        (None, _) => format!("{chosen}; dropped: no_outer_source, the node has no source address of its family"),
        (_, None) => format!("{chosen}; dropped: no_next_hop, the way to it is not known"),
        (Some(_), Some(hop)) => format!("{chosen}; next hop {}", hop.destination),
    };
    Answer { service, slot, endpoint: Some(endpoint.name.clone()), address: Some(endpoint.address), reason }
}
