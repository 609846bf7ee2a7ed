//! Several edge nodes that announce the same VIPs to a router by BGP: real BIRD at all of them, as shipped in
//! `conf/bird.conf.example`. Needs root, and BIRD.

mod netns;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use netns::bird::Bird;
use netns::{Asked, Driver, EDGE_V4, EDGE_V6, Edge, Load, Namespace, SOON, Sessions, Topology, wait_until};
use serde_json::json;

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];
const ROUTER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 2, 254), Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 0xfe));
const SECOND: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(192, 0, 2, 2), Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 2));
const EXAMPLE: &str = include_str!("../conf/bird.conf.example");
/// 5 * 300 ms. The example's factor is 3; on a machine that is busy with other tests, BIRD may have to wait for longer.
const DETECTION: Duration = Duration::from_millis(1_500);
/// Connections of each address family that stay open all the time.
const SESSIONS: usize = 100;

#[test]
fn the_example_for_bird_is_valid() {
    if Bird::is_missing() {
        return;
    }
    let output = Command::new("bird").args(["-p", "-c", "conf/bird.conf.example"]).output().expect("it is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn traffic_leaves_a_node_that_drains_or_dies_and_no_connection_breaks() {
    if netns::skipped() || Bird::is_missing() {
        return;
    }
    let mut topology = Topology::new(1);
    (0..3).for_each(|_| topology.add_endpoint(&VIPS));
    let router = router(&topology);
    let second_ns = topology.add_neighbour("second", SECOND);
    let mut first = start(&topology.edge, (EDGE_V4, EDGE_V6));
    let mut second = start(&second_ns, SECOND);
    let endpoints: Vec<_> = topology.endpoints.iter().map(netns::Endpoint::over_ipv6).collect();
    for edge in [&first, &second] {
        let service = |name: &str, vip: IpAddr| json!({ "name": name, "vip": vip, "endpoints": endpoints });
        edge.apply(json!([service("v4", VIPS[0]), service("v6", VIPS[1])]));
    }
    let tables = [&first, &second].map(|edge| edge.json("status")["services"].clone());
    assert_eq!(tables[0], tables[1], "every node makes the same choice");
    let example = EXAMPLE.replace("multiplier 3;", "multiplier 5;");
    let router_bird = Bird::start(&router, include_str!("data/bird-router.conf"));
    let _first_bird = Bird::start(&topology.edge, &example);
    let second_bird = Bird::start(&second_ns, &example.replace("router id 192.0.2.1;", "router id 192.0.2.2;"));
    assert!(wait_until(2 * SOON, || ways(&router) == [2, 2]), "{}", router_bird.ask("show route all"));
    let up = || router_bird.ask("show bfd sessions").matches(" Up ").count() == 4;
    assert!(wait_until(SOON, up), "{}", router_bird.ask("show bfd sessions"));

    let servers = topology.endpoints.iter().map(|endpoint| Asked::start(&endpoint.namespace, &endpoint.name));
    let _servers: Vec<Asked> = servers.collect();
    let sessions = VIPS.map(|vip| Sessions::start(&topology.client, vip, SESSIONS));
    for of_family in &sessions {
        assert_eq!(of_family.names().len(), 3, "every endpoint has some: {:?}", of_family.names());
    }
    let go_on = |when| sessions.iter().for_each(|of_family| of_family.go_on(when));
    let loads = VIPS.map(|vip| Load::start(&topology.client, SocketAddr::new(vip, 80)));
    let run = |count| loads.iter().for_each(|load| load.run(count));
    let (before_first, before_second) = (received(&first), received(&second));
    run(50);
    go_on("while both nodes forward");
    assert!(received(&first) > before_first && received(&second) > before_second, "both nodes get traffic");

    first.ask("drain");
    assert!(wait_until(SOON, || ways(&router) == [1, 1]), "the router takes the other way");
    go_on("after one node drained");
    let still = settled(&first);
    run(100);
    go_on("while one node drains");
    assert_eq!(received(&first), still, "nothing comes to the drained node");

    first.ask("resume");
    assert!(wait_until(SOON, || ways(&router) == [2, 2]), "the router takes both ways again");
    go_on("after it has resumed");
    run(50);
    assert!(received(&first) > still, "the node gets traffic again");

    // The wire first: a process that is killed on a machine that lives has its TCP connections closed by the kernel, and
    // the router would hear of it from there.
    topology.fabric().run(&["ip", "link", "set", "second", "down"]);
    let died = Instant::now();
    second_bird.kill();
    second.kill();
    assert!(wait_until(SOON, || ways(&router) == [1, 1]), "the router takes the other way");
    let took = died.elapsed();
    go_on("after one node died");
    run(100);
    let said = router_bird.ask("show protocols all second4");
    assert!(said.contains("BFD"), "{said}");
    println!("the router took the other way {took:?} after the death");
    // Without BFD it would be BGP's hold time, four minutes.
    assert!(took < 2 * DETECTION, "{took:?}");

    let results: Vec<_> = loads.into_iter().flat_map(Load::finish).collect();
    let failed: Vec<_> = results.iter().filter(|result| result.is_err()).collect();
    assert!(failed.is_empty(), "{} of {} requests failed: {failed:?}", failed.len(), results.len());
    println!("{} connections and {} requests: none failed", sessions.len() * SESSIONS, results.len());
    drop(sessions);
    first.metrics().assert_balanced();
    assert!(first.stop().success());
}

/// A router on the bridge, through which the client's packets to the VIPs go.
fn router(topology: &Topology) -> Namespace {
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

fn start(namespace: &Namespace, addresses: (Ipv4Addr, Ipv6Addr)) -> Edge<'_> {
    Edge::start_with(namespace, Driver::XdpNative, addresses, "[announce]\nroutes = true\n")
}

/// How many ways the router has to each of the VIPs.
fn ways(router: &Namespace) -> [usize; 2] {
    VIPS.map(|vip| {
        let family = if vip.is_ipv4() { "-4" } else { "-6" };
        router.run(&["ip", family, "route", "show", &vip.to_string()]).matches("via ").count()
    })
}

fn received(edge: &Edge<'_>) -> u64 {
    edge.metrics().sum("pointsman_received_packets_total")
}

/// Waits until no packet comes any more that was on its way, and answers how many have come.
fn settled(edge: &Edge<'_>) -> u64 {
    let mut last = received(edge);
    let still = wait_until(SOON, || {
        let before = std::mem::replace(&mut last, received(edge));
        before == last
    });
    assert!(still, "packets still come to the drained node");
    last
}
