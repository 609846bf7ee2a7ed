//! Endpoints are replaced under load, between real kernels: no connection breaks whose endpoint lives, and no request fails.
//! Needs root.

mod netns;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netns::{Asked, Driver, Edge, Load, Sessions, Topology, on_every_driver};
use serde_json::{Value, json};

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];
/// Connections to each VIP.
const SESSIONS: usize = 100;

on_every_driver!(
    every_endpoint_is_replaced_and_no_connection_breaks,
    connections_go_on_after_a_restart_in_the_middle_of_it
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

fn six_endpoints(queues: u32) -> (Topology, Vec<Asked>) {
    let mut topology = Topology::new(queues);
    (0..6).for_each(|_| topology.add_endpoint(&VIPS));
    let servers = topology.endpoints.iter().map(|endpoint| Asked::start(&endpoint.namespace, &endpoint.name));
    let servers = servers.collect();
    (topology, servers)
}

/// The endpoints in these states; one without a state is not there.
fn set(topology: &Topology, states: &[&str; 6]) -> Value {
    let there = topology.endpoints.iter().zip(states).filter(|(_, state)| !state.is_empty());
    let endpoints: Vec<Value> = there
        .map(|(endpoint, state)| {
            let mut entry = endpoint.over_ipv6();
            entry["state"] = (*state).into();
            entry
        })
        .collect();
    let service =
        |name: &str, vip: IpAddr| json!({ "name": name, "vip": vip, "protocol": "tcp", "endpoints": endpoints });
    json!([service("v4", VIPS[0]), service("v6", VIPS[1])])
}

/// How many flows the node tracks.
fn tracked(edge: &Edge<'_>) -> u64 {
    edge.metrics().sum("pointsman_tracked_flows")
}
