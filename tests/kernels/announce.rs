//! The VIP routes in a real kernel: they come and go with sets, `drain`, `resume`, stops and crashes, nobody else's are
//! touched, and forwarding goes on without them. Needs root.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use pointsman::underlay::announce::VipRoutes;
use serde_json::{Value, json};
use testkit::{Asked, Driver, Edge, Load, Namespace, SOON, Sessions, Topology, http, wait_until};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));

/// The prefixes of the VIP routes, as `ip` writes them.
fn announced(edge: &Namespace) -> BTreeSet<String> {
    let list = |family| edge.run(&["ip", family, "route", "show", "proto", "112", "type", "blackhole"]);
    let prefix = |line: &str| line.split(' ').nth(1).expect("a type and a prefix").to_owned();
    [list("-4"), list("-6")].iter().flat_map(|text| text.lines().map(prefix).collect::<Vec<_>>()).collect()
}

fn prefixes(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(|prefix| (*prefix).to_owned()).collect()
}

/// Every route that is not pointsman's.
fn routes_of_others(edge: &Namespace) -> Vec<String> {
    let all = [["ip", "-4", "route", "show", "table", "all"], ["ip", "-6", "route", "show", "table", "all"]];
    let text = all.map(|command| edge.run(&command)).concat();
    text.lines().filter(|line| !line.contains("proto 112")).map(str::to_owned).collect()
}

fn both() -> BTreeSet<String> {
    prefixes(&["203.0.113.10", "2001:db8:1::10"])
}

fn service(name: &str, vip: &str, port: u16, endpoints: &Value) -> Value {
    json!({ "name": name, "vip": vip, "protocol": "tcp", "ports": [port], "endpoints": endpoints })
}

fn services(endpoints: &Value) -> Value {
    let service = |name: &str, vip: IpAddr| json!({ "name": name, "vip": vip, "endpoints": endpoints });
    json!([service("v4", V4), service("v6", V6)])
}

fn one_endpoint() -> Topology {
    Topology::with_endpoints(1, 1, &[V4, V6])
}

fn start<'a>(topology: &'a Topology, drain_time: &str) -> Edge<'a> {
    start_on(topology, Driver::XdpNative, drain_time)
}

fn start_on<'a>(topology: &'a Topology, driver: Driver, drain_time: &str) -> Edge<'a> {
    let section = format!("[announce]\nroutes = true\ndrain_time = \"{drain_time}\"\n");
    Edge::builder(&topology.edge, driver).sections(&section).start()
}

fn forwards(client: &Namespace) {
    for vip in [V4, V6] {
        let answer = client.inside(|| http::who(SocketAddr::new(vip, 80)));
        assert_eq!(answer.unwrap_or_else(|error| panic!("a request to {vip} failed: {error}")).0, "ep0");
    }
}

#[test]
fn routes_follow_the_set_and_nobody_elses_are_touched() {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint();
    let edge_ns = &topology.edge;
    // A VIP's own prefix as somebody else's route, a route of another program's, and a blackhole by hand.
    edge_ns.run(&["ip", "route", "add", "203.0.113.10/32", "via", "192.0.2.9", "proto", "static"]);
    edge_ns.run(&["ip", "-6", "route", "add", "2001:db8:1::10", "via", "2001:db8:51b::9", "proto", "bird"]);
    edge_ns.run(&["ip", "route", "add", "blackhole", "198.51.100.0/24", "proto", "zebra", "metric", "16777215"]);
    edge_ns.run(&["ip", "route", "add", "blackhole", "203.0.113.77", "proto", "112", "table", "100"]);
    // What an earlier run left: one to take over, one to remove, one of another metric.
    for leftover in [&["203.0.113.10", "metric", "16777215"][..], &["203.0.113.99"], &["203.0.113.10", "metric", "5"]] {
        edge_ns.run(&[&["ip", "route", "add", "blackhole"], leftover, &["proto", "112"]].concat());
    }
    edge_ns.run(&["ip", "-6", "route", "add", "blackhole", "2001:db8:9::/64", "proto", "112"]);
    let before = routes_of_others(edge_ns);

    let mut edge = start(&topology, "0s");
    assert_eq!(announced(edge_ns), prefixes(&[]), "the set is empty, so what an earlier run left is gone");
    let endpoints = json!([topology.endpoints[0].over_ipv6()]);
    let down = json!([{ "name": "ep0", "address": topology.endpoints[0].addresses.1, "state": "down" }]);
    edge.apply(services(&endpoints));
    assert_eq!(announced(edge_ns), both());
    assert_eq!(edge.json("status")["announced"], json!(["203.0.113.10", "2001:db8:1::10"]));
    let way = edge_ns.run(&["ip", "route", "get", "203.0.113.10"]);
    assert!(way.contains("via 192.0.2.9"), "a real route is preferred: {way}");
    let way = edge_ns.run(&["ip", "route", "get", "2001:db8:1::10"]);
    assert!(way.contains("via 2001:db8:51b::9"), "a real route is preferred: {way}");
    forwards(&topology.client);

    // A VIP stays while any of its services has an endpoint that is not down.
    let shared = |web: &Value, other: &Value| {
        json!([service("web", "203.0.113.10", 80, web), service("other", "203.0.113.10", 81, other)])
    };
    edge.apply(shared(&endpoints, &down));
    assert_eq!(announced(edge_ns), prefixes(&["203.0.113.10"]));
    edge.apply(shared(&down, &down));
    assert_eq!(announced(edge_ns), prefixes(&[]));
    edge.apply(json!([
        service("net", "203.0.113.0/26", 80, &endpoints),
        service("v6", "2001:db8:1::/80", 80, &endpoints)
    ]));
    assert_eq!(announced(edge_ns), prefixes(&["203.0.113.0/26", "2001:db8:1::/80"]));

    // Somebody flushes all that he does not know.
    edge_ns.run(&["ip", "route", "flush", "proto", "112", "type", "blackhole"]);
    assert!(wait_until(SOON, || announced(edge_ns).len() == 2), "the routes are put back");

    assert!(edge.stop().success());
    assert_eq!(announced(edge_ns), prefixes(&[]));
    assert_eq!(routes_of_others(edge_ns), before, "nobody else's route has changed");
}

#[test]
fn a_drained_node_forwards_on_with_af_xdp() {
    a_drained_node_forwards_on(Driver::XdpNative);
}

#[test]
fn a_drained_node_forwards_on_with_af_packet() {
    a_drained_node_forwards_on(Driver::Packet);
}

fn a_drained_node_forwards_on(driver: Driver) {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint();
    let mut edge = start_on(&topology, driver, "0s");
    edge.apply(services(&json!([topology.endpoints[0].over_ipv6()])));
    let load = Load::start(&topology.client, SocketAddr::new(V4, 80));
    load.run(20);
    let _server = Asked::start(&topology.endpoints[0].namespace, "ep0");
    let sessions = Sessions::start(&topology.client, V6, 5);

    assert_eq!(edge.json("drain"), json!({ "draining": true, "announced": [], "warnings": [] }));
    assert_eq!(announced(&topology.edge), prefixes(&[]));
    assert_eq!(edge.json("status")["draining"], json!(true));
    load.run(20);
    forwards(&topology.client);
    sessions.go_on("while the node drains");
    edge.apply(services(&json!([topology.endpoints[0].over_ipv4()])));
    assert_eq!(announced(&topology.edge), prefixes(&[]), "a set announces nothing while the node drains");

    assert!(String::from_utf8_lossy(&edge.ask("resume").stdout).contains("2 VIPs are announced"));
    assert_eq!(announced(&topology.edge), both());
    assert_eq!(edge.json("status")["draining"], json!(false));
    sessions.go_on("after the node has resumed");
    load.run(20);
    let failed: Vec<_> = load.finish().into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:?}");
    drop(sessions);
    assert!(edge.stop().success());
}

#[test]
fn thousands_of_vips_are_announced_at_once_beside_a_full_table() {
    if testkit::skipped() {
        return;
    }
    let node = Namespace::new("node");
    let mut batch = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    for n in 0..100_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        writeln!(batch, "route add unreachable 10.{a}.{b}.{c} proto bird").expect("it is the test's own");
    }
    node.run(&["ip", "-batch", batch.path().to_str().expect("a temporary path is text")]);
    let v4 = (0..2_000_u32).map(|n| IpNet::from(IpAddr::from((0xcb00_0000 + n).to_be_bytes())));
    let v6 = (0..2_000_u16).map(|n| IpNet::from(IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, n])));
    let vips: BTreeSet<IpNet> = v4.chain(v6).collect();
    let some: BTreeSet<IpNet> = vips.iter().step_by(2).copied().collect();
    node.inside(|| {
        let mut routes = VipRoutes::open().expect("a socket");
        for wanted in [&vips, &vips, &some, &BTreeSet::new()] {
            let start = Instant::now();
            routes.set(wanted).expect("root may change routes");
            let took = start.elapsed();
            println!("{} routes in {took:?}", wanted.len());
            assert!(took < Duration::from_secs(5), "{took:?}");
            assert_eq!(routes.list().expect("routes can be listed"), *wanted);
        }
    });
}

#[test]
fn sigterm_drains_first_and_a_second_one_ends_at_once() {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint();
    let endpoints = json!([topology.endpoints[0].over_ipv6()]);
    for patient in [true, false] {
        let mut edge = start(&topology, if patient { "5s" } else { "1h" });
        edge.apply(services(&endpoints));
        assert_eq!(announced(&topology.edge), both());
        let asked = Instant::now();
        edge.ask_to_stop();
        assert!(wait_until(SOON, || announced(&topology.edge).is_empty()), "the routes go first");
        forwards(&topology.client);
        assert_eq!(edge.json("status")["draining"], json!(true));
        assert!(edge.lives());
        let said = |start: &str| edge.notified().iter().position(|line| line.starts_with(start));
        assert!(wait_until(SOON, || said("EXTEND_TIMEOUT_USEC=").is_some()), "{:?}", edge.notified());
        assert!(said("STOPPING=1") < said("EXTEND_TIMEOUT_USEC="), "{:?}", edge.notified());
        if !patient {
            edge.ask_to_stop();
        }
        assert!(edge.wait().success());
        assert_eq!(asked.elapsed() >= Duration::from_secs(5), patient, "{:?}", asked.elapsed());
    }
    // Nothing is announced here, so nobody is waited for.
    let mut edge = start(&topology, "1h");
    assert!(edge.stop().success());
    edge.run();
    edge.apply(services(&endpoints));
    edge.ask("drain");
    assert!(edge.stop().success());
}

#[test]
fn a_cleanup_withdraws_what_a_crash_has_left() {
    if testkit::skipped() {
        return;
    }
    let topology = one_endpoint();
    let mut edge = start(&topology, "0s");
    edge.apply(services(&json!([topology.endpoints[0].over_ipv6()])));
    let refused = edge.cleanup();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("the daemon is alive"));
    assert_eq!(announced(&topology.edge), both());

    edge.kill();
    assert_eq!(announced(&topology.edge), both(), "a crash leaves them");
    let others = routes_of_others(&topology.edge);
    assert!(edge.cleanup().status.success());
    assert_eq!(announced(&topology.edge), prefixes(&[]));
    assert_eq!(routes_of_others(&topology.edge), others);
    edge.run();
    assert_eq!(announced(&topology.edge), both(), "the set on disk is announced at the start");
    forwards(&topology.client);
    edge.kill();
    edge.run();
    assert_eq!(announced(&topology.edge), both(), "without a cleanup, they are taken over");
    // A VIP that is an address of the node's stays one.
    topology.edge.add_addresses("lo", &["203.0.113.10/32".to_owned(), "2001:db8:1::10/128".to_owned()]);
    for vip in [V4, V6] {
        let way = || topology.edge.run(&["ip", "route", "get", &vip.to_string()]);
        // The kernel makes the local route of an IPv6 address a little later than the address.
        assert!(wait_until(SOON, || way().contains("local")), "{}", way());
    }
    forwards(&topology.client);
    assert!(edge.stop().success());
}
