//! The endpoint set as a syncer writes it → [`EndpointSet`], checked whole: every problem at once.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::document::{Collector, Node, Problem, Problems, Table, Tree};
use crate::maglev;
use crate::model::{
    Affinity, Echo, Encap, Endpoint, EndpointSet, MOST_SERVICES, MplsOver, PortRange, Protocol, Revision, Service,
    State, UdpDrain, VipText,
};
use crate::vip_map::Claim;
use crate::wire::l4::WITH_PORTS;
use crate::wire::{gue, ipv6, mpls};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The longest name of a service or endpoint, in bytes: a Kubernetes namespace and name fit.
const LONGEST_NAME: usize = 512;
/// The most port ranges, and the most `allow` prefixes, of one service.
pub const LONGEST_LIST: usize = 1_024;

/// As many as the maps of the steering program hold (`steer/vips.h`).
const MOST_VIPS: u64 = 65_536;
const MOST_VIP_PREFIXES: u64 = 16_384;
const _: () = assert!(MOST_VIP_PREFIXES <= MOST_VIPS);
/// 128 MiB of tables: six times what 10,000 services of ten endpoints have.
const MOST_SLOTS: u64 = 1 << 26;

/// The keys of a service (section 4 of the contract).
const SERVICE_KEYS: &[&str] =
    &["name", "vip", "protocol", "ports", "encap", "affinity", "echo", "udp_drain", "allow", "table_size", "endpoints"];

/// Reads a set from the text of a JSON document.
pub fn parse(json: &str) -> Result<EndpointSet, Problems> {
    let collector = Collector::default();
    match serde_json::from_str::<Tree<'_>>(json) {
        Ok(tree) => read(&tree),
        Err(error) => {
            collector.add("", format!("not JSON: {error}"));
            collector.finish(None)
        }
    }
}

/// Reads a set from a JSON tree: `{revision, services}`.
pub fn read(tree: &Tree<'_>) -> Result<EndpointSet, Problems> {
    let collector = Collector::default();
    let set = read_set(&Node::root(tree, &collector));
    collector.finish(set)
}

fn read_set(root: &Node<'_>) -> Option<EndpointSet> {
    let table = root.table(&["revision", "services"])?;
    let revision = read_revision(&table);
    let services = read_services(&table.require("services")?);
    Some(EndpointSet { revision: revision?, services: services? })
}

/// A set that was in force once, as far as this version takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSet {
    /// Without the services that are refused.
    pub set: EndpointSet,
    /// Those, a sentence each.
    pub refused: Vec<String>,
}

/// Reads a set that was in force once. A service that an earlier version took and this one refuses takes no other with it.
///
/// # Errors
/// It is no set at all.
pub fn parse_stored(json: &str) -> Result<StoredSet, Problems> {
    let collector = Collector::default();
    let tree = match serde_json::from_str::<Tree<'_>>(json) {
        Ok(tree) => tree,
        Err(error) => return Err(Problems(vec![Problem::at("", &format!("not JSON: {error}"))])),
    };
    let stored = read_stored(&Node::root(&tree, &collector));
    collector.finish(stored)
}

fn read_stored(root: &Node<'_>) -> Option<StoredSet> {
    let table = root.table(&["revision", "services"])?;
    let revision = read_revision(&table)?;
    let nodes = table.require("services")?.list(MOST_SERVICES, "services")?;
    let (mut taken, mut refused) = (Vec::with_capacity(nodes.len()), Vec::new());
    for node in &nodes {
        let own = Collector::default();
        let service = read_service(&node.noted_by(&own));
        match own.finish(service) {
            Ok(service) => taken.push((Arc::new(service), node)),
            Err(problems) => refused.push(format!("this version refuses a service of the set on disk: {problems}")),
        }
    }
    check_apart(taken.iter().map(|(service, node)| (&**service, *node)));
    let services = taken.into_iter().map(|(service, _)| service).collect();
    Some(StoredSet { set: EndpointSet { revision, services }, refused })
}

/// Reads the label of a set; without one it is empty.
pub fn read_revision(table: &Table<'_>) -> Option<Revision> {
    table.get("revision").map_or(Some(String::new()), |node| node.text().map(str::to_owned)).map(Revision)
}

/// Reads a list of services, in the contract's form, and checks them against each other.
pub fn read_services(list: &Node<'_>) -> Option<Vec<Arc<Service>>> {
    let nodes = list.list(MOST_SERVICES, "services")?;
    let read: Vec<(&Node<'_>, Option<Service>)> = nodes.iter().map(|node| (node, read_service(node))).collect();
    check_apart(read.iter().filter_map(|(node, service)| Some((service.as_ref()?, *node))));
    let services = read.into_iter().map(|(_, service)| service.map(Arc::new)).collect::<Option<Vec<Arc<Service>>>>()?;
    check_limits(&services).map_err(|reason| list.refuse(reason)).ok()?;
    Some(services)
}

/// Refuses services of one name, or for the same packets.
fn check_apart<'s>(services: impl Iterator<Item = (&'s Service, &'s Node<'s>)>) {
    let mut names = HashMap::new();
    let mut claims = HashMap::new();
    for (service, node) in services {
        if let Some(other) = names.insert(service.name.as_str(), node.path.as_str()) {
            node.refuse(format!("the name \"{}\" is also that of {other}", service.name));
        }
        for claim in claims_of(service) {
            if let Some(other) = claims.insert(claim, service.name.as_str()) {
                node.refuse(format!("\"{}\" matches the same packets as \"{other}\"", service.name));
                break;
            }
        }
    }
}

/// Refuses what the steering program's maps, or memory, cannot hold; answers why.
pub fn check_limits(services: &[Arc<Service>]) -> Result<(), String> {
    let is_address = |vip: &&IpNet| vip.prefix_len() == vip.max_prefix_len();
    // Few services need no look at whether their VIPs are the same.
    let distinct: HashSet<IpNet> = match services.len() as u64 {
        0..=MOST_VIP_PREFIXES => HashSet::new(),
        _ => services.iter().map(|service| service.vip).collect(),
    };
    let addresses = distinct.iter().filter(is_address).count();
    let prefixes = distinct.len() - addresses;
    let slots: u64 = services.iter().map(|service| u64::from(service.table_size())).sum();
    for (count, most, what) in [
        (services.len() as u64, MOST_SERVICES as u64, "services"),
        (addresses as u64, MOST_VIPS, "VIPs that are addresses"),
        (prefixes as u64, MOST_VIP_PREFIXES, "VIPs that are prefixes"),
        (slots, MOST_SLOTS, "slots in all tables together"),
    ] {
        if count > most {
            return Err(format!("{count} {what}; at most {most} are allowed"));
        }
    }
    Ok(())
}

/// What a service claims of its VIP, one claim a port range.
pub fn claims_of(service: &Service) -> Vec<Claim> {
    let claim = |ports: Option<&PortRange>| Claim {
        vip: service.vip,
        protocol: service.protocol.map(|protocol| protocol.0),
        ports: ports.map(|range| (range.first, range.last)),
    };
    match &service.ports {
        None => vec![claim(None)],
        Some(ranges) => ranges.iter().map(|range| claim(Some(range))).collect(),
    }
}

fn read_service(node: &Node<'_>) -> Option<Service> {
    let table = node.table(SERVICE_KEYS)?;
    let name = table.require("name").and_then(|node| node.name(LONGEST_NAME));
    let vip = table.require("vip").and_then(|node| read_vip(&node));
    let protocol = optional(table.get("protocol"), |node| node.parsed::<Protocol>());
    let ports = optional(table.get("ports"), read_ports);
    let encap = defaulted(table.get("encap"), read_encap);
    let affinity =
        defaulted(table.get("affinity"), |node| node.choice(&[("flow", Affinity::Flow), ("client", Affinity::Client)]));
    let echo = defaulted(table.get("echo"), |node| {
        node.choice(&[("auto", Echo::Auto), ("reply", Echo::Reply), ("forward", Echo::Forward)])
    });
    let udp_drain =
        defaulted(table.get("udp_drain"), |node| node.choice(&[("keep", UdpDrain::Keep), ("move", UdpDrain::Move)]));
    let allow = optional(table.get("allow"), read_allow);
    let table_size = optional(table.get("table_size"), read_table_size);
    let endpoints = table.get("endpoints").map_or(Some(Vec::new()), |node| read_endpoints(&node));
    if let (Some(vip), Some(node), Some(Some(allow))) = (vip, table.get("allow"), &allow) {
        check_allow(&node, vip, allow)?;
    }
    if let (Some(Some(protocol)), Some(node), Some(IpNet::V6(_))) = (protocol, table.get("protocol"), vip)
        && ipv6::is_extension(protocol.0)
    {
        node.refuse(format!("no packet of IPv6 is of the protocol {protocol}, which is an extension header's number"));
        return None;
    }
    if let (Some(Some(protocol)), Some(node), Some(Some(_))) = (protocol, table.get("ports"), &ports)
        && !WITH_PORTS.contains(&protocol.0)
    {
        node.refuse(format!("the protocol {protocol} has no ports"));
        return None;
    }
    Some(Service {
        name: name?,
        vip: vip?,
        protocol: protocol?,
        ports: ports?,
        encap: encap?,
        affinity: affinity?,
        echo: echo?,
        udp_drain: udp_drain?,
        allow: allow?,
        table_size: table_size?,
        endpoints: endpoints?,
    })
}

/// A value that may be missing: `Some(None)` where it is, `None` where it is wrong.
fn optional<'a, T>(node: Option<Node<'a>>, read: impl Fn(&Node<'a>) -> Option<T>) -> Option<Option<T>> {
    node.map_or(Some(None), |node| read(&node).map(Some))
}

fn defaulted<'a, T: Default>(node: Option<Node<'a>>, read: impl Fn(&Node<'a>) -> Option<T>) -> Option<T> {
    optional(node, read).map(Option::unwrap_or_default)
}

/// An address, or a prefix whose host bits are zero.
pub fn read_prefix(node: &Node<'_>) -> Option<IpNet> {
    let text = node.text()?;
    let parsed = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    match parsed {
        Ok(IpNet::V6(prefix)) if prefix.prefix_len() >= 96 && prefix.addr().to_ipv4_mapped().is_some() => {
            node.refuse(format!("\"{text}\" is IPv4 in IPv6 form; write it as IPv4"));
            None
        }
        Ok(prefix) if prefix.trunc() == prefix => Some(prefix),
        Ok(prefix) => {
            node.refuse(format!("\"{text}\" has host bits; the prefix is {}", prefix.trunc()));
            None
        }
        Err(_) => {
            node.refuse(format!("\"{text}\" is not an IP address or a prefix such as 203.0.113.0/24"));
            None
        }
    }
}

/// Addresses that nobody can be reached at from elsewhere, and those of IPv4 in IPv6 form, which would be all of IPv4's.
const NO_VIPS: [IpNet; 6] = [
    v4_net([127, 0, 0, 0], 8),
    v4_net([255, 255, 255, 255], 32),
    v6_net([0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6_net([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    v6_net([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6_net([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

const fn v4_net([a, b, c, d]: [u8; 4], len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), len))
}

const fn v6_net([a, b, c, d, e, f, g, h]: [u16; 8], len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), len))
}

fn overlaps(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// A VIP is what clients can send to.
fn read_vip(node: &Node<'_>) -> Option<IpNet> {
    let vip = read_prefix(node)?;
    let first = vip.network();
    if vip.prefix_len() < 8
        || first.is_unspecified()
        || first.is_multicast()
        || NO_VIPS.iter().any(|no| overlaps(&vip, no))
    {
        node.refuse(format!(
            "{vip} cannot be a VIP: not loopback, multicast, link-local, broadcast, unspecified, nor shorter than /8"
        ));
        return None;
    }
    Some(vip)
}

fn read_ports(node: &Node<'_>) -> Option<Vec<PortRange>> {
    let nodes = node.list(LONGEST_LIST, "entries")?;
    if nodes.is_empty() {
        node.refuse("an empty list matches nothing; leave it out to match every port");
        return None;
    }
    let read = |node: &Node<'_>| {
        if node.is_text() {
            return node.parsed();
        }
        node.integer(1..=65_535).map(|port| PortRange { first: port as u16, last: port as u16 })
    };
    let ranges: Vec<Option<PortRange>> = nodes.iter().map(read).collect();
    let mut ranges = ranges.into_iter().collect::<Option<Vec<PortRange>>>()?;
    ranges.sort();
    ranges.dedup();
    Some(ranges)
}

fn read_allow(node: &Node<'_>) -> Option<Vec<IpNet>> {
    let read: Vec<Option<IpNet>> = node.list(LONGEST_LIST, "entries")?.iter().map(read_prefix).collect();
    let mut prefixes = read.into_iter().collect::<Option<Vec<IpNet>>>()?;
    prefixes.sort();
    prefixes.dedup();
    Some(prefixes)
}

/// Refuses a list that lets no client of a VIP in: everything would be dropped, and nobody can mean that.
fn check_allow(node: &Node<'_>, vip: IpNet, allow: &[IpNet]) -> Option<()> {
    if allow.is_empty() {
        node.refuse("an empty list lets nobody in; leave it out to let everybody in");
        return None;
    }
    let has_clients = |prefix: &IpNet| {
        let first = prefix.network();
        first.is_ipv4() == vip.addr().is_ipv4() && !first.is_multicast() && !first.is_loopback()
    };
    if !allow.iter().any(has_clients) {
        let family = if vip.addr().is_ipv4() { "IPv4" } else { "IPv6" };
        node.refuse(format!(
            "no client of the VIP {} has an address in here; name prefixes of {family} clients",
            VipText(&vip)
        ));
        return None;
    }
    Some(())
}

fn read_encap(node: &Node<'_>) -> Option<Encap> {
    let table = node.table(&["type", "key", "port", "checksum", "label", "over"])?;
    let kind = table.require("type")?.choice(&[("gre", "gre"), ("ipip", "ipip"), ("gue", "gue"), ("mpls", "mpls")])?;
    for (key, of) in [("key", "gre"), ("port", "gue"), ("checksum", "gue"), ("label", "mpls"), ("over", "mpls")] {
        if kind != of
            && let Some(node) = table.get(key)
        {
            node.refuse(format!("only type \"{of}\" has a {key}"));
            return None;
        }
    }
    let number = |key: &str, range| optional(table.get(key), |node| node.integer(RangeInclusive::clone(&range)));
    match kind {
        "gre" => Some(Encap::Gre { key: number("key", 0..=u64::from(u32::MAX))?.map(|key| key as u32) }),
        "gue" => Some(Encap::Gue {
            port: number("port", 1..=65_535)?.map_or(gue::PORT, |port| port as u16),
            checksum: optional(table.get("checksum"), Node::boolean)?,
        }),
        "mpls" => Some(Encap::Mpls {
            label: number("label", mpls::FIRST_LABEL.into()..=mpls::LAST_LABEL.into())?.map(|label| label as u32),
            over: optional(table.get("over"), |node| node.choice(&[("gre", MplsOver::Gre)]))?,
        }),
        _ => Some(Encap::Ipip),
    }
}

fn read_table_size(node: &Node<'_>) -> Option<u32> {
    let size = node.integer(2..=u64::from(maglev::LARGEST))?;
    if !maglev::is_valid_size(size) {
        node.refuse(format!("{size} is not a prime; the next one is {}", next_prime(size)));
        return None;
    }
    Some(size as u32)
}

fn next_prime(size: u64) -> u64 {
    (size..=u64::from(maglev::LARGEST)).find(|size| maglev::is_valid_size(*size)).unwrap_or(u64::from(maglev::LARGEST))
}

fn read_endpoints(list: &Node<'_>) -> Option<Vec<Endpoint>> {
    let nodes = list.list(maglev::MOST_ENDPOINTS, "endpoints")?;
    let read: Vec<Option<Endpoint>> = nodes.iter().map(read_endpoint).collect();
    let mut names = HashSet::new();
    for (node, endpoint) in nodes.iter().zip(read.iter().flatten()) {
        if !names.insert(endpoint.name.as_str()) {
            node.refuse(format!("the name \"{}\" is also that of another endpoint", endpoint.name));
        }
    }
    let mut endpoints = read.into_iter().collect::<Option<Vec<Endpoint>>>()?;
    endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    Some(endpoints)
}

fn read_endpoint(node: &Node<'_>) -> Option<Endpoint> {
    let table = node.table(&["name", "address", "weight", "state", "since"])?;
    let name = table.require("name").and_then(|node| node.name(LONGEST_NAME));
    let address = table.require("address").and_then(|node| read_endpoint_address(&node));
    let weight = table.get("weight").map_or(Some(1), |node| node.integer(0..=1000).map(|weight| weight as u16));
    let state = defaulted(table.get("state"), |node| {
        node.choice(&[("active", State::Active), ("draining", State::Draining), ("down", State::Down)])
    });
    let since = optional(table.get("since"), |node| node.parsed());
    Some(Endpoint { name: name?, address: address?, weight: weight?, state: state?, since: since? })
}

/// An address that one host can have.
fn read_endpoint_address(node: &Node<'_>) -> Option<IpAddr> {
    let text = node.text()?;
    let Ok(address) = text.parse::<IpAddr>() else {
        node.refuse(format!("\"{text}\" is not an IP address"));
        return None;
    };
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || link_local || broadcast {
        node.refuse(format!("\"{text}\" is not an address that packets can be routed to"));
        return None;
    }
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        node.refuse(format!("\"{text}\" is an IPv4 address in IPv6 form; write {v4}"));
        return None;
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{ "revision": "r1", "services": [ {
        "name": "default/web", "vip": "203.0.113.10", "protocol": "tcp", "ports": [80, "8000-8099"],
        "encap": { "type": "gre", "key": 7 }, "affinity": "client", "echo": "reply", "allow": ["0.0.0.0/0"],
        "table_size": 65537,
        "endpoints": [
          { "name": "web-1", "address": "192.0.2.9" },
          { "name": "web-0", "address": "2001:db8:10::a", "weight": 3, "state": "draining",
            "since": "2026-11-21T10:00:00Z" } ] } ] }"#;

    /// The problems of a set of one service with these members, beside name and VIP.
    fn problems(members: &str) -> String {
        let json = format!(r#"{{"services":[{{"name":"s","vip":"203.0.113.1"{members}}}]}}"#);
        parse(&json).map(|_| String::new()).unwrap_or_else(|problems| problems.to_string())
    }

    #[test]
    fn reads_every_field_and_writes_it_back() {
        let set = parse(FULL).expect("valid");
        assert_eq!(set.services[0].endpoints[0].name, "web-0", "in the order of names");
        let written = serde_json::to_string(&set).expect("plain values");
        assert_eq!(parse(&written), Ok(set));
        assert!(written.contains(r#""ports":[80,"8000-8099"]"#), "{written}");
    }

    #[test]
    fn little_is_required() {
        let set = parse(r#"{"services":[{"name":"s","vip":"2001:db8::/64"}]}"#).expect("valid");
        let service = &set.services[0];
        assert_eq!((service.encap, service.affinity, service.echo), (Encap::default(), Affinity::Flow, Echo::Auto));
    }

    #[test]
    fn each_kind_of_error_names_path_and_reason() {
        for (members, expected) in [
            (r#","colour":1"#, "services[0].colour: unknown key"),
            (r#","protocol":"tpc""#, "services[0].protocol: \"tpc\" is not a protocol"),
            (r#","ports":[]"#, "services[0].ports: an empty list matches nothing"),
            (r#","ports":[80,0]"#, "services[0].ports[1]: 0 is not a whole number 1..65535"),
            (r#","ports":["9-8"]"#, "services[0].ports[0]: \"9-8\" is not a port"),
            (r#","protocol":"icmp","ports":[1]"#, "services[0].ports: the protocol icmp has no ports"),
            (r#","encap":{"type":"vxlan"}"#, "services[0].encap.type: \"vxlan\" is not one of"),
            (r#","encap":{"type":"ipip","key":1}"#, "services[0].encap.key: only type \"gre\" has a key"),
            (r#","encap":{"type":"gre","key":4294967296}"#, "services[0].encap.key: 4294967296 is not a whole number"),
            (r#","affinity":"sticky""#, "services[0].affinity: \"sticky\" is not one of \"flow\", \"client\""),
            (r#","echo":true"#, "services[0].echo: true is not one of"),
            (
                r#","allow":["10.0.0.1/8"]"#,
                "services[0].allow[0]: \"10.0.0.1/8\" has host bits; the prefix is 10.0.0.0/8",
            ),
            (r#","allow":[]"#, "services[0].allow: an empty list lets nobody in"),
            (r#","allow":["::/0"]"#, "services[0].allow: no client of the VIP 203.0.113.1 has an address in here"),
            (r#","allow":["::/0","127.0.0.1","224.0.0.0/4"]"#, "name prefixes of IPv4 clients"),
            (r#","colour":1,"colour":1"#, "services[0].colour: unknown key"),
            (r#","echo":"reply","echo":"auto""#, "services[0].echo: this key is there twice"),
            (r#","name":"t""#, "services[0].name: this key is there twice"),
            (
                r#","endpoints":[{"name":"a","address":"192.0.2.1","weight":0,"weight":1}]"#,
                "services[0].endpoints[0].weight: this key is there twice",
            ),
            (r#","encap":{"type":"gre","key":1,"key":2}"#, "services[0].encap.key: this key is there twice"),
            (r#","table_size":65536"#, "services[0].table_size: 65536 is not a prime; the next one is 65537"),
            (r#","allow":["::ffff:1.2.3.4"]"#, "services[0].allow[0]: \"::ffff:1.2.3.4\" is IPv4 in IPv6 form"),
            (r#","endpoints":{}"#, "services[0].endpoints: a table is not a list"),
            (r#","endpoints":[{"name":"a"}]"#, "services[0].endpoints[0].address: missing"),
            (
                r#","endpoints":[{"name":"","address":"192.0.2.1"}]"#,
                "services[0].endpoints[0].name: \"\" is not a name",
            ),
            (
                r#","endpoints":[{"name":"a","address":"ff02::1"}]"#,
                "services[0].endpoints[0].address: \"ff02::1\" is not",
            ),
            (r#","endpoints":[{"name":"a","address":"::ffff:1.2.3.4"}]"#, "write 1.2.3.4"),
            (
                r#","endpoints":[{"name":"a","address":"192.0.2.1","weight":1001}]"#,
                "weight: 1001 is not a whole number 0..1000",
            ),
            (r#","endpoints":[{"name":"a","address":"192.0.2.1","since":"now"}]"#, "since: \"now\" is not a moment"),
            (
                r#","endpoints":[{"name":"a","address":"192.0.2.1"},{"name":"a","address":"192.0.2.2"}]"#,
                "services[0].endpoints[1]: the name \"a\" is also that of another endpoint",
            ),
        ] {
            let problems = problems(members);
            assert!(problems.contains(expected), "{members}\n  gave     {problems}\n  expected {expected}");
        }
    }

    #[test]
    fn a_vip_is_what_clients_can_send_to() {
        for vip in [
            "::/0",
            "0.0.0.0/0",
            "127.0.0.1",
            "::1",
            "fe80::1",
            "ff02::1",
            "224.0.0.0/8",
            "::ffff:203.0.113.1",
            "::fffe:0:0/95",
            "::8000:0:0/81",
            "fe00::/8",
            "fe80::/9",
            "255.255.255.255",
        ] {
            let json = format!(r#"{{"services":[{{"name":"s","vip":"{vip}"}}]}}"#);
            let problems = parse(&json).expect_err(vip);
            assert_eq!(problems.0[0].path, "services[0].vip", "{vip}");
        }
    }

    #[test]
    fn sets_too_large_for_the_node_are_refused_whole() {
        let service = |i: u32| format!(r#"{{"name":"{i}","vip":"{}"}}"#, Ipv4Addr::from(0x0a00_0000 + i));
        let services: Vec<String> = (0..=MOST_VIPS as u32).map(service).collect();
        let problems = parse(&format!(r#"{{"services":[{}]}}"#, services.join(","))).expect_err("too many");
        assert_eq!(problems.to_string(), "services: 65537 VIPs that are addresses; at most 65536 are allowed");
        let large = |i: u32| format!(r#"{{"name":"{i}","vip":"192.0.2.{i}","table_size":1048573}}"#);
        let services: Vec<String> = (0..65).map(large).collect();
        let problems = parse(&format!(r#"{{"services":[{}]}}"#, services.join(","))).expect_err("too large");
        assert!(problems.to_string().contains("slots in all tables together"), "{problems}");
    }

    /// Over IPv6 these are numbers of headers behind which another header says what the packet is; IPv4 knows nothing of it.
    #[test]
    fn protocols_that_never_match_are_refused() {
        let read = |vip: &str, protocol: &str| {
            parse(&format!(r#"{{"services":[{{"name":"a","vip":"{vip}","protocol":"{protocol}"}}]}}"#))
        };
        for protocol in ["0", "43", "44", "60"] {
            let said = read("2001:db8:1::1", protocol).expect_err("refused").to_string();
            assert!(said.contains("services[0].protocol: no packet of IPv6 is of the protocol"), "{said}");
            assert!(read("192.0.2.1", protocol).is_ok(), "{protocol} over IPv4");
        }
        assert!(read("2001:db8:1::1", "ah").is_ok() && read("192.0.2.1", "ah").is_ok());
    }

    #[test]
    fn services_must_differ() {
        let twice = r#"{"services":[{"name":"a","vip":"192.0.2.1","protocol":"tcp","ports":[80,443]},
            {"name":"b","vip":"192.0.2.1","protocol":"tcp","ports":[443]},{"name":"a","vip":"192.0.2.2"}]}"#;
        let problems = parse(twice).expect_err("two problems").to_string();
        assert!(problems.contains("services[1]: \"b\" matches the same packets as \"a\""), "{problems}");
        assert!(problems.contains("services[2]: the name \"a\" is also that of services[0]"), "{problems}");
    }

    #[test]
    fn a_list_that_lets_some_client_in_is_taken() {
        for (vip, allow) in
            [("203.0.113.1", r#"["::/0","0.0.0.0/0"]"#), ("2001:db8::/64", r#"["10.0.0.0/8","2000::/3"]"#)]
        {
            let json = format!(r#"{{"services":[{{"name":"s","vip":"{vip}","allow":{allow}}}]}}"#);
            assert!(parse(&json).is_ok(), "{json}");
        }
    }

    #[test]
    fn a_service_that_this_version_refuses_takes_no_other_with_it() {
        let json = r#"{"revision":"r","services":[{"name":"a","vip":"192.0.2.1"},{"name":"b","vip":"192.0.2.2","allow":[]},
            {"name":"c","vip":"192.0.2.3","colour":"red"}]}"#;
        let StoredSet { set, refused } = parse_stored(json).expect("a set");
        assert_eq!((set.services.len(), set.services[0].name.as_str()), (1, "a"));
        assert!(
            refused[0].ends_with("services[1].allow: an empty list lets nobody in; leave it out to let everybody in")
        );
        assert!(refused[1].contains("services[2].colour: unknown key"), "{}", refused[1]);
        assert!(parse_stored("[]").is_err() && parse_stored("{").is_err());
        assert_eq!(parse_stored(FULL).map(|stored| stored.set), parse(FULL));
    }

    #[test]
    fn all_problems_at_once() {
        let json = r#"{"services":[{"vip":"x"},{"name":"b","vip":"192.0.2.1","echo":"x"}]}"#;
        assert_eq!(parse(json).expect_err("three problems").0.len(), 3);
        assert!(parse("{").expect_err("broken").to_string().starts_with("not JSON: "));
        assert_eq!(parse("[]").expect_err("a list").to_string(), "a list is not a table of names and values");
    }
}
