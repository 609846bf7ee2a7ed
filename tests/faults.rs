//! What becomes of the interface under the daemon, and of the network behind it: whatever it is, the daemon lives, says
//! what is wrong, and forwards again when it is over. Needs root.

mod netns;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netns::{Driver, EDGE_V4, EDGE_V6, Edge, SOON, Topology, on_every_driver, udp, veth, wait_until};
use serde_json::{Value, json};

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];

on_every_driver!(an_interface_goes_down_and_comes_up, an_interface_is_removed_and_created_again);

fn an_interface_goes_down_and_comes_up(driver: Driver, queues: u32) {
    let topology = one_endpoint(queues);
    let edge = serve(&topology, driver);
    let before = assert_forwards(&topology, &edge);
    topology.edge.run(&["ip", "link", "set", "eth0", "down"]);
    assert!(wait_until(SOON, || status(&edge, "interface_up") == false), "it says so");
    assert!(edge.lives());
    topology.edge.run(&["ip", "link", "set", "eth0", "up"]);
    give_addresses(&topology);
    assert!(assert_forwards(&topology, &edge) > before, "the counters go on");
}

/// The new one has another number and another Ethernet address, and gets its addresses later.
fn an_interface_is_removed_and_created_again(driver: Driver, queues: u32) {
    let topology = one_endpoint(queues);
    let mut edge = serve(&topology, driver);
    let before = assert_forwards(&topology, &edge);
    for _ in 0..2 {
        remove(&topology, &edge);
        // Nothing waits for workers that have no queue.
        edge.apply_unreachable(services(&topology));
        create(&topology, queues);
        assert!(assert_forwards(&topology, &edge) > before, "the counters go on");
    }
    remove(&topology, &edge);
    assert!(edge.stop().success(), "it can be stopped while the interface is gone");
    create(&topology, queues);
    edge.run();
    assert_forwards(&topology, &edge);
    assert!(edge.stop().success());
    let link = topology.edge.run(&["ip", "link", "show", "eth0"]);
    assert!(!link.contains("xdp"), "a clean stop removes the steering program: {link}");
}

fn one_endpoint(queues: u32) -> Topology {
    let mut topology = Topology::new(queues);
    topology.add_endpoint(&VIPS);
    topology
}

fn services(topology: &Topology) -> Value {
    let endpoints = json!([topology.endpoints[0].over_ipv6()]);
    json!([{ "name": "v4", "vip": VIPS[0], "endpoints": endpoints }, { "name": "v6", "vip": VIPS[1], "endpoints": endpoints }])
}

fn serve(topology: &Topology, driver: Driver) -> Edge<'_> {
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(services(topology));
    edge
}

fn status(edge: &Edge<'_>, key: &str) -> Value {
    edge.json("status")[key].clone()
}

/// A datagram to each VIP comes back, within some tries: what was sent before is lost. Answers how many were sent ever.
fn assert_forwards(topology: &Topology, edge: &Edge<'_>) -> u64 {
    for vip in VIPS {
        let comes_back = || topology.client.inside(|| udp::ask(vip, b"hello")).is_ok();
        assert!(wait_until(SOON, comes_back), "nothing comes back from {vip}: {}", edge.json("status"));
    }
    assert_eq!(status(edge, "interface_problem"), Value::Null);
    edge.metrics().assert_balanced();
    edge.metrics().sum("pointsman_sent_packets_total")
}

/// IPv6 addresses go with an interface that is set down.
fn give_addresses(topology: &Topology) {
    let address = format!("{EDGE_V6}/64");
    topology.edge.run(&["ip", "address", "replace", &address, "dev", "eth0", "nodad"]);
}

fn remove(topology: &Topology, edge: &Edge<'_>) {
    topology.edge.run(&["ip", "link", "delete", "eth0"]);
    let is_said = || status(edge, "interface_problem").as_str().is_some_and(|said| said.contains("eth0 is gone"));
    assert!(wait_until(SOON, is_said), "it says so: {}", edge.json("status"));
    assert_eq!(status(edge, "interface_up"), false);
}

fn create(topology: &Topology, queues: u32) {
    veth((topology.fabric(), "edge"), (&topology.edge, "eth0"), queues);
    topology.fabric().run(&["ip", "link", "set", "edge", "master", "br0"]);
    topology.edge.add_addresses("eth0", &[format!("{EDGE_V4}/24"), format!("{EDGE_V6}/64")]);
}
