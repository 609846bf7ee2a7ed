//! Endpoints that the edge node reaches by a VLAN device on top of its interface, beside one it reaches untagged; real
//! kernels take the tags off. Needs root.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::json;
use testkit::guest::{Feature, run_here_or_in_a_guest};
use testkit::{Driver, Edge, Endpoint, Topology, http, on_every_driver};

const WEB_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const WEB_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));

on_every_driver!(carries_tcp_to_tagged_and_untagged_endpoints);

fn carries_tcp_to_tagged_and_untagged_endpoints(driver: Driver, queues: u32) {
    if !run_here_or_in_a_guest(Feature::Vlans) {
        return;
    }
    let mut topology = Topology::with_endpoints(queues, 3, &[WEB_V4, WEB_V6]);
    topology.add_vlan(100, 2);
    let [tagged_v6, tagged_v4, untagged] = &topology.endpoints[..] else { unreachable!("three were added") };
    let edge = Edge::start(&topology.edge, driver);
    let endpoints = json!([tagged_v6.over_ipv6(), tagged_v4.over_ipv4(), untagged.over_ipv6()]);
    let service = |name: &str, vip: IpAddr| json!({ "name": name, "vip": vip, "protocol": "tcp", "ports": [80], "endpoints": endpoints });
    edge.apply(json!([service("web4", WEB_V4), service("web6", WEB_V6)]));

    let before = [received_tagged(tagged_v6), received_tagged(tagged_v4)];
    for vip in [WEB_V4, WEB_V6] {
        let server = SocketAddr::new(vip, 80);
        let who = topology.client.inside(|| (0..60).map(|_| http::who(server)).collect::<io::Result<Vec<_>>>());
        let who = who.unwrap_or_else(|error| panic!("a request to {vip} failed: {error}"));
        let names: BTreeSet<String> = who.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 3, "every endpoint has its share: {names:?}");
        let up =
            topology.client.inside(|| http::post(server, "/", &vec![0; 1_000_000])).expect("a large request arrives");
        assert!(up.ends_with(b" 1000000\n"), "{}", String::from_utf8_lossy(&up));
    }
    let metrics = edge.metrics();
    metrics.assert_balanced();
    let sent = ["web4", "web6"].map(|service| metrics.by_label_of("pointsman_endpoint_packets_total", service));
    for (endpoint, before) in [tagged_v6, tagged_v4].into_iter().zip(before) {
        // What comes out of a tagged tunnel comes in by the VLAN device, an untagged one's contents by `eth0`.
        let received = received_tagged(endpoint) - before;
        let sent: u64 = sent.iter().filter_map(|by_endpoint| by_endpoint.get(&endpoint.name)).sum();
        assert!(sent > 0 && received >= sent, "{}: {received} of {sent} packets came tagged", endpoint.name);
    }
}

/// Packets that an endpoint has taken in by its VLAN device.
fn received_tagged(endpoint: &Endpoint) -> u64 {
    let count = endpoint.namespace.run(&["cat", "/sys/class/net/eth0.100/statistics/rx_packets"]);
    count.trim().parse().expect("a number")
}
