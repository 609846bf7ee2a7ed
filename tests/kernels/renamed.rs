//! Endpoints get other names at the same addresses, between real kernels: no connection breaks. Needs root.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use testkit::{Asked, Driver, Edge, Sessions, Topology, skipped};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const CONNECTIONS: usize = 60;

#[test]
fn no_connection_breaks_where_endpoints_are_named_anew() {
    if skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 3, &[VIP]);
    let _servers: Vec<Asked> = topology.endpoints.iter().map(|e| Asked::start(&e.namespace, &e.name)).collect();
    let mut edge = Edge::builder(&topology.edge, Driver::Packet).start();
    let apply = |edge: &Edge<'_>, service: &str, prefix: &str| {
        let mut endpoints = topology.in_states(&["active", "active", "active"]);
        for (endpoint, number) in endpoints.iter_mut().zip(0..) {
            endpoint["name"] = Value::from(format!("{prefix}-{number}"));
        }
        edge.apply(json!([{ "name": service, "vip": VIP, "protocol": "tcp", "endpoints": endpoints }]));
    };
    apply(&edge, "web", "pod");
    let sessions = Sessions::start(&topology.client, VIP, CONNECTIONS);
    apply(&edge, "web", "new");
    sessions.go_on("under new names");
    assert!(edge.metrics().sum("pointsman_tracked_flows") > 0, "another table has come of it");
    // Tracked flows are gone then.
    assert!(edge.stop().success());
    edge.run();
    sessions.go_on("after a restart");
    apply(&edge, "www", "third");
    sessions.go_on("in a service with another name");
    edge.metrics().assert_balanced();
}
