//! What happens to the interface under the daemon, and to the network behind it: whatever it is, the daemon lives, says
//! what is wrong, and forwards again when it is over. Needs root.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{Driver, EDGE_V4, EDGE_V6, Edge, Namespace, SOON, Topology, on_every_driver, udp, wait_until};

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];

on_every_driver!(
    an_interface_goes_down_and_comes_up,
    an_interface_is_removed_and_created_again,
    an_interface_leaves_for_another_namespace_and_returns,
    an_mtu_shrinks_and_grows,
    a_neighbour_goes_and_comes_back
);

#[test]
fn a_queue_more_gets_a_worker_with_af_xdp_native() {
    a_queue_more_gets_a_worker(Driver::XdpNative);
}

#[test]
fn a_queue_more_gets_a_worker_with_af_xdp_generic() {
    a_queue_more_gets_a_worker(Driver::XdpGeneric);
}

#[test]
fn a_queue_more_is_all_one_to_af_packet() {
    a_queue_more_gets_a_worker(Driver::Packet);
}

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
        assert!(wait_until(SOON, || !has_workers(&edge)), "workers leave queues that are gone");
        // Nothing waits for workers that have no queue.
        edge.apply_unreachable(services(&topology));
        topology.recreate_edge_link(queues);
        assert!(assert_forwards(&topology, &edge) > before, "the counters go on");
    }
    remove(&topology, &edge);
    assert!(edge.stop().success(), "it can be stopped while the interface is gone");
    topology.recreate_edge_link(queues);
    edge.run();
    assert_forwards(&topology, &edge);
    assert!(edge.stop().success());
    let link = topology.edge.run(&["ip", "link", "show", "eth0"]);
    assert!(!link.contains("xdp"), "a clean stop removes the steering program: {link}");
}

/// Nobody is drawn to a node that cannot forward, also by a way that does not lead over its interface.
#[test]
fn vip_routes_go_with_the_interface_and_come_back_with_it() {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint(1);
    let announce = "[announce]\nroutes = true\n";
    let edge = Edge::builder(&topology.edge, Driver::XdpNative).sections(announce).start();
    edge.apply(services(&topology));
    let routes = || topology.edge.run(&["ip", "route", "show", "type", "blackhole"]);
    assert!(routes().contains("203.0.113.10"), "{}", routes());
    remove(&topology, &edge);
    assert_eq!(routes(), "");
    topology.recreate_edge_link(1);
    assert!(wait_until(SOON, || routes().contains("203.0.113.10")), "{}", edge.json("status"));
}

/// Frames come from the Ethernet address that the interface has now, and are as large as it can carry now.
#[test]
fn a_static_next_hop_does_not_hide_the_interface() {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint(1);
    let address = |namespace: &Namespace| namespace.run(&["cat", "/sys/class/net/eth0/address"]).trim().to_owned();
    let next_hop = format!("next_hop = \"{}\"", address(&topology.endpoints[0].namespace));
    let edge = Edge::builder(&topology.edge, Driver::XdpNative).underlay(&next_hop).start();
    edge.apply(services(&topology));
    assert_forwards(&topology, &edge);
    let old = address(&topology.edge);
    remove(&topology, &edge);
    topology.recreate_edge_link(1);
    assert_ne!(address(&topology.edge), old, "a new veth has a new address");
    assert_forwards(&topology, &edge);
    let seen = topology.fabric().run(&["bridge", "fdb", "show", "br", "br0"]);
    assert!(!seen.contains(&old), "{old} is still in use: {seen}");
    set_mtu(&topology, 1400);
    assert!(wait_until(SOON, || status(&edge, "underlay_mtu") == 1400), "it follows");
}

/// It keeps its number and loses all else: sockets, programs, filters, addresses. The second time it is back before the
/// daemon has looked.
fn an_interface_leaves_for_another_namespace_and_returns(driver: Driver, queues: u32) {
    let topology = one_endpoint(queues);
    let edge = serve(&topology, driver);
    let before = assert_forwards(&topology, &edge);
    let elsewhere = Namespace::new("elsewhere");
    for is_seen in [true, false] {
        if !is_seen {
            edge.signal(Signal::STOP);
        }
        topology.edge.run(&["ip", "link", "set", "eth0", "netns", elsewhere.name()]);
        if is_seen {
            assert_says_gone(&edge);
        }
        elsewhere.run(&["ip", "link", "set", "eth0", "netns", topology.edge.name()]);
        topology.edge.run(&["ip", "link", "set", "eth0", "up"]);
        topology.edge.add_addresses("eth0", &[format!("{EDGE_V4}/24"), format!("{EDGE_V6}/64")]);
        edge.signal(Signal::CONT);
        assert!(assert_forwards(&topology, &edge) > before, "the counters go on");
    }
}

/// With 3000 bytes, a frame no longer fits the packet memory that was made for 1500.
fn an_mtu_shrinks_and_grows(driver: Driver, queues: u32) {
    let topology = one_endpoint(queues);
    let edge = serve(&topology, driver);
    let before = assert_forwards(&topology, &edge);
    for (mtu, fits) in [(1400, 1000), (3000, 2800), (1500, 1300)] {
        set_mtu(&topology, mtu);
        assert!(wait_until(SOON, || status(&edge, "underlay_mtu") == mtu), "it follows");
        assert!(assert_forwards(&topology, &edge) > before, "the counters go on");
        for vip in VIPS {
            let answer = topology.client.inside(|| udp::ask(vip, &vec![1; fits]));
            assert_eq!(answer.ok().as_deref(), Some("ep0"), "{fits} bytes to {vip}: {:?}", edge.json("stats"));
        }
    }
}

/// Its link fails, and the kernel has forgotten it when it is asked for again.
fn a_neighbour_goes_and_comes_back(driver: Driver, queues: u32) {
    let topology = one_endpoint(queues);
    let edge = serve(&topology, driver);
    assert_forwards(&topology, &edge);
    topology.fabric().run(&["ip", "link", "set", "ep0", "down"]);
    topology.edge.run(&["ip", "-6", "neighbour", "flush", "dev", "eth0"]);
    let is_said = || {
        status(&edge, "services")[0]["unreachable"]["ep0"].as_str().is_some_and(|said| said.contains("does not answer"))
    };
    assert!(wait_until(SOON, is_said), "it says so: {}", edge.json("status"));
    let dropped = || edge.metrics().by_label("pointsman_drops_total").get("no_next_hop").copied().unwrap_or(0);
    let before = dropped();
    let is_dropped = || {
        topology.client.inside(|| udp::send(VIPS[0], b"nobody hears this")).expect("the client has a route");
        dropped() > before
    };
    assert!(wait_until(SOON, is_dropped), "packets to it are counted as drops");
    topology.fabric().run(&["ip", "link", "set", "ep0", "up"]);
    assert_forwards(&topology, &edge);
}

/// All flows pass, wherever they come in, and each queue has a worker.
fn a_queue_more_gets_a_worker(driver: Driver) {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint(2);
    set_queues(&topology, 1);
    let edge = serve(&topology, driver);
    assert_eq!(status(&edge, "queues"), json!([0]));
    let before = assert_forwards(&topology, &edge);
    set_queues(&topology, 2);
    if driver != Driver::Packet {
        assert!(wait_until(SOON, || status(&edge, "queues") == json!([0, 1])), "{}", edge.json("status"));
    }
    assert!(assert_forwards(&topology, &edge) > before, "the counters go on");
    for number in 0..40 {
        let answer = topology.client.inside(|| udp::ask(VIPS[0], &[number]));
        assert_eq!(answer.ok().as_deref(), Some("ep0"), "flow {number}: {}", edge.json("stats"));
    }
    if driver == Driver::XdpNative {
        let received = edge.metrics().each("pointsman_received_packets_total");
        assert!(received.len() == 2 && received.iter().all(|&received| received > 0), "{received:?}");
    }
}

/// Then the queue there was goes on, and the daemon says what is lost.
#[test]
fn a_queue_more_for_which_there_is_no_core_is_named() {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint(2);
    set_queues(&topology, 1);
    let edge = Edge::builder(&topology.edge, Driver::XdpNative).interface("cores = [0]").start();
    edge.apply(services(&topology));
    assert_forwards(&topology, &edge);
    set_queues(&topology, 2);
    assert_says(&edge, "it has 2 receive queues now, where it had 1, and not all is forwarded");
    set_queues(&topology, 1);
    assert_forwards(&topology, &edge);
}

/// Then the packet memory there was goes on, and the daemon says what is lost.
#[test]
fn an_mtu_for_which_there_is_no_packet_memory_is_named() {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint(1);
    let edge = serve(&topology, Driver::XdpGeneric);
    topology.edge.run(&["ip", "link", "set", "eth0", "mtu", "9000"]);
    assert_says(&edge, "large packets are lost");
    for vip in VIPS {
        let answer = topology.client.inside(|| udp::ask(vip, b"small"));
        assert_eq!(answer.ok().as_deref(), Some("ep0"));
    }
    topology.edge.run(&["ip", "link", "set", "eth0", "mtu", "1500"]);
    assert_forwards(&topology, &edge);
}

fn one_endpoint(queues: u32) -> Topology {
    Topology::with_endpoints(queues, 1, &VIPS)
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

/// Whether some worker is at work.
fn has_workers(edge: &Edge<'_>) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", edge.pid())).expect("it runs");
    let mut names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.any(|name| name.starts_with("worker-"))
}

/// A datagram to each VIP comes back, within some tries: what was sent before is lost. Answers how many were sent ever.
fn assert_forwards(topology: &Topology, edge: &Edge<'_>) -> u64 {
    for vip in VIPS {
        let comes_back = || topology.client.inside(|| udp::ask(vip, b"hello")).is_ok();
        assert!(wait_until(SOON, comes_back), "nothing comes back from {vip}: {}", edge.json("status"));
    }
    assert!(wait_until(SOON, || status(edge, "interface_problem") == Value::Null), "{}", edge.json("status"));
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
    assert_says_gone(edge);
}

fn assert_says(edge: &Edge<'_>, problem: &str) {
    let is_said = || status(edge, "interface_problem").as_str().is_some_and(|said| said.contains(problem));
    assert!(wait_until(SOON, is_said), "{problem}: {}", edge.json("status"));
}

fn assert_says_gone(edge: &Edge<'_>) {
    assert_says(edge, "eth0 is gone");
    assert_eq!(status(edge, "interface_up"), false);
}

/// Of every link, so that only what a tunnel adds can make a packet too big.
fn set_mtu(topology: &Topology, mtu: u32) {
    let mtu = mtu.to_string();
    for port in ["client", "ep0", "edge"] {
        topology.fabric().run(&["ip", "link", "set", port, "mtu", &mtu]);
    }
    for namespace in [&topology.edge, &topology.client, &topology.endpoints[0].namespace] {
        namespace.run(&["ip", "link", "set", "eth0", "mtu", &mtu]);
    }
    topology.fabric().run(&["ip", "link", "set", "br0", "mtu", &mtu]);
}

/// At both ends of the edge node's link: with a program attached, a veth receives by at least as many queues as its peer
/// sends by.
fn set_queues(topology: &Topology, count: u32) {
    let count = count.to_string();
    let ends = [(topology.fabric(), "edge"), (&topology.edge, "eth0")];
    for (namespace, link) in if count == "1" { ends } else { [ends[1], ends[0]] } {
        namespace.run(&["ethtool", "-L", link, "rx", &count, "tx", &count]);
    }
}
