//! Real clients, real kernels and real servers, with the daemon between them: TCP, UDP and ping over VIPs of both
//! families, tunnels of both families, on every driver. Needs root.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};
use testkit::{CLIENT_V4, CLIENT_V6, Driver, Edge, Load, SOON, Topology, http, on_every_driver, udp, wait_until};

const WEB_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const WEB_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));
/// VIPs of services that take every protocol.
const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x77));

on_every_driver!(
    carries_tcp_both_ways,
    carries_udp_and_ping_and_counts_each_packet,
    moves_new_connections_when_an_endpoint_goes
);

fn carries_tcp_both_ways(driver: Driver, queues: u32) {
    let topology = three_endpoints(queues);
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(services(&entries(&topology)));
    for (vip, client) in [(WEB_V4, IpAddr::V4(CLIENT_V4)), (WEB_V6, IpAddr::V6(CLIENT_V6))] {
        let server = SocketAddr::new(vip, 80);
        let who = topology.client.inside(|| (0..60).map(|_| http::who(server)).collect::<io::Result<Vec<_>>>());
        let who = who.unwrap_or_else(|error| panic!("a request to {vip} failed: {error}"));
        assert!(who.iter().all(|(_, seen)| *seen == client.to_string()), "the endpoint sees the client's own address");
        assert_all_share(&count(who.into_iter().map(|(name, _)| name)));

        let down = topology.client.inside(|| http::get(server, "/bytes/1000000")).expect("a large answer arrives");
        assert_eq!(down.len(), 1_000_000);
        let up =
            topology.client.inside(|| http::post(server, "/", &vec![0; 1_000_000])).expect("a large request arrives");
        assert!(up.ends_with(b" 1000000\n"), "{}", String::from_utf8_lossy(&up));
    }
    edge.metrics().assert_balanced();
    // In generic mode the kernel gives all frames to queue 0 of a veth.
    if queues > 1 && driver != Driver::XdpGeneric {
        assert_every_worker_received(&edge, queues);
    }
}

fn carries_udp_and_ping_and_counts_each_packet(driver: Driver, queues: u32) {
    let topology = three_endpoints(queues);
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(services(&entries(&topology)));
    for vip in [ANY_V4, ANY_V6] {
        let names =
            topology.client.inside(|| (0..60).map(|n| udp::ask(vip, &vec![n; 1200])).collect::<io::Result<Vec<_>>>());
        assert_all_share(&count(names.unwrap_or_else(|error| panic!("a datagram to {vip} was lost: {error}"))));
        topology.client.run(&["ping", "-c", "10", "-i", "0.05", "-W", "2", &vip.to_string()]);
    }
    // Nothing here is ever sent twice, so every number is known.
    wait_until(SOON, || edge.metrics().sum("pointsman_sent_packets_total") >= 140);
    let metrics = edge.metrics();
    assert_eq!(metrics.sum("pointsman_received_packets_total"), 140);
    assert_eq!(metrics.sum("pointsman_sent_packets_total"), 140);
    metrics.assert_balanced();
    for service in ["any4", "any6"] {
        assert_eq!(metrics.sum_of("pointsman_service_packets_total", service), 70);
        assert_eq!(metrics.sum_of("pointsman_endpoint_packets_total", service), 70);
    }
    assert_eq!(edge.json("status")["revision"], "test");
}

/// Without warning: connections made after `apply` has answered go to the endpoints that are left.
fn moves_new_connections_when_an_endpoint_goes(driver: Driver, queues: u32) {
    let topology = three_endpoints(queues);
    let edge = Edge::start(&topology.edge, driver);
    let [ep0, ep1, ep2] = entries(&topology);
    edge.apply(services(&[ep0.clone(), ep1, ep2.clone()]));
    let during = Load::start(&topology.client, SocketAddr::new(WEB_V4, 80));
    during.run(50);
    edge.apply(services(&[ep0, ep2]));
    drop(during);
    let after = Load::start(&topology.client, SocketAddr::new(WEB_V4, 80));
    after.run(60);
    let shares = count(after.finish().into_iter().map(|result| result.expect("the endpoints that are left answer")));
    assert_eq!(shares.keys().collect::<Vec<_>>(), ["ep0", "ep2"]);
}

fn three_endpoints(queues: u32) -> Topology {
    Topology::with_endpoints(queues, 3, &[WEB_V4, WEB_V6, ANY_V4, ANY_V6])
}

/// The entries of the three endpoints: one service reaches them over IPv6 and IPv4.
fn entries(topology: &Topology) -> [Value; 3] {
    let endpoints = &topology.endpoints;
    [endpoints[0].over_ipv6(), endpoints[1].over_ipv4(), endpoints[2].over_ipv6()]
}

fn services(endpoints: &[Value]) -> Value {
    json!([
        { "name": "web4", "vip": WEB_V4, "protocol": "tcp", "ports": [80], "endpoints": endpoints },
        { "name": "web6", "vip": WEB_V6, "protocol": "tcp", "ports": [80], "endpoints": endpoints },
        { "name": "any4", "vip": ANY_V4, "endpoints": endpoints },
        { "name": "any6", "vip": ANY_V6, "endpoints": endpoints },
    ])
}

fn count(names: impl IntoIterator<Item = String>) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for name in names {
        *shares.entry(name).or_default() += 1;
    }
    shares
}

/// A third of at least 50 flows is due to each; fewer than 3 would come by chance less than once in a million runs.
fn assert_all_share(shares: &BTreeMap<String, u32>) {
    let all = ["ep0", "ep1", "ep2"].iter().all(|&name| shares.get(name).is_some_and(|&share| share >= 3));
    assert!(all && shares.len() == 3, "not every endpoint got its share: {shares:?}");
}

fn assert_every_worker_received(edge: &Edge<'_>, queues: u32) {
    let received = edge.metrics().each("pointsman_received_packets_total");
    let busy = received.iter().filter(|&&received| received > 0).count();
    assert_eq!(busy, queues as usize, "the flows spread over all queues, and each has its worker");
}
