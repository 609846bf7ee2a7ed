//! What the daemon's coming and going does to others: to traffic that is not for a VIP, nothing, ever; a client of a
//! VIP sees silence after a crash, never a reset; a clean stop leaves no trace. Needs root.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;
use testkit::{Driver, EDGE_V4, EDGE_V6, Edge, Heartbeat, Load, Namespace, Topology, http};

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];

#[test]
fn others_never_notice_with_af_xdp_native() {
    others_never_notice(Driver::XdpNative);
}

#[test]
fn others_never_notice_with_af_xdp_generic() {
    others_never_notice(Driver::XdpGeneric);
}

#[test]
fn others_never_notice_with_af_packet() {
    others_never_notice(Driver::Packet);
}

#[test]
fn a_crash_is_silent_with_af_xdp_native() {
    a_crash_is_silent(Driver::XdpNative);
}

#[test]
fn a_crash_is_silent_with_af_xdp_generic() {
    a_crash_is_silent(Driver::XdpGeneric);
}

#[test]
fn a_crash_is_silent_with_af_packet() {
    a_crash_is_silent(Driver::Packet);
}

/// TCP connections to the edge node's own addresses, made before it all, live through it all.
fn others_never_notice(driver: Driver) {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint();
    let ssh = |address: IpAddr| Heartbeat::start(&topology.client, &topology.edge, SocketAddr::new(address, 22));
    let sessions = [ssh(IpAddr::V4(EDGE_V4)), ssh(IpAddr::V6(EDGE_V6))];
    let go_on = |when| sessions.iter().for_each(|session| session.goes_on(when));
    go_on("before the start");
    let mut edge = Edge::start(&topology.edge, driver);
    go_on("after the start");
    apply(&edge, &topology);
    let load = Load::start(&topology.client, SocketAddr::new(VIPS[0], 80));
    load.run(20);
    go_on("while packets are forwarded");
    load.run(20);
    drop(load);
    edge.stop();
    go_on("after the stop");
    edge.run();
    go_on("after the second start");
    edge.kill();
    go_on("after a crash");
    edge.run();
    go_on("after the start that follows a crash");
}

/// The edge node has the VIPs on its loopback here, so its kernel would answer for them if it were let.
fn a_crash_is_silent(driver: Driver) {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint();
    topology.edge.add_addresses("lo", &[format!("{}/32", VIPS[0]), format!("{}/128", VIPS[1])]);
    for error in connect(&topology.client) {
        assert_eq!(error, Some(io::ErrorKind::ConnectionRefused), "without pointsman, the kernel answers");
    }
    let mut edge = Edge::start(&topology.edge, driver);
    apply(&edge, &topology);
    forwards(&topology);

    edge.kill();
    for error in connect(&topology.client) {
        assert_eq!(error, Some(io::ErrorKind::TimedOut), "after a crash, a client hears nothing");
    }
    edge.run();
    forwards(&topology);
    assert_eq!(edge.json("status")["revision"], "test", "the set on disk is in force before any syncer has spoken");

    assert!(edge.stop().success(), "SIGTERM ends it well");
    let link = topology.edge.run(&["ip", "link", "show", "eth0"]);
    assert!(!link.contains("xdp"), "a clean stop removes the steering program: {link}");
    for error in connect(&topology.client) {
        assert_eq!(error, Some(io::ErrorKind::ConnectionRefused), "after a clean stop, the kernel answers again");
    }
}

fn one_endpoint() -> Topology {
    Topology::with_endpoints(1, 1, &VIPS)
}

fn apply(edge: &Edge<'_>, topology: &Topology) {
    let endpoints = json!([topology.endpoints[0].over_ipv6()]);
    let service = |name: &str, vip| json!({ "name": name, "vip": vip, "endpoints": endpoints });
    edge.apply(json!([service("v4", VIPS[0]), service("v6", VIPS[1])]));
}

fn forwards(topology: &Topology) {
    for vip in VIPS {
        let answer = topology.client.inside(|| http::who(SocketAddr::new(vip, 80)));
        let (name, _) = answer.unwrap_or_else(|error| panic!("a request to {vip} failed: {error}"));
        assert_eq!(name, "ep0");
    }
}

/// How an attempt to connect to each of the VIPs fails, if it does.
fn connect(client: &Namespace) -> [Option<io::ErrorKind>; 2] {
    let attempt = |vip| TcpStream::connect_timeout(&SocketAddr::new(vip, 80), Duration::from_secs(2));
    client.inside(|| VIPS.map(|vip| attempt(vip).err().map(|error| error.kind())))
}
