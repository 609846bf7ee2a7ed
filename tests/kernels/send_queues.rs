//! An interface that receives by more queues than it sends by, as some do when an XDP program is attached: an AF_XDP socket
//! sends by the queue it receives from, so what came in by the others would never leave. Needs root.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json;
use testkit::{Driver, EDGE_V4, EDGE_V6, Edge, Namespace, Topology, http};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// See `Edge::not_started`.
const CONTROL: &str = "group = \"root\"";

#[test]
fn af_xdp_says_that_there_is_no_way_out() {
    if testkit::skipped() {
        return;
    }
    let topology = narrow_topology();
    let mut edge =
        Edge::builder(&topology.edge, Driver::XdpNative).interface("frames = 512").control(CONTROL).prepare();
    let said = edge.run_in_vain();
    assert!(said.contains("eth0 has 2 queues to receive by and 1 to send by"), "{said}");
    assert!(said.contains("ethtool -L eth0 combined 2"), "{said}");
}

/// The queue that has a way out will do where it is the only one in use.
#[test]
fn af_xdp_takes_the_queue_that_has_one() {
    if testkit::skipped() {
        return;
    }
    let topology = narrow_topology();
    let edge = Edge::builder(&topology.edge, Driver::XdpNative).interface("queues = [0]").start();
    assert_eq!(edge.json("status")["driver"], "af_xdp");
}

#[test]
fn auto_takes_another_driver() {
    if testkit::skipped() {
        return;
    }
    let mut topology = narrow_topology();
    topology.add_endpoint(&[VIP]);
    let mut edge =
        Edge::builder(&topology.edge, Driver::XdpNative).interface("frames = 512").control(CONTROL).prepare();
    edge.edit_config("driver = \"af_xdp\"", "driver = \"auto\"");
    edge.run();
    assert_eq!(edge.json("status")["driver"], "af_packet");
    let endpoint = topology.endpoints[0].over_ipv6();
    edge.apply(json!([{ "name": "web", "vip": VIP, "protocol": "tcp", "ports": [80], "endpoints": [endpoint] }]));
    for _ in 0..40 {
        let who = topology.client.inside(|| http::who(SocketAddr::new(VIP, 80)));
        who.unwrap_or_else(|error| panic!("a request failed: {error}"));
    }
    edge.metrics().assert_balanced();
}

/// An edge node whose link has two queues to receive by, and one to send by.
fn narrow_topology() -> Topology {
    let topology = Topology::new(1);
    let (fabric, edge) = (topology.fabric(), &topology.edge);
    edge.run(&["ip", "link", "delete", "eth0"]);
    let far = ["ip", "link", "add", "edge", "numtxqueues", "2", "numrxqueues", "1", "type", "veth"];
    let near = ["peer", "name", "eth0", "netns", edge.name(), "numtxqueues", "1", "numrxqueues", "2"];
    fabric.run(&[&far[..], &near[..]].concat());
    for (namespace, link) in [(fabric, "edge"), (edge, "eth0")] {
        bring_up(namespace, link);
    }
    fabric.run(&["ip", "link", "set", "edge", "master", "br0"]);
    edge.add_addresses("eth0", &[format!("{EDGE_V4}/24"), format!("{EDGE_V6}/64")]);
    topology
}

/// All offloads off: a frame looks as it would on a wire.
fn bring_up(namespace: &Namespace, link: &str) {
    let off = ["tx", "off", "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off"];
    namespace.run(&[&["ethtool", "-K", link], &off[..]].concat());
    namespace.run(&["ip", "link", "set", link, "up"]);
}
