//! Two edge nodes behind a router that spreads flows over them: real BIRD, with BGP and BFD, at all three.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bird::Bird;
use crate::{Driver, EDGE_V4, EDGE_V6, Edge, Namespace, SOON, Topology, wait_until};

/// The VIPs that both nodes announce.
pub const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];
/// 5 * 300 ms. The example's factor is 3; on a machine that is busy with other tests, BIRD may have to wait for longer.
pub const DETECTION: Duration = Duration::from_millis(1_500);

const ROUTER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 2, 254), Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 0xfe));
const SECOND: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(192, 0, 2, 2), Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 2));
const EXAMPLE: &str = include_str!("../../../conf/bird.conf.example");

/// The usual network with a second node, and a router between the client and both.
pub struct Ecmp {
    /// The network; the first node is its `edge`.
    pub topology: Topology,
    second: Namespace,
    router: Namespace,
    bird: Bird,
}

impl Ecmp {
    /// With so many endpoints.
    pub fn new(endpoints: usize) -> Self {
        let topology = Topology::with_endpoints(1, endpoints, &VIPS);
        let router = add_router(&topology);
        let second = topology.add_neighbour("second", SECOND);
        for port in ["edge", "second"] {
            // A network card takes no frames that a switch sends everywhere since it does not know where to; else a
            // node would have those for another that has just died.
            topology.fabric().run(&["ip", "link", "set", port, "type", "bridge_slave", "flood", "off"]);
        }
        let bird = Bird::start(&router, include_str!("bird-router.conf"));
        Self { topology, second, router, bird }
    }

    /// Starts the daemon at both nodes, without a set.
    pub fn nodes(&self) -> [Node<'_>; 2] {
        [
            Node::start(self, &self.topology.edge, "edge", (EDGE_V4, EDGE_V6)),
            Node::start(self, &self.second, "second", SECOND),
        ]
    }

    /// How many ways the router has to each of the VIPs.
    pub fn ways(&self) -> [usize; 2] {
        VIPS.map(|vip| {
            let family = if vip.is_ipv4() { "-4" } else { "-6" };
            self.router.run(&["ip", family, "route", "show", &vip.to_string()]).matches("via ").count()
        })
    }

    /// Waits until the router has so many ways to each VIP, and BFD watches over them; answers how long that took.
    pub fn wait_for_ways(&self, count: usize) -> Duration {
        let since = Instant::now();
        assert!(wait_until(2 * SOON, || self.ways() == [count; 2]), "{}", self.ask("show route all"));
        let took = since.elapsed();
        let up = || self.ask("show bfd sessions").matches(" Up ").count() >= 2 * count;
        assert!(wait_until(SOON, up), "{}", self.ask("show bfd sessions"));
        took
    }

    /// What the router's BIRD says.
    pub fn ask(&self, question: &str) -> String {
        self.bird.ask(question)
    }
}

/// A router on the bridge, through which the client's packets to the VIPs go.
fn add_router(topology: &Topology) -> Namespace {
    let router = topology.add_neighbour("router", ROUTER);
    for (family, to) in [("ipv4", ROUTER.0.to_string()), ("ipv6", ROUTER.1.to_string())] {
        let forwarding = if family == "ipv4" { "net/ipv4/ip_forward" } else { "net/ipv6/conf/all/forwarding" };
        router.sysctl(forwarding, "1");
        router.sysctl(&format!("net/{family}/fib_multipath_hash_policy"), "1");
        let vips = if family == "ipv4" { "203.0.113.0/24" } else { "2001:db8:1::/64" };
        topology.client.run(&["ip", "route", "replace", vips, "via", &to]);
        // The edge nodes are on the client's link too: it would be told to send to them.
        topology.client.sysctl(&format!("net/{family}/conf/eth0/accept_redirects"), "0");
    }
    topology.client.sysctl("net/ipv4/conf/all/accept_redirects", "0");
    router.sysctl("net/ipv4/conf/all/send_redirects", "0");
    router.sysctl("net/ipv4/conf/eth0/send_redirects", "0");
    router
}

/// An edge node that announces its VIPs.
pub struct Node<'a> {
    /// Its daemon.
    pub edge: Edge<'a>,
    ecmp: &'a Ecmp,
    namespace: &'a Namespace,
    /// Its link's name at the bridge.
    port: &'static str,
    bird_config: String,
    bird: Option<Bird>,
}

impl<'a> Node<'a> {
    fn start(ecmp: &'a Ecmp, namespace: &'a Namespace, port: &'static str, addresses: (Ipv4Addr, Ipv6Addr)) -> Self {
        let edge = Edge::builder(namespace, Driver::XdpNative)
            .addresses(addresses.0, addresses.1)
            .sections("[announce]\nroutes = true\n")
            .start();
        let example = EXAMPLE.replace("multiplier 3;", "multiplier 5;");
        let bird_config = example.replace("router id 192.0.2.1;", &format!("router id {};", addresses.0));
        let bird = Some(Bird::start(namespace, &bird_config));
        Self { edge, ecmp, namespace, port, bird_config, bird }
    }

    /// Whether it has not died.
    pub fn lives(&self) -> bool {
        self.bird.is_some()
    }

    /// Has the whole machine die, and answers when.
    pub fn die(&mut self) -> Instant {
        // The wire first: a process that is killed on a machine that lives has its TCP connections closed by the kernel,
        // and the router would hear of it from there.
        self.ecmp.topology.fabric().run(&["ip", "link", "set", self.port, "down"]);
        let died = Instant::now();
        self.bird.take().expect("it lives").kill();
        self.edge.kill();
        died
    }

    /// Brings it back, and gives it the set that a syncer has by then, if any.
    pub fn rise(&mut self, set: Option<Value>) {
        self.ecmp.topology.fabric().run(&["ip", "link", "set", self.port, "up"]);
        self.edge.run();
        if let Some(set) = set {
            self.edge.apply(set);
        }
        self.bird = Some(Bird::start(self.namespace, &self.bird_config));
    }

    /// Packets for the VIPs that have come.
    pub fn received(&self) -> u64 {
        self.edge.metrics().sum("pointsman_received_packets_total")
    }

    /// Waits until no packet comes any more that was on its way, and answers how many have come.
    pub fn settled(&self) -> u64 {
        let mut last = self.received();
        let still = wait_until(SOON, || {
            let before = std::mem::replace(&mut last, self.received());
            before == last
        });
        assert!(still, "packets still come to {}", self.port);
        last
    }
}
