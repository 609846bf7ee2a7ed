//! Endpoints are replaced, and the daemon is restarted, under load between real kernels: no connection breaks whose
//! endpoint lives, and no request fails. Needs root.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Asked, Driver, Edge, Load, SOON, Sessions, Topology, on_every_driver, wait_until};

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];
/// Connections to each VIP.
const SESSIONS: usize = 100;
/// HTTP connections to each VIP that are kept for the next request.
const KEPT: usize = 5;
/// What a machine that is busy with other tests may add to any time here: also that a SYN is lost, which TCP sends again after
/// a second.
const BUSY: Duration = Duration::from_millis(2_500);

on_every_driver!(
    every_endpoint_is_replaced_and_no_connection_breaks,
    connections_go_on_after_a_restart_in_the_middle_of_it,
    no_request_fails_while_every_endpoint_is_replaced,
    no_request_fails_over_a_restart_or_a_crash
);

/// Three endpoints are replaced by three others, one after the other.
fn every_endpoint_is_replaced_and_no_connection_breaks(driver: Driver, queues: u32) {
    let (topology, _servers) = six_endpoints(queues);
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(set(&topology, &["active", "active", "active", "", "", ""]));
    let sessions = VIPS.map(|vip| Sessions::start(&topology.client, vip, SESSIONS));
    let load = Load::start(&topology.client, SocketAddr::new(VIPS[0], 80));
    assert_eq!(tracked(&edge), 0, "nothing is tracked while nothing changes");
    for states in [
        ["draining", "active", "active", "active", "", ""],
        ["draining", "draining", "active", "active", "active", ""],
        ["draining", "draining", "draining", "active", "active", "active"],
    ] {
        edge.apply(set(&topology, &states));
        load.run(20);
        sessions.iter().for_each(|sessions| sessions.go_on("while endpoints are replaced"));
    }
    assert!(tracked(&edge) >= 2 * SESSIONS as u64, "each connection has another slot's endpoint now");
    // New connections go to the new endpoints alone.
    let late = Load::start(&topology.client, SocketAddr::new(VIPS[1], 80));
    late.run(40);
    let names: BTreeSet<String> = late.finish().into_iter().map(|name| name.expect("the new ones answer")).collect();
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["ep3", "ep4", "ep5"]);
    let failed = load.finish().into_iter().filter(Result::is_err).count();
    assert_eq!(failed, 0, "of all requests");
    edge.metrics().assert_balanced();
}

/// The slots' memories outlive the process, though the tracked flows do not.
fn connections_go_on_after_a_restart_in_the_middle_of_it(driver: Driver, queues: u32) {
    let (topology, _servers) = six_endpoints(queues);
    let mut edge = Edge::start(&topology.edge, driver);
    edge.apply(set(&topology, &["active", "active", "active", "", "", ""]));
    let sessions = VIPS.map(|vip| Sessions::start(&topology.client, vip, SESSIONS));
    edge.apply(set(&topology, &["draining", "draining", "active", "active", "", ""]));
    sessions.iter().for_each(|sessions| sessions.go_on("in a handover"));
    assert!(edge.stop().success());
    edge.run();
    sessions.iter().for_each(|sessions| sessions.go_on("after a restart"));
    assert!(edge.kill().code().is_none(), "a signal ended it");
    edge.run();
    sessions.iter().for_each(|sessions| sessions.go_on("after a crash"));
}

/// As a syncer replaces pods: the next one comes, the old one gets no new flows, its server ends its connections, it
/// goes.
fn no_request_fails_while_every_endpoint_is_replaced(driver: Driver, queues: u32) {
    let (topology, _servers) = six_endpoints(queues);
    let edge = Edge::start(&topology.edge, driver);
    let mut states = ["active", "active", "active", "", "", ""];
    edge.apply(set(&topology, &states));
    let (loads, begun) = (Loads::start(&topology), Instant::now());
    loads.run(20);
    let mut kept = 0;
    for number in 0..3 {
        (states[number], states[number + 3]) = ("draining", "active");
        edge.apply(set(&topology, &states));
        loads.run(20);
        let server = &topology.endpoints[number].http;
        kept += server.connections();
        server.end_connections();
        let ended = wait_until(SOON, || server.connections() == 0);
        assert!(ended, "{} connections are left to ep{number}", server.connections());
        states[number] = "";
        edge.apply(set(&topology, &states));
        loads.run(20);
    }
    // Which endpoint has how many is up to their ports; all of them have all.
    assert!(kept > 0, "some connections are kept to an endpoint that goes");
    loads.finish("a rolling update", begun);
    let metrics = edge.metrics();
    let dropped = metrics.by_label("pointsman_drops_total");
    assert!(dropped.is_empty(), "{dropped:?}: a new endpoint gets packets once they can be sent there");
    metrics.assert_balanced();
}

/// What is sent while the daemon is away is sent again by TCP. A request may fail in that time alone: after a clean stop,
/// the node's kernel may tell a client that it has no route to a VIP.
fn no_request_fails_over_a_restart_or_a_crash(driver: Driver, queues: u32) {
    let (topology, _servers) = six_endpoints(queues);
    let mut edge = Edge::start(&topology.edge, driver);
    edge.apply(set(&topology, &["active", "active", "active", "", "", ""]));
    for what in ["a restart", "a crash"] {
        let loads = Loads::start(&topology);
        loads.run(20);
        let left = Instant::now();
        if what == "a crash" {
            edge.kill()
        } else {
            edge.stop()
        };
        edge.run();
        let away = left.elapsed();
        // TCP doubles its waits: what has waited so long for the daemon may have to wait for so long again, and a SYN
        // for a second more, which is its first wait.
        let longest = 2 * away + Duration::from_secs(1) + BUSY;
        loads.run(20);
        let silence = loads.finish(what, left + away);
        println!("the daemon was away for {away:?}");
        assert!(silence < longest, "{what}: no answer for {silence:?}; the daemon was away for {away:?}");
    }
    edge.metrics().assert_balanced();
}

/// HTTP requests to both VIPs, over new connections and over kept ones.
struct Loads(Vec<(&'static str, Load)>);

impl Loads {
    fn start(topology: &Topology) -> Self {
        let to = |vip| SocketAddr::new(vip, 80);
        let new = VIPS.map(|vip| ("new", Load::start(&topology.client, to(vip))));
        let kept = (0..KEPT).flat_map(|_| VIPS).map(|vip| ("kept", Load::keep_alive(&topology.client, to(vip))));
        Self(new.into_iter().chain(kept).collect())
    }

    /// Waits for so many more requests over each.
    fn run(&self, count: u64) {
        self.0.iter().for_each(|(_, load)| load.run(count));
    }

    /// Says how it went, and answers the longest time that one of the loads had no answer. After `back` no request may
    /// have failed, and those that began then must have been answered at once.
    fn finish(self, what: &str, back: Instant) -> Duration {
        let reports: Vec<_> = self.0.into_iter().map(|(kind, load)| (kind, load.report())).collect();
        for kind in ["new", "kept"] {
            let of_kind = || reports.iter().filter(|(of, _)| *of == kind).map(|(_, report)| report);
            let requests: usize = of_kind().map(|report| report.count()).sum();
            let failed = of_kind().flat_map(|report| report.failures()).count();
            let late: Vec<_> = of_kind().flat_map(|report| report.failures_since(back)).collect();
            println!("{what}: {failed} of {requests} requests over {kind} connections failed");
            assert!(late.is_empty(), "{what}: {} of {requests} over {kind} connections failed: {late:?}", late.len());
        }
        let silence = reports.iter().map(|(_, report)| report.longest_silence()).max().unwrap_or_default();
        let slowest = reports.iter().map(|(_, report)| report.slowest_since(back)).max().unwrap_or_default();
        println!("{what}: no answer for {silence:?} at most; the slowest request that began after it took {slowest:?}");
        assert!(slowest < BUSY, "{what}: a request that began after it took {slowest:?}");
        silence
    }
}

fn six_endpoints(queues: u32) -> (Topology, Vec<Asked>) {
    let topology = Topology::with_endpoints(queues, 6, &VIPS);
    let servers = topology.endpoints.iter().map(|endpoint| Asked::start(&endpoint.namespace, &endpoint.name));
    let servers = servers.collect();
    (topology, servers)
}

/// The endpoints in these states; one without a state is not there.
fn set(topology: &Topology, states: &[&str; 6]) -> Value {
    let endpoints = topology.in_states(states);
    let service =
        |name: &str, vip: IpAddr| json!({ "name": name, "vip": vip, "protocol": "tcp", "endpoints": endpoints });
    json!([service("v4", VIPS[0]), service("v6", VIPS[1])])
}

/// How many flows the node tracks.
fn tracked(edge: &Edge<'_>) -> u64 {
    edge.metrics().sum("pointsman_tracked_flows")
}
