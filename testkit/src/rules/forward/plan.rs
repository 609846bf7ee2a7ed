//! What `everything.json` promises, read as any reader of JSON would, and searched the simplest way.

use std::net::IpAddr;

use serde_json::Value;

use super::flow::{Flow, has_ports};

/// How a service's packets must be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    Gre { key: Option<u32> },
    Ipip,
    Gue { port: u16, checksum: Option<bool> },
    Mpls { label: Option<u32>, over_gre: bool },
}

/// A service of the set.
#[derive(Debug)]
pub struct Service {
    pub name: String,
    vip: (IpAddr, u32),
    protocol: Option<u8>,
    ports: Option<Vec<(u16, u16)>>,
    pub tunnel: Tunnel,
    by_client: bool,
    /// In the order of their names, as verdicts number them.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint of a service.
#[derive(Debug)]
pub struct Endpoint {
    pub name: String,
    pub address: IpAddr,
    pub state: String,
}

/// How well a service matches, the best first: length of the VIP's prefix, width of the port range, whether it names
/// no protocol, then the place in the set.
type Rank = (u32, u32, bool, u16, usize);

impl Service {
    fn read(service: &Value) -> Option<Self> {
        let text = |key: &str| service[key].as_str();
        let (address, len) = match text("vip")?.split_once('/') {
            Some((address, len)) => (address.parse().ok()?, len.parse().ok()?),
            None => (text("vip")?.parse().ok()?, 128),
        };
        let protocol = match text("protocol") {
            Some("tcp") => Some(6),
            Some("udp") => Some(17),
            Some(_) => return None,
            None => None,
        };
        let ports = service["ports"].as_array().map(|ports| ports.iter().map(read_ports).collect::<Option<_>>());
        let endpoints = service["endpoints"].as_array()?.iter().map(Endpoint::read);
        let mut endpoints = endpoints.collect::<Option<Vec<_>>>()?;
        endpoints.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Self {
            name: text("name")?.to_owned(),
            vip: (address, len),
            protocol,
            ports: match ports {
                Some(ports) => Some(ports?),
                None => None,
            },
            tunnel: Tunnel::read(&service["encap"])?,
            by_client: text("affinity") == Some("client"),
            endpoints,
        })
    }

    /// Whether an address is one of its VIPs.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.vip.0, address) {
            (IpAddr::V4(vip), IpAddr::V4(address)) => {
                (u32::from(vip) ^ u32::from(address)).checked_shr(32_u32.saturating_sub(self.vip.1)).unwrap_or(0) == 0
            }
            (IpAddr::V6(vip), IpAddr::V6(address)) => {
                (u128::from(vip) ^ u128::from(address)).checked_shr(128 - self.vip.1).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// Whether its endpoints stay as they are for any packet: none drains, so there is nothing to hand over.
    pub fn is_settled(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.state == "active")
    }

    /// The flow without what does not count: with affinity `client`, all but the addresses.
    pub fn flow_that_counts(&self, flow: Flow) -> Flow {
        if self.by_client { Flow { protocol: 0, client_port: 0, port: 0, ..flow } } else { flow }
    }

    fn rank(&self, place: usize, flow: &Flow) -> Option<Rank> {
        if !self.holds(flow.vip) || self.protocol.is_some_and(|own| own != flow.protocol) {
            return None;
        }
        let (width, first) = match &self.ports {
            None if self.protocol.is_none() => (1 << 16, 0),
            None => (0xffff, 0),
            Some(_) if !has_ports(flow.protocol) => return None,
            Some(ranges) => {
                let (first, last) = ranges.iter().find(|(first, last)| (*first..=*last).contains(&flow.port))?;
                (u32::from(last - first), *first)
            }
        };
        Some((128 - self.vip.1, width, self.protocol.is_none(), first, place))
    }
}

impl Endpoint {
    fn read(endpoint: &Value) -> Option<Self> {
        Some(Self {
            name: endpoint["name"].as_str()?.to_owned(),
            address: endpoint["address"].as_str()?.parse().ok()?,
            state: match endpoint["weight"].as_u64() {
                Some(0) => "draining".to_owned(),
                _ => endpoint["state"].as_str().unwrap_or("active").to_owned(),
            },
        })
    }
}

impl Tunnel {
    fn read(encap: &Value) -> Option<Self> {
        let number = |key: &str| encap[key].as_u64().and_then(|number| u32::try_from(number).ok());
        match encap["type"].as_str() {
            None => Some(Self::Gre { key: None }),
            Some("gre") => Some(Self::Gre { key: number("key") }),
            Some("ipip") => Some(Self::Ipip),
            Some("gue") => Some(Self::Gue {
                port: number("port").map_or(Some(6080), |port| u16::try_from(port).ok())?,
                checksum: encap["checksum"].as_bool(),
            }),
            Some("mpls") => Some(Self::Mpls { label: number("label"), over_gre: encap["over"] == "gre" }),
            Some(_) => None,
        }
    }

    /// How much longer a packet gets on the way to an endpoint, in bytes.
    pub fn overhead(self, endpoint: IpAddr) -> usize {
        let ip = if endpoint.is_ipv4() { 20 } else { 40 };
        match self {
            Self::Gre { key: None } => ip + 4,
            Self::Gre { key: Some(_) } => ip + 8,
            Self::Ipip => ip,
            Self::Gue { .. } => ip + 12,
            Self::Mpls { over_gre: true, .. } => ip + 8,
            Self::Mpls { over_gre: false, .. } => 4,
        }
    }
}

fn read_ports(ports: &Value) -> Option<(u16, u16)> {
    match ports.as_str() {
        Some(range) => {
            let (first, last) = range.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        }
        None => ports.as_u64().and_then(|port| u16::try_from(port).ok()).map(|port| (port, port)),
    }
}

/// All services of the set.
#[derive(Debug)]
pub struct Plan {
    /// In the order of their names, as verdicts number them.
    pub services: Vec<Service>,
}

impl Plan {
    /// Reads the text of a set.
    pub fn read(json: &str) -> Option<Self> {
        let set: Value = serde_json::from_str(json).ok()?;
        let services = set["services"].as_array()?.iter().map(Service::read);
        let mut services = services.collect::<Option<Vec<_>>>()?;
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Self { services })
    }

    /// Whether an address is a VIP.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.services.iter().any(|service| service.holds(address))
    }

    /// The service that a flow belongs to.
    pub fn find(&self, flow: &Flow) -> Option<&Service> {
        let ranked = self.services.iter().enumerate();
        let ranked = ranked.filter_map(|(place, service)| Some((service.rank(place, flow)?, service)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, service)| service)
    }
}
