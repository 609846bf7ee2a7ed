//! An edge node whose interface is a bond of two links. Needs root, and a kernel with bonds: this machine's or a guest's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::json;
use testkit::guest::{Feature, run_here_or_in_a_guest};
use testkit::{Driver, Edge, SOON, Topology, http, wait_until};

const WEB_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const WEB_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));

#[test]
fn carries_tcp_in_generic_mode_also_when_a_member_fails() {
    carries_tcp_when_a_member_fails(Driver::XdpGeneric);
}

#[test]
fn carries_tcp_with_af_packet_also_when_a_member_fails() {
    carries_tcp_when_a_member_fails(Driver::Packet);
}

fn carries_tcp_when_a_member_fails(driver: Driver) {
    if !run_here_or_in_a_guest(Feature::Bonds) {
        return;
    }
    let topology = Topology::with_endpoints(1, 2, &[WEB_V4, WEB_V6]);
    topology.bond_edge_link("active-backup");
    let edge = Edge::start(&topology.edge, driver);
    let endpoints = json!(topology.endpoints.iter().map(testkit::Endpoint::over_ipv6).collect::<Vec<_>>());
    let service = |name: &str, vip: IpAddr| json!({ "name": name, "vip": vip, "endpoints": endpoints });
    edge.apply(json!([service("web4", WEB_V4), service("web6", WEB_V6)]));
    let answers = |vip| topology.client.inside(|| http::who(SocketAddr::new(vip, 80))).is_ok();
    for vip in [WEB_V4, WEB_V6] {
        assert!((0..20).all(|_| answers(vip)), "{vip} by both members");
    }
    topology.fabric().run(&["ip", "link", "set", "edge0", "down"]);
    // The bond looks at its members ten times a second, and tells the bridge where it is now.
    assert!(wait_until(SOON, || answers(WEB_V4)), "by the member that is left");
    for vip in [WEB_V4, WEB_V6] {
        assert!((0..20).all(|_| answers(vip)), "{vip} by the member that is left");
    }
    edge.metrics().assert_balanced();
}
