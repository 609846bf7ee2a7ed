//! The usual network: a client, an edge node and endpoints on one bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::namespace::{Namespace, veth};
use super::narrow_way::NarrowWay;
use crate::Endpoint;

/// The client's addresses.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// See [`CLIENT_V4`].
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 9);
/// The edge node's own addresses: the client's next hop to the VIPs, and the tunnels' outer source.
pub const EDGE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// See [`EDGE_V4`].
pub const EDGE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 1);

/// Client, edge node and endpoints, each in a namespace with one link, `eth0`, to a bridge. The client's way to all
/// VIPs (203.0.113.0/24 and 2001:db8:1::/64) is the edge node; endpoints answer it directly.
pub struct Topology {
    /// Where requests come from.
    pub client: Namespace,
    /// Where the daemon runs.
    pub edge: Namespace,
    /// Those that were added.
    pub endpoints: Vec<Endpoint>,
    ways: Vec<NarrowWay>,
    fabric: Namespace,
}

impl Topology {
    /// A network without endpoints. The edge node's link has `queues` queues, over which flows spread by their hash. All
    /// other links have one: with several at the client, the kernel would mistake the queue a packet left by for one it
    /// came in by, and choose the next queue by that.
    pub fn new(queues: u32) -> Self {
        let fabric = Namespace::new("fabric");
        fabric.run(&["ip", "link", "add", "br0", "type", "bridge"]);
        fabric.run(&["ip", "link", "set", "br0", "up"]);
        let (client, edge) = (Namespace::new("client"), Namespace::new("edge"));
        let topology = Self { client, edge, endpoints: Vec::new(), ways: Vec::new(), fabric };
        topology.connect(&topology.client, "client", (CLIENT_V4, CLIENT_V6), 1);
        topology.connect(&topology.edge, "edge", (EDGE_V4, EDGE_V6), queues);
        topology.client.run(&["ip", "route", "add", "203.0.113.0/24", "via", &EDGE_V4.to_string()]);
        topology.client.run(&["ip", "route", "add", "2001:db8:1::/64", "via", &EDGE_V6.to_string()]);
        topology
    }

    /// See [`Self::new`]; with so many endpoints for the VIPs.
    pub fn with_endpoints(queues: u32, count: usize, vips: &[IpAddr]) -> Self {
        let mut topology = Self::new(queues);
        (0..count).for_each(|_| topology.add_endpoint(vips));
        topology
    }

    /// Adds an endpoint, `ep0` being the first, that takes traffic for the VIPs and serves them.
    pub fn add_endpoint(&mut self, vips: &[IpAddr]) {
        let number = self.endpoints.len() as u8;
        let name = format!("ep{number}");
        let namespace = Namespace::new(&name);
        let v4 = Ipv4Addr::new(192, 0, 2, 20 + number);
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 0xe0 + u16::from(number));
        self.connect(&namespace, &name, (v4, v6), 1);
        self.endpoints.push(Endpoint::start(namespace, &name, (v4, v6), vips));
    }

    /// The first endpoints' entries in an endpoint set, in these states; one without a state is not in it.
    pub fn in_states(&self, states: &[&str]) -> Vec<serde_json::Value> {
        let there = self.endpoints.iter().zip(states).filter(|(_, state)| !state.is_empty());
        there.map(|(endpoint, state)| endpoint.in_state(state)).collect()
    }

    /// Adds a client behind two routers with a narrow link between them; it reaches all VIPs by way of them. The routes
    /// to it are new, so endpoints announce to it all that their links carry, as they would without `advmss`.
    pub fn add_distant_client(&mut self, mtu: u32) -> Namespace {
        let client = Namespace::new("distant");
        self.add_way(&client, mtu);
        client
    }

    /// Adds an endpoint behind two routers with a narrow link between them.
    pub fn add_distant_endpoint(&mut self, vips: &[IpAddr], mtu: u32) {
        let name = format!("ep{}", self.endpoints.len());
        let namespace = Namespace::new(&name);
        let addresses = self.add_way(&namespace, mtu);
        self.endpoints.push(Endpoint::start(namespace, &name, addresses, vips));
    }

    /// Joins the edge node and the first `members` endpoints by a VLAN, by devices called like `eth0.100`. From now on
    /// these endpoints are reached there.
    pub fn add_vlan(&mut self, id: u8, members: usize) {
        let device = format!("eth0.{id}");
        let addresses = |host: u8| {
            (Ipv4Addr::new(198, 18, id, host), Ipv6Addr::new(0x2001, 0xdb8, 0x51c, id.into(), 0, 0, 0, host.into()))
        };
        self.show_tags("edge", &self.edge);
        add_vlan_device(&self.edge, &device, id, addresses(1));
        for (host, endpoint) in (20..).zip(self.endpoints.iter().take(members)) {
            self.show_tags(&endpoint.name, &endpoint.namespace);
            add_vlan_device(&endpoint.namespace, &device, id, addresses(host));
        }
        for (host, endpoint) in (20..).zip(self.endpoints.iter_mut().take(members)) {
            endpoint.addresses = addresses(host);
        }
    }

    /// Keeps the tags of a link in its frames, where XDP programs see them. Else a veth carries them beside the frame.
    pub fn show_tags(&self, port: &str, namespace: &Namespace) {
        for (namespace, link) in [(&self.fabric, port), (namespace, "eth0")] {
            namespace.run(&["ethtool", "-K", link, "rxvlan", "off", "txvlan", "off"]);
        }
    }

    /// Has the client send smaller packets to all VIPs than its link carries.
    pub fn limit_client(&self, mtu: u32) {
        let mtu = mtu.to_string();
        self.client.run(&["ip", "route", "change", "203.0.113.0/24", "via", &EDGE_V4.to_string(), "mtu", &mtu]);
        self.client.run(&["ip", "route", "change", "2001:db8:1::/64", "via", &EDGE_V6.to_string(), "mtu", &mtu]);
    }

    /// Puts a namespace behind a narrow way, routes to it on all that are on the bridge, and answers its addresses.
    fn add_way(&mut self, namespace: &Namespace, mtu: u32) -> (Ipv4Addr, Ipv6Addr) {
        let way = NarrowWay::new(self, self.ways.len() as u8, namespace, mtu);
        let endpoints = self.endpoints.iter().map(|endpoint| &endpoint.namespace);
        for neighbour in [&self.client, &self.edge].into_iter().chain(endpoints) {
            way.route_from(neighbour);
        }
        let addresses = way.addresses;
        self.ways.push(way);
        addresses
    }

    /// Removes the edge node's link, if it is still there, and makes a new one with as many queues.
    pub fn recreate_edge_link(&self, queues: u32) {
        let _ = self.edge.try_run(&["ip", "link", "delete", "eth0"]);
        self.connect(&self.edge, "edge", (EDGE_V4, EDGE_V6), queues);
    }

    /// Makes the edge node's link, `eth0`, a bond in this mode of two links to the bridge, `member0` and `member1`.
    pub fn bond_edge_link(&self, mode: &str) {
        self.edge.run(&["ip", "link", "delete", "eth0"]);
        self.edge.run(&["ip", "link", "add", "eth0", "type", "bond", "mode", mode, "miimon", "100"]);
        for (port, member) in [("edge0", "member0"), ("edge1", "member1")] {
            veth((&self.fabric, port), (&self.edge, member), 1);
            self.fabric.run(&["ip", "link", "set", port, "master", "br0"]);
            // A bond takes no link that is up.
            self.edge.run(&["ip", "link", "set", member, "down"]);
            self.edge.run(&["ip", "link", "set", member, "master", "eth0"]);
        }
        self.edge.run(&["ip", "link", "set", "eth0", "up"]);
        self.edge.add_addresses("eth0", &[format!("{EDGE_V4}/24"), format!("{EDGE_V6}/64")]);
    }

    /// A further namespace on the bridge, whose end of the link is called `role`.
    pub fn add_neighbour(&self, role: &str, addresses: (Ipv4Addr, Ipv6Addr)) -> Namespace {
        let namespace = Namespace::new(role);
        self.connect(&namespace, role, addresses, 1);
        namespace
    }

    /// The namespace of the bridge, `br0`.
    pub fn fabric(&self) -> &Namespace {
        &self.fabric
    }

    /// Puts a namespace on the bridge by a link that is called `port` there and `eth0` in the namespace.
    pub(super) fn connect(&self, namespace: &Namespace, port: &str, (v4, v6): (Ipv4Addr, Ipv6Addr), queues: u32) {
        veth((&self.fabric, port), (namespace, "eth0"), queues);
        self.fabric.run(&["ip", "link", "set", port, "master", "br0"]);
        namespace.add_addresses("eth0", &[format!("{v4}/24"), format!("{v6}/64")]);
    }
}

fn add_vlan_device(namespace: &Namespace, device: &str, id: u8, (v4, v6): (Ipv4Addr, Ipv6Addr)) {
    namespace.run(&["ip", "link", "add", "link", "eth0", "name", device, "type", "vlan", "id", &id.to_string()]);
    namespace.run(&["ip", "link", "set", device, "up"]);
    namespace.add_addresses(device, &[format!("{v4}/24"), format!("{v6}/64")]);
}
