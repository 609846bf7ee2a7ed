//! Nodes with many services, built from endpoint sets as the daemon builds them.

use std::net::{Ipv4Addr, Ipv6Addr};

use pointsman::control::update::Builder;
use pointsman::endpoint_set;
use pointsman::flow::Seed;
use pointsman::forward::encap::{Source, Sources};
use pointsman::model::EndpointSet;
use pointsman::moment::Now;
use pointsman::publish::Publication;
use pointsman::snapshot::{Dscp, NextHop, Settings, Snapshot, Tag};
use pointsman::wire::Family;
use pointsman::wire::ethernet::MacAddress;

use super::batch::VIPS_V4;

/// A handover's window, in seconds.
pub const WINDOW: u32 = 600;

const NEXT_HOP: NextHop =
    NextHop { destination: MacAddress([2, 0, 0, 0, 0, 9]), source: MacAddress([2, 0, 0, 0, 0, 1]), tag: Tag::None };

/// The services of a node, all alike; each has a VIP and endpoints of its own.
#[derive(Clone, Copy, Debug)]
pub struct Services {
    /// Of the VIPs; all endpoints have IPv6 addresses.
    pub family: Family,
    /// How many.
    pub count: u32,
    /// Of each.
    pub endpoints: u32,
    /// Slots; none: the default.
    pub table_size: Option<u32>,
    /// What they match beside the VIP, as JSON.
    pub matching: &'static str,
}

/// Which endpoints there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// Those of the beginning.
    First,
    /// Others in their place; the first ones drain.
    Replaced,
}

impl Services {
    /// The VIP of a service, by number.
    fn vip(&self, service: u32) -> String {
        match self.family {
            Family::V4 => Ipv4Addr::from(VIPS_V4 + service).to_string(),
            Family::V6 => Ipv6Addr::from((0x2001_0db8_0001_u128 << 80) | u128::from(service)).to_string(),
        }
    }

    fn set(&self, endpoints: Endpoints) -> EndpointSet {
        let endpoint = |service: u32, number: u32, state: &str| {
            let address =
                Ipv6Addr::from((0x2001_0db8_0010_u128 << 80) | u128::from(service) << 32 | u128::from(number));
            format!(r#"{{"name":"endpoint-{number}","address":"{address}","state":"{state}"}}"#)
        };
        let service = |service: u32| {
            let named = |range: std::ops::Range<u32>, state| range.map(move |number| endpoint(service, number, state));
            let all: Vec<String> = match endpoints {
                Endpoints::First => named(1..self.endpoints + 1, "active").collect(),
                Endpoints::Replaced => named(1..self.endpoints + 1, "draining")
                    .chain(named(self.endpoints + 1..self.endpoints * 2 + 1, "active"))
                    .collect(),
            };
            let size = self.table_size.map_or_else(String::new, |size| format!(r#","table_size":{size}"#));
            let (vip, matching, all) = (self.vip(service), self.matching, all.join(","));
            format!(r#"{{"name":"service-{service:05}","vip":"{vip}"{matching}{size},"endpoints":[{all}]}}"#)
        };
        let services: Vec<String> = (0..self.count).map(service).collect();
        endpoint_set::parse(&format!(r#"{{"services":[{}]}}"#, services.join(","))).expect("a valid set")
    }
}

/// The control side of a node.
pub struct Node {
    builder: Builder,
    services: Services,
}

impl Node {
    /// A node with these services.
    pub fn new(services: Services) -> Self {
        let source = Source { address: "2001:db8:51b::1".parse().expect("an address"), entropy: Ipv6Addr::UNSPECIFIED };
        let settings = Settings {
            seed: Seed([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            dscp: Dscp::Copy,
            underlay_mtu: 1_500,
            hop_limit: 64,
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            sources: Sources { v4: None, v6: Some(source) },
        };
        let mut node = Self { builder: Builder::new(settings, WINDOW, 1), services };
        node.apply(Endpoints::First, 0);
        node
    }

    /// Takes these endpoints at this second.
    pub fn apply(&mut self, endpoints: Endpoints, now: u32) {
        self.builder.update(&self.services.set(endpoints), (0, 0), Now::at(now));
        self.builder.resolve(|_| Some(NEXT_HOP));
    }

    /// Ends the handover, a window after it began at the latest: slots remember nothing, and no flow need be followed.
    pub fn close_handover(&mut self, now: u32) {
        // First what slots remember goes, then the wish to follow tracked flows.
        while self.builder.forget_old_memories(Now::at(now), true) {}
    }

    /// What its workers forward by.
    pub fn snapshot(&self) -> Snapshot {
        self.builder.snapshot()
    }

    /// The same, for one worker.
    pub fn publication(&mut self) -> Publication {
        self.builder.publish().remove(0)
    }
}
