//! What workers read: everything a packet's way depends on, immutable, built whole by the control side.
//!
//! A service's entry is shared between snapshots until that service changes, so an update of one costs the others
//! nothing.

mod paths;

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use ipnet::IpNet;
use siphasher::sip::SipHasher13;

pub use self::paths::{Path, Paths};
use crate::flow::{Affinity, FlowHash, Seed, address_bits};
use crate::forward::encap::{Outer, Sources};
use crate::handover::{Memories, Memory, Remembered, Touched};
use crate::maglev::{self, Candidate, Slots};
use crate::model::{Echo, Endpoint, Generation, Revision, Service, State, UdpDrain};
use crate::vip_map::VipMap;
use crate::wire::ethernet::MacAddress;

/// Where a packet goes on the wire to reach an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The neighbour's address.
    pub destination: MacAddress,
    /// The address that frames leave with.
    pub source: MacAddress,
    /// The 802.1Q tag they leave with.
    pub tag: Tag,
}

/// The 802.1Q tag of a frame that leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tag {
    /// None.
    #[default]
    None,
    /// This control field.
    Fixed(u16),
    /// That of the frame that came in: next hops given as an address know no interface.
    AsReceived,
}

/// How the outer traffic class is made. ECN is always copied (RFC 6040).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dscp {
    /// The inner one's.
    Copy,
    /// This value, 0..63.
    Fixed(u8),
}

/// What all services share, from the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Key of the flow hash.
    pub seed: Seed,
    /// Outer traffic class.
    pub dscp: Dscp,
    /// The largest IP packet that the underlay carries, in bytes.
    pub underlay_mtu: u32,
    /// Hop limit of outer packets and of answers.
    pub hop_limit: u8,
    /// The interface's own address, from which answers leave.
    pub mac: MacAddress,
    /// The node's addresses in outer headers.
    pub sources: Sources,
}

/// Number of a counter cell (`stats`).
pub type Cell = u32;

/// One service, ready for packets. All that each packet asks for lies in the first cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct ServiceEntry {
    /// The endpoint of each slot, as a number in `endpoints`; empty where none takes new flows.
    pub table: Slots,
    /// In the order of `service.endpoints`.
    pub endpoints: Arc<[EndpointEntry]>,
    /// What a change of endpoints has left; none: each flow goes to its slot's endpoint, and nothing else is asked.
    pub handover: Option<Box<Handover>>,
    allow: Option<Arc<Vec<Range>>>,
    /// Counts what is sent to its endpoints.
    pub cell: Cell,
    /// That of `service`.
    pub affinity: Affinity,
    /// As the syncer gave it.
    pub service: Arc<Service>,
    /// Tells whether two nodes make the same choices: a hash over the seed, the affinity, the size and each slot's endpoint, by
    /// name and address.
    pub fingerprint: String,
}

const _: () = assert!(std::mem::offset_of!(ServiceEntry, affinity) < 64);

/// A service while some of its flows may have another endpoint than their slot's.
#[derive(Clone, Debug)]
pub struct Handover {
    /// What slots remember; nothing where only tracked flows are left to follow.
    pub remembered: Remembered,
    /// The slots whose flows may be tracked.
    pub touched: Touched,
    /// The endpoints that keep their flows (active and draining ones), each at a place that comes from its cell, or behind
    /// that; at least half of the places are free.
    by_cell: Box<[Option<(Cell, maglev::Index)>]>,
    /// By number, the endpoints that get no datagram of a flow that is not tracked; empty where there are none.
    closed_to_datagrams: Box<[bool]>,
}

impl Handover {
    /// The endpoint that counts in this cell, if it keeps its flows.
    #[inline]
    pub fn endpoint(&self, cell: Cell) -> Option<maglev::Index> {
        let mask = self.by_cell.len() - 1;
        for at in scattered(cell).. {
            match self.by_cell.get(at & mask)? {
                Some((own, index)) if *own == cell => return Some(*index),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }
}

impl Handover {
    /// What the slot of a flow remembers, where that is an endpoint that the flow may have.
    #[inline]
    pub fn memory(&self, hash: FlowHash, is_udp: bool) -> Memory {
        match self.remembered.of(hash) {
            Memory::Had(had) if is_udp && self.closed_to_datagrams.get(usize::from(had)) == Some(&true) => Memory::Gone,
            memory => memory,
        }
    }
}

/// The endpoints of a service that get no datagram of a flow that is not tracked, by number.
fn closed_to_datagrams(service: &Service) -> Box<[bool]> {
    let drains = |endpoint: &Endpoint| endpoint.effective_state() == State::Draining;
    let endpoints = service.endpoints.iter().filter(|_| service.udp_drain == UdpDrain::Move);
    endpoints.map(drains).collect()
}

/// Where the place of a cell is counted from. Cells are numbered in runs: side by side, two runs would make one long row of
/// places, all to be looked at.
#[inline]
fn scattered(cell: Cell) -> usize {
    (cell.wrapping_mul(0x9e37_79b1) >> 8) as usize
}

/// Gives each endpoint its place in [`Handover::by_cell`].
fn by_cell(endpoints: &[(Cell, maglev::Index)]) -> Box<[Option<(Cell, maglev::Index)>]> {
    let mut places = vec![None; (endpoints.len() * 2).next_power_of_two()];
    let mask = places.len() - 1;
    for (cell, index) in endpoints {
        let mut at = scattered(*cell) & mask;
        while places[at].is_some() {
            at = (at + 1) & mask;
        }
        places[at] = Some((*cell, *index));
    }
    places.into()
}

/// One endpoint, ready for packets, in half a cache line.
#[derive(Debug)]
#[repr(align(32))]
pub struct EndpointEntry {
    /// The headers put in front; none where the node has no source address of its family.
    pub outer: Option<Outer>,
    /// Number of the way to it in [`Snapshot::paths`].
    pub path: u32,
    /// Counts what is sent to it.
    pub cell: Cell,
}

const _: () = assert!(size_of::<EndpointEntry>() == 32);

/// Addresses of one family, from the first to the last, both included; IPv4 as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    /// `::/0` is every IPv6 address, and no IPv4 one.
    is_v4: bool,
    first: u128,
    last: u128,
}

impl Range {
    fn new(prefix: &IpNet) -> Self {
        let (first, last) = (address_bits(prefix.network()), address_bits(prefix.broadcast()));
        Self { is_v4: prefix.addr().is_ipv4(), first, last }
    }
}

/// The prefixes as ranges in order, one that lies within another left out.
fn ranges(prefixes: &[IpNet]) -> Arc<Vec<Range>> {
    let mut all: Vec<Range> = prefixes.iter().map(Range::new).collect();
    all.sort();
    let mut distinct: Vec<Range> = Vec::with_capacity(all.len());
    for range in all {
        match distinct.last_mut() {
            // Of two prefixes with the same start the shorter is sorted behind, and holds the other.
            Some(before) if before.is_v4 == range.is_v4 && range.first <= before.last => {
                before.last = before.last.max(range.last);
            }
            _ => distinct.push(range),
        }
    }
    distinct.into()
}

/// Whether one of the ranges holds an address.
fn hold(ranges: &[Range], client: u128) -> bool {
    let is_v4 = client >> 32 == 0xffff;
    let after = ranges.partition_point(|range| (range.is_v4, range.first) <= (is_v4, client));
    let range = after.checked_sub(1).and_then(|before| ranges.get(before));
    range.is_some_and(|range| range.is_v4 == is_v4 && client <= range.last)
}

impl ServiceEntry {
    /// Builds a service's table. `endpoints` are in the order of `service.endpoints`.
    pub fn new(service: Arc<Service>, endpoints: Arc<[EndpointEntry]>, cell: Cell, seed: &Seed) -> Self {
        debug_assert_eq!(service.endpoints.len(), endpoints.len());
        let table_size = service.table_size();
        let candidates: Vec<Candidate<'_>> = (service.endpoints.iter())
            .map(|endpoint| Candidate { name: &endpoint.name, weight: endpoint.table_weight() })
            .collect();
        let table = maglev::build(&candidates, table_size);
        let fingerprint = fingerprint(&service, &table, seed);
        let allow = service.allow.as_deref().map(ranges);
        let (table, affinity) = (Slots::new(&table, table_size, endpoints.len()), service.affinity);
        Self { table, endpoints, handover: None, allow, cell, affinity, service, fingerprint }
    }

    /// The same with what a change of endpoints has left, if anything; `before`: what earlier ones have.
    #[must_use]
    pub fn with_handover(&self, memories: Option<&Memories>, before: Option<&Handover>) -> Self {
        let touched = before.map(|before| before.touched.clone()).unwrap_or_default();
        self.with_touched(memories, touched)
    }

    /// The same; `touched`: the slots that have remembered anything before.
    #[must_use]
    pub fn with_touched(&self, memories: Option<&Memories>, mut touched: Touched) -> Self {
        let handover = memories.map(|memories| {
            let keeps = |endpoint: &Endpoint| endpoint.effective_state() != State::Down;
            let endpoints = || self.service.endpoints.iter().zip(0..).filter(|(endpoint, _)| keeps(endpoint));
            let by_name: HashMap<&str, maglev::Index> =
                endpoints().map(|(endpoint, index)| (endpoint.name.as_str(), index)).collect();
            let cell = |(_, index): (_, maglev::Index)| (self.endpoints[usize::from(index)].cell, index);
            let cells: Vec<(Cell, maglev::Index)> = endpoints().map(cell).collect();
            let remembered = memories.resolve(|name| by_name.get(name).copied());
            touched.add(&remembered);
            let closed_to_datagrams = closed_to_datagrams(&self.service);
            Box::new(Handover { remembered, touched, by_cell: by_cell(&cells), closed_to_datagrams })
        });
        Self { handover, ..self.clone() }
    }

    /// The same where the service, or endpoints of it, have other names: `service` has them, all else in it is as it was.
    #[must_use]
    pub fn with_names(&self, service: Arc<Service>) -> Self {
        Self { service, ..self.clone() }
    }

    /// The same with other outer headers.
    #[must_use]
    pub fn with_endpoints(&self, endpoints: Arc<[EndpointEntry]>) -> Self {
        Self { endpoints, ..self.clone() }
    }

    /// Whether every client may use it, and its flows are what flows mostly are.
    #[inline]
    pub fn takes_every_flow(&self) -> bool {
        self.allow.is_none() && self.affinity == Affinity::Flow
    }

    /// Whether a client may use the service.
    #[inline]
    pub fn allows(&self, client: u128) -> bool {
        self.allow.as_deref().is_none_or(|ranges| hold(ranges, client))
    }

    /// Whether a ping of the VIP goes to an endpoint rather than being answered here.
    pub fn forwards_echo(&self) -> bool {
        match self.service.echo {
            Echo::Auto => self.service.protocol.is_none() && self.service.ports.is_none(),
            Echo::Reply => false,
            Echo::Forward => true,
        }
    }

    /// How many slots remember each endpoint, in the order of `endpoints`.
    pub fn remembered_slots(&self) -> Vec<u32> {
        let endpoints = self.endpoints.len();
        self.handover.as_ref().map_or_else(|| vec![0; endpoints], |handover| handover.remembered.slots(endpoints))
    }

    /// How many slots each endpoint has, in the order of `endpoints`.
    pub fn slots(&self) -> Vec<u32> {
        let mut slots = vec![0; self.endpoints.len()];
        self.table.iter().for_each(|index| slots[usize::from(index)] += 1);
        slots
    }
}

fn fingerprint(service: &Service, table: &[maglev::Index], seed: &Seed) -> String {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(seed.fingerprint().as_bytes());
    hasher.write(&[u8::from(service.affinity == Affinity::Client)]);
    hasher.write(&service.table_size().to_be_bytes());
    for endpoint in &service.endpoints {
        hasher.write(endpoint.name.as_bytes());
        hasher.write(&[0, u8::from(endpoint.address.is_ipv6())]);
        hasher.write(&address_bits(endpoint.address).to_be_bytes());
    }
    table.iter().for_each(|index| hasher.write(&index.to_be_bytes()));
    format!("{:016x}", hasher.finish())
}

/// All that workers forward by.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its number.
    pub generation: Generation,
    /// The label of the set that it was built from.
    pub revision: Revision,
    /// What all services share.
    pub settings: Settings,
    /// Which service a packet is for.
    pub vips: Arc<VipMap>,
    /// In the order of their names.
    pub services: Arc<[Arc<ServiceEntry>]>,
    /// The ways to endpoints, by number.
    pub paths: Paths,
    /// The UDP ports that tunnels of this node go to.
    pub gue_ports: Arc<[u16]>,
    /// By cell, whether it is that of an endpoint of some service: flows tracked for others are to be forgotten.
    pub cells_in_use: Arc<[bool]>,
}

impl Snapshot {
    /// A snapshot without services: nothing is a VIP.
    pub fn empty(settings: Settings) -> Self {
        Self {
            generation: Generation::default(),
            revision: Revision::default(),
            settings,
            vips: Arc::default(),
            services: Arc::new([]),
            paths: Paths::default(),
            gue_ports: Arc::new([]),
            cells_in_use: Arc::new([]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn entry(allow: Vec<IpNet>) -> ServiceEntry {
        let service = r#"{"services":[{"name":"s","vip":"203.0.113.1"}]}"#;
        let set = crate::endpoint_set::parse(service).expect("valid");
        let service = Service { allow: Some(allow), ..(*set.services[0]).clone() };
        ServiceEntry::new(service.into(), Arc::new([]), 0, &Seed([7; 16]))
    }

    /// Prefixes and addresses of a small corner, so that they meet.
    fn prefixes() -> impl Strategy<Value = IpNet> {
        let v4 = (0u32..=32, any::<u8>()).prop_map(|(len, host)| (IpAddr::from([10, 0, 0, host]), len as u8));
        let v6 =
            (0u8..=128, any::<u8>()).prop_map(|(len, host)| (IpAddr::from([0, 0, 0, 0, 0, 0, 0, host.into()]), len));
        prop_oneof![v4, v6].prop_map(|(address, len)| IpNet::new(address, len).expect("in range").trunc())
    }

    proptest! {
        #[test]
        fn allows_what_some_prefix_holds(
            allow in prop::collection::vec(prefixes(), 0..12),
            client in prop_oneof![
                any::<u8>().prop_map(|host| IpAddr::from([10, 0, 0, host])),
                any::<u8>().prop_map(|host| IpAddr::from([0, 0, 0, 0, 0, 0, 0, host.into()])),
                any::<u32>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
                any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
            ],
        ) {
            let held = allow.iter().any(|prefix| prefix.contains(&client));
            prop_assert_eq!(entry(allow).allows(address_bits(client)), held);
        }
    }
}
