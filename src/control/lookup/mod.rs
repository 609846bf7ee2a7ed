//! Where would this flow go, and why? The same steps as a packet's, told instead of taken; and what would become of packets
//! that do not show all of their flow, by the very function that forwards them.

mod packets;

use std::net::IpAddr;

use serde::Serialize;

use crate::document::{Collector, Node, Problems, Tree};
use crate::flow::{FlowHash, FlowKey, address_bits};
use crate::forward::select::{Selection, select};
use crate::forward::verdict::Verdict;
use crate::handover::Memory;
use crate::maglev;
use crate::model::Protocol;
use crate::snapshot::{Cell, ServiceEntry, Snapshot};
use crate::vip_map::Found;
use crate::wire::l4::{Ports, WITH_PORTS, protocol};
use crate::wire::{Family, ipv6};

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
    pub fn read(params: &Tree<'_>) -> Result<Self, Problems> {
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

    fn is_udp(&self) -> bool {
        self.protocol.0 == protocol::UDP
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
    /// The endpoint that gets it: its own if it is tracked, else that of a new flow, the slot's.
    pub endpoint: Option<String>,
    /// The endpoint's address.
    pub address: Option<IpAddr>,
    /// Why, in a sentence.
    pub reason: String,
    /// The flow's hash, in hexadecimal digits.
    pub hash: Option<String>,
    /// Slots of the table.
    pub table_size: Option<u32>,
    /// The endpoint that the slot remembers, which gets the flow if it is older than the change and not tracked.
    pub memory: Option<String>,
    /// The endpoint that a worker keeps for this flow.
    pub tracked: Option<String>,
    /// The neighbour that outer packets go to first.
    pub next_hop: Option<String>,
    /// The largest packet of the client's that fits on the way to the endpoint, in bytes.
    pub mtu: Option<u32>,
    /// What becomes of later fragments of the flow's packets.
    pub later_fragments: Option<String>,
    /// What becomes of an ICMP error about an answer to the client.
    pub icmp_errors: Option<String>,
}

/// Explains where a flow goes. `find_tracked` says which endpoints' cells workers keep for a hash; `None` where that cannot
/// be found out.
pub fn explain(query: &Query, snapshot: &Snapshot, find_tracked: impl FnOnce(FlowHash) -> Option<Vec<Cell>>) -> Answer {
    let flow = query.flow();
    let index = match snapshot.vips.find(flow.destination, flow.protocol, flow.ports.destination) {
        Found::Service(index) => Some(index),
        Found::NoService if query.is_ping() => snapshot.vips.first_service(flow.destination),
        Found::NoService => return told(format!("{} is a VIP, but no service takes {}", query.dst, matter(query))),
        Found::NotAVip => return told(format!("{} is not a VIP; the packet is the kernel's", query.dst)),
    };
    match index.and_then(|index| snapshot.services.get(index as usize)) {
        Some(entry) => explain_service(query, &flow, entry, (snapshot, find_tracked)),
        None => told(format!("{} has no service", query.dst)),
    }
}

fn told(reason: String) -> Answer {
    Answer { reason, ..Answer::default() }
}

fn matter(query: &Query) -> String {
    match query.dport {
        0 if WITH_PORTS.contains(&query.protocol.0) => format!("{} without a port; see dport", query.protocol),
        0 => query.protocol.to_string(),
        port => format!("{} port {port}", query.protocol),
    }
}

fn explain_service(
    query: &Query,
    flow: &FlowKey,
    entry: &ServiceEntry,
    (snapshot, find_tracked): (&Snapshot, impl FnOnce(FlowHash) -> Option<Vec<Cell>>),
) -> Answer {
    let service = Some(entry.service.name.clone());
    if !entry.allows(flow.source) {
        return Answer { service, ..told(format!("dropped: not_allowed, {} is in no prefix of allow", query.src)) };
    }
    if query.is_ping() && !entry.forwards_echo() {
        return Answer { service, ..told("a ping of this VIP is answered by the node itself".to_owned()) };
    }
    let selection = select(flow, entry, snapshot);
    let tracked = tracked(selection.hash, entry, find_tracked);
    let answer = Answer {
        service,
        slot: Some(selection.slot),
        hash: Some(format!("{:016x}", selection.hash.0)),
        table_size: Some(entry.table.size()),
        memory: memory(query, selection.hash, entry),
        tracked: tracked.endpoint().map(|index| name(entry, index)),
        reason: why(query, &selection, entry, tracked),
        ..related(query, (entry, snapshot), (selection.hash, tracked))
    };
    match tracked.endpoint().or(selection.endpoint) {
        Some(index) => to_endpoint(answer, usize::from(index), entry, snapshot),
        None => Answer { reason: format!("{}; dropped: no_endpoint, none takes new flows", answer.reason), ..answer },
    }
}

/// Whether workers keep an endpoint for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tracked {
    /// This one.
    Keeps(maglev::Index, Cell),
    /// None.
    No,
    /// A worker has not said.
    Unknown,
}

impl Tracked {
    fn endpoint(self) -> Option<maglev::Index> {
        match self {
            Self::Keeps(index, _) => Some(index),
            Self::No | Self::Unknown => None,
        }
    }
}

/// Where no change of endpoints is open, no flow of the service is tracked, and nobody need be asked.
fn tracked(hash: FlowHash, entry: &ServiceEntry, find: impl FnOnce(FlowHash) -> Option<Vec<Cell>>) -> Tracked {
    let Some(handover) = &entry.handover else { return Tracked::No };
    let Some(cells) = find(hash) else { return Tracked::Unknown };
    let kept = cells.into_iter().find_map(|cell| Some(Tracked::Keeps(handover.endpoint(cell)?, cell)));
    kept.unwrap_or(Tracked::No)
}

fn name(entry: &ServiceEntry, index: maglev::Index) -> String {
    entry.service.endpoints.get(usize::from(index)).map_or_else(String::new, |endpoint| endpoint.name.clone())
}

/// The endpoint that the slot remembers, if any.
fn memory(query: &Query, hash: FlowHash, entry: &ServiceEntry) -> Option<String> {
    match entry.handover.as_ref()?.memory(hash, query.is_udp()) {
        Memory::Had(index) => Some(name(entry, index)),
        Memory::None | Memory::Gone => None,
    }
}

/// The slot, its endpoint, and what a change of endpoints means for a flow that is not new.
fn why(query: &Query, selection: &Selection, entry: &ServiceEntry, tracked: Tracked) -> String {
    let &Selection { hash, slot, endpoint } = selection;
    let owner = endpoint.map_or_else(|| "nobody's".to_owned(), |index| format!("that of {}", name(entry, index)));
    let mut reason = format!("hash {:016x} is slot {slot} of {}, {owner}", hash.0, entry.table.size());
    let Some(handover) = &entry.handover else { return reason };
    reason += &match (tracked, handover.memory(hash, query.is_udp())) {
        (Tracked::Keeps(own, _), _) => format!("; the flow is tracked and keeps {}", name(entry, own)),
        (_, Memory::None) => String::new(),
        (_, Memory::Gone) => match handover.remembered.of(hash) {
            Memory::Had(before) => {
                format!("; the slot remembers {}, which drains: udp_drain has datagrams move", name(entry, before))
            }
            Memory::None | Memory::Gone => "; the endpoint that the slot had before is gone".to_owned(),
        },
        (_, Memory::Had(before)) => {
            let before = name(entry, before);
            format!("; the slot remembers {before}: a flow older than the change goes there")
        }
    };
    reason += match tracked {
        Tracked::Keeps(..) => "",
        Tracked::No => "; it is not tracked",
        Tracked::Unknown => "; whether it is tracked is not known, as a worker has not answered in time",
    };
    reason
}

/// Adds the way to the endpoint, or why there is none.
fn to_endpoint(answer: Answer, index: usize, entry: &ServiceEntry, snapshot: &Snapshot) -> Answer {
    let (Some(endpoint), Some(ready)) = (entry.service.endpoints.get(index), entry.endpoints.get(index)) else {
        return answer;
    };
    let path = snapshot.paths.get(ready.path);
    let next_hop = path.and_then(|path| path.next_hop).map(|hop| hop.destination.to_string());
    let overhead = ready.outer.as_ref().map(|outer| outer.overhead() as u32);
    let way = match (overhead, &next_hop) {
        (None, _) => "dropped: no_outer_source, the node has no source address of its family".to_owned(),
        (_, None) => "dropped: no_next_hop, the way to it is not known".to_owned(),
        (Some(_), Some(hop)) => format!("next hop {hop}"),
    };
    Answer {
        endpoint: Some(endpoint.name.clone()),
        address: Some(endpoint.address),
        reason: format!("{}; {way}", answer.reason),
        next_hop,
        mtu: overhead.and_then(|overhead| Some(path?.mtu.saturating_sub(overhead))),
        ..answer
    }
}

/// What becomes of packets that do not show all of the flow.
fn related(
    query: &Query,
    (entry, snapshot): (&ServiceEntry, &Snapshot),
    (hash, tracked): (FlowHash, Tracked),
) -> Answer {
    // What such a number stands for is no flow's protocol.
    if Family::of(query.dst) == Family::V6 && ipv6::is_extension(query.protocol.0) {
        return Answer::default();
    }
    let kept = match tracked {
        Tracked::Keeps(_, cell) => Some((hash, cell)),
        Tracked::No | Tracked::Unknown => None,
    };
    let verdict = |frames: &[&Vec<u8>]| packets::verdict(frames, snapshot, &mut packets::flows(kept));
    let whole = verdict(&[&query.whole()]);
    let way = |found: Verdict| if found == whole { "the same way".to_owned() } else { outcome(found, entry, snapshot) };
    let [first, later] = query.fragments();
    let (after, alone) = (verdict(&[&first, &later]), verdict(&[&later]));
    let later_fragments = if after == alone {
        format!("{}, also without the first", way(after))
    } else {
        format!("{} after the first, else {}", way(after), way(alone))
    };
    let icmp_errors = way(verdict(&[&query.error()]));
    Answer { later_fragments: Some(later_fragments), icmp_errors: Some(icmp_errors), ..Answer::default() }
}

fn outcome(verdict: Verdict, entry: &ServiceEntry, snapshot: &Snapshot) -> String {
    match verdict {
        Verdict::Forwarded(service, index) => {
            let entry = snapshot.services.get(service as usize).map_or(entry, |entry| entry);
            format!("to {} of {}", name(entry, index), entry.service.name)
        }
        Verdict::Answered(_) => "answered by the node".to_owned(),
        Verdict::Dropped(reason, _) => format!("dropped: {}", reason.name()),
        Verdict::Passed => "to the kernel".to_owned(),
    }
}
