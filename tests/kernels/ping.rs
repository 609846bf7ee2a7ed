//! Who answers a ping of a VIP, by the service's `echo`, small or in fragments. Needs root.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};
use testkit::{Driver, Edge, SOON, Topology, on_every_driver, wait_until};

/// A kind of service, and whether a ping of its VIPs goes to an endpoint.
struct Kind {
    name: &'static str,
    fields: fn() -> Value,
    forwards: bool,
}

const KINDS: [Kind; 5] = [
    Kind { name: "reply", fields: || json!({ "echo": "reply" }), forwards: false },
    Kind { name: "forward", fields: || json!({ "echo": "forward" }), forwards: true },
    Kind { name: "forward-tcp", fields: || json!({ "echo": "forward", "protocol": "tcp" }), forwards: true },
    Kind { name: "auto", fields: || json!({}), forwards: true },
    Kind { name: "auto-tcp", fields: || json!({ "protocol": "tcp", "ports": [80] }), forwards: false },
];

/// How many pings each VIP gets of each size.
const PINGS: u64 = 5;

on_every_driver!(pings_are_answered_by_whom_the_service_says);

fn pings_are_answered_by_whom_the_service_says(driver: Driver, queues: u32) {
    let vips: Vec<IpAddr> = (0..KINDS.len()).flat_map(vips_of).collect();
    let topology = Topology::with_endpoints(queues, 2, &vips);
    // Fragments of IPv6 have to fit the tunnel when they leave the client.
    topology.limit_client(1400);
    let edge = Edge::start(&topology.edge, driver);
    edge.apply(services(&topology));
    for (number, kind) in KINDS.iter().enumerate() {
        for vip in vips_of(number) {
            // A ping of 3008 bytes is three packets of 1400.
            let sizes: &[(u32, u64)] =
                if kind.forwards { &[(56, 1), (1200, 1), (3000, 3)] } else { &[(56, 1), (1200, 1)] };
            for &(size, packets) in sizes {
                let before = counts(&edge);
                ping(&topology, vip, size);
                let due = if kind.forwards { [PINGS * packets, 0] } else { [0, PINGS] };
                let due = [before[0] + due[0], before[1] + due[1]];
                let counted = wait_until(SOON, || counts(&edge) == due);
                assert!(counted, "{} at {vip}, {size} bytes: {:?}, not {due:?}", kind.name, counts(&edge));
            }
        }
    }
    let metrics = edge.metrics();
    assert_eq!(metrics.sum("pointsman_drops_total"), 0, "{:?}", metrics.by_label("pointsman_drops_total"));
    metrics.assert_balanced();
}

fn vips_of(number: usize) -> [IpAddr; 2] {
    let host = 1 + number as u8;
    [Ipv4Addr::new(203, 0, 113, host).into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host.into()).into()]
}

/// Both VIPs of every kind, with an endpoint over IPv6 and one over IPv4.
fn services(topology: &Topology) -> Value {
    let endpoints = json!([topology.endpoints[0].over_ipv6(), topology.endpoints[1].over_ipv4()]);
    let both = |(number, kind): (usize, &Kind)| {
        let endpoints = endpoints.clone();
        let name = kind.name;
        let fields = (kind.fields)();
        vips_of(number).map(move |vip| {
            let mut service = fields.clone();
            service["name"] = format!("{name} {vip}").into();
            service["vip"] = json!(vip);
            service["endpoints"] = endpoints.clone();
            service
        })
    };
    KINDS.iter().enumerate().flat_map(both).collect()
}

/// The client's ping looks at every byte that comes back, and says where one is wrong.
fn ping(topology: &Topology, vip: IpAddr, size: u32) {
    let (count, size, vip) = (PINGS.to_string(), size.to_string(), vip.to_string());
    let words = topology.client.run(&["ping", "-c", &count, "-s", &size, "-i", "0.05", "-W", "5", &vip]);
    assert!(words.contains(" 0% packet loss") && !words.contains("wrong"), "{words}");
}

/// Packets sent to endpoints, and packets answered.
fn counts(edge: &Edge<'_>) -> [u64; 2] {
    let metrics = edge.metrics();
    [metrics.sum("pointsman_sent_packets_total"), metrics.sum("pointsman_answered_packets_total")]
}
