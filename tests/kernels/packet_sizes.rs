//! Packets that fit one link and not the next: narrow links before and behind the node, fragments, packets that may be
//! cut, all between real kernels. Needs root.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::io::Errno;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use serde_json::{Value, json};
use testkit::{Driver, Edge, Endpoint, Namespace, SOON, Topology, http, on_every_driver, udp, wait_until};

const VIP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const VIP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));
const VIPS: [IpAddr; 2] = [VIP_V4, VIP_V6];
const MEGABYTE: usize = 1_000_000;

on_every_driver!(
    large_transfers_pass_a_narrow_link_before_the_node,
    uploads_pass_a_narrow_link_behind_the_node,
    large_datagrams_pass_in_fragments,
    fragments_that_are_too_large_themselves_pass,
    packets_that_may_be_cut_arrive_whole
);

/// What a router tells an endpoint arrives at the one it is for, and what the node tells a client arrives there.
fn large_transfers_pass_a_narrow_link_before_the_node(driver: Driver, queues: u32) {
    let mut topology = endpoints(8, queues);
    let client = topology.add_distant_client(1480);
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(services(topology.endpoints.iter().enumerate().map(over_either)));
    for (vip, service) in VIPS.into_iter().zip(["v4", "v6"]) {
        let every_endpoint_is_used =
            || edge.metrics().by_label_of("pointsman_endpoint_packets_total", service).len() == 8;
        transfer_until(every_endpoint_is_used, || {
            let down = client.inside(|| http::get(SocketAddr::new(vip, 80), &format!("/bytes/{MEGABYTE}")));
            assert_eq!(down.unwrap_or_else(|error| panic!("from {vip}: {error}")).len(), MEGABYTE);
        });
    }
    assert_no_drops_but(&edge, &[]);
    for vip in VIPS {
        let mut names = BTreeSet::new();
        let mut uploads = 0;
        while names.len() < 8 {
            names.insert(upload(&client, vip));
            uploads += 1;
            assert!(uploads < 200, "only {names:?} were used");
        }
    }
    // The routes to the client have no advmss, so it sent all that its way carries until the node told it otherwise. A
    // client is told only so often a second.
    assert!(edge.metrics().sum("pointsman_answered_packets_total") > 0, "the node told the client");
    assert_no_drops_but(&edge, &["too_big"]);
    edge.metrics().assert_balanced();
}

/// A router says that an outer packet was too big; from then on the node says so in time.
fn uploads_pass_a_narrow_link_behind_the_node(driver: Driver, queues: u32) {
    for (over_ipv6, overhead) in [(false, 20 + 4), (true, 40 + 4)] {
        let mut topology = Topology::new(queues);
        topology.add_distant_endpoint(&VIPS, 1400);
        let edge = Edge::start(&topology.edge, driver);
        let endpoint = &topology.endpoints[0];
        edge.apply(services([if over_ipv6 { endpoint.over_ipv6() } else { endpoint.over_ipv4() }]));
        for vip in VIPS {
            for _ in 0..5 {
                upload(&topology.client, vip);
            }
        }
        for service in edge.json("status")["services"].as_array().expect("status lists the services") {
            assert_eq!(service["lowered_mtu"], json!({ "ep0": 1400 }), "{service}");
            assert_eq!(service["inner_mtu"], json!(1400 - overhead), "{service}");
        }
        assert_no_drops_but(&edge, &["too_big"]);
        edge.metrics().assert_balanced();
    }
}

fn large_datagrams_pass_in_fragments(driver: Driver, queues: u32) {
    let topology = endpoints(3, queues);
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(services(topology.endpoints.iter().enumerate().map(over_either)));
    topology.limit_client(1400);
    // 4104 bytes of UDP in packets of 1400: 1376 bytes in each with IPv4, 1352 with IPv6.
    for (vip, service, fragments) in [(VIP_V4, "v4", 3), (VIP_V6, "v6", 4)] {
        let names: io::Result<BTreeSet<String>> =
            topology.client.inside(|| (0..60).map(|n| udp::ask(vip, &[n; 4096])).collect());
        let names = names.unwrap_or_else(|error| panic!("a datagram to {vip} was lost: {error}"));
        assert_eq!(names.len(), 3, "{names:?}");
        wait_until(SOON, || edge.metrics().sum_of("pointsman_service_packets_total", service) >= 60 * fragments);
        let metrics = edge.metrics();
        assert_eq!(metrics.sum_of("pointsman_service_packets_total", service), 60 * fragments);
        assert_eq!(metrics.sum_of("pointsman_endpoint_packets_total", service), 60 * fragments);
    }
    let metrics = edge.metrics();
    assert_eq!(metrics.sum("pointsman_received_packets_total"), 60 * 7);
    assert_eq!(metrics.sum("pointsman_sent_packets_total"), 60 * 7);
    metrics.assert_balanced();
}

/// IPv4 fragments are cut once more. IPv6 has it that the client is told; what it had sent is lost. All tunnels are
/// alike here, or it would be told again by the first endpoint with longer outer headers.
fn fragments_that_are_too_large_themselves_pass(driver: Driver, queues: u32) {
    let topology = endpoints(3, queues);
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(services(topology.endpoints.iter().map(Endpoint::over_ipv6)));
    let told = topology.client.inside(|| udp::ask(VIP_V6, &[0; 4096])).err().and_then(|error| error.raw_os_error());
    assert_eq!(told, Some(Errno::MSGSIZE.raw_os_error()), "the client's kernel fails a datagram that is too large");
    for vip in VIPS {
        for n in 0..60 {
            let name = topology.client.inside(|| udp::ask(vip, &[n; 4096]));
            name.unwrap_or_else(|error| panic!("datagram {n} to {vip} was lost: {error}"));
        }
    }
    let metrics = edge.metrics();
    assert!(metrics.sum("pointsman_answered_packets_total") > 0, "the node told the client");
    assert!(metrics.sum("pointsman_fragments_made_total") >= 2 * 60, "two of three fragments have 1500 bytes");
    assert_no_drops_but(&edge, &["fragment_without_first"]);
    metrics.assert_balanced();
}

fn packets_that_may_be_cut_arrive_whole(driver: Driver, queues: u32) {
    let topology = endpoints(3, queues);
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(services(topology.endpoints.iter().enumerate().map(over_either)));
    let names: io::Result<BTreeSet<String>> = topology.client.inside(|| (0..60).map(ask_without_df).collect());
    assert_eq!(names.expect("every datagram comes back").len(), 3);
    for size in ["1440", "1472"] {
        let ping = ["ping", "-M", "dont", "-s", size, "-c", "10", "-i", "0.05", "-W", "5", &VIP_V4.to_string()];
        let words = topology.client.run(&ping);
        assert!(words.contains(" 0% packet loss") && !words.contains("wrong"), "{words}");
    }
    assert_no_drops_but(&edge, &[]);
    let metrics = edge.metrics();
    assert!(metrics.sum("pointsman_fragments_made_total") >= 80, "each packet of 1500 bytes made two of one");
    metrics.assert_balanced();
}

fn endpoints(count: usize, queues: u32) -> Topology {
    Topology::with_endpoints(queues, count, &VIPS)
}

/// An endpoint's entry in a set: every other one is reached over IPv4.
fn over_either((number, endpoint): (usize, &Endpoint)) -> Value {
    if number % 2 == 0 { endpoint.over_ipv6() } else { endpoint.over_ipv4() }
}

fn services(endpoints: impl IntoIterator<Item = Value>) -> Value {
    let endpoints: Vec<Value> = endpoints.into_iter().collect();
    json!([
        { "name": "v4", "vip": VIP_V4, "endpoints": endpoints },
        { "name": "v6", "vip": VIP_V6, "endpoints": endpoints },
    ])
}

/// Sends a megabyte over a new connection and answers which endpoint took it.
fn upload(client: &Namespace, vip: IpAddr) -> String {
    let answer = client.inside(|| http::post(SocketAddr::new(vip, 80), "/", &vec![0; MEGABYTE]));
    let answer = String::from_utf8(answer.unwrap_or_else(|error| panic!("to {vip}: {error}"))).expect("a line of text");
    let (name, length) = answer.trim_end().split_once(' ').expect("two words");
    assert_eq!(length, MEGABYTE.to_string());
    name.to_owned()
}

/// Repeats a transfer, each over a new connection, until `done`. Eight endpoints are all hit by 200 connections but
/// once in ten thousand million runs.
fn transfer_until(done: impl Fn() -> bool, transfer: impl Fn()) {
    for _ in 0..200 {
        transfer();
        if done() {
            return;
        }
    }
    panic!("200 transfers did not reach every endpoint");
}

/// One packet of 1500 bytes that may be cut on its way, from the namespace of the calling thread; who echoed it.
fn ask_without_df(n: u8) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
    udp::ask_by(&socket, VIP_V4, &[n; 1472])
}

fn assert_no_drops_but(edge: &Edge<'_>, allowed: &[&str]) {
    let mut drops = edge.metrics().by_label("pointsman_drops_total");
    drops.retain(|reason, _| !allowed.contains(&reason.as_str()));
    assert!(drops.is_empty(), "{drops:?}");
}
