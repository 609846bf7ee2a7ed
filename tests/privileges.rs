//! The daemon does with the capabilities that the systemd unit leaves it, on every driver. Needs root.

mod netns;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netns::{Driver, Edge, Topology, http};
use serde_json::json;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

/// The unit's own words, as setpriv wants them.
fn bounding_set() -> String {
    let unit = include_str!("../systemd/pointsman.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("the unit has one");
    let names = line.split_whitespace().map(|name| name.trim_start_matches("CAP_").to_lowercase());
    names.fold("--bounding-set=-all".to_owned(), |set, name| format!("{set},+{name}"))
}

#[test]
fn the_units_capabilities_are_enough() {
    if netns::skipped() {
        return;
    }
    let mut topology = Topology::new(1);
    topology.add_endpoint(&[VIP]);
    for driver in [Driver::XdpNative, Driver::XdpGeneric, Driver::Packet] {
        let wrapper = ["setpriv", "--inh-caps=-all", &bounding_set()];
        let mut edge = Edge::start_by(&wrapper, &topology.edge, driver);
        edge.apply(json!([{ "name": "web", "vip": VIP, "endpoints": [topology.endpoints[0].over_ipv6()] }]));
        let answer = topology.client.inside(|| http::who(SocketAddr::new(VIP, 80)));
        assert_eq!(answer.map(|(name, _)| name).ok().as_deref(), Some("ep0"), "with {driver:?}");
        edge.kill();
        edge.run();
        assert!(edge.stop().success(), "{driver:?} is taken over, and taken away, with the same capabilities");
    }
}
