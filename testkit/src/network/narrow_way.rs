//! A way with a narrow place: two routers, joined by a link that carries less than the links around it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::namespace::{Namespace, veth};
use super::topology::{EDGE_V4, EDGE_V6, Topology};

/// ```text
/// bridge  ── 1500 ──  near  ── MTU ──  far  ── 1500 ──  a namespace
/// ```
pub struct NarrowWay {
    /// The namespace's addresses, each in a network of its own.
    pub addresses: (Ipv4Addr, Ipv6Addr),
    near: (Ipv4Addr, Ipv6Addr),
    _routers: [Namespace; 2],
}

impl NarrowWay {
    /// Puts a namespace that has no link yet behind a way to the bridge, whose narrow link carries packets of `mtu`
    /// bytes. Ways of one network differ by `number`.
    pub fn new(topology: &Topology, number: u8, namespace: &Namespace, mtu: u32) -> Self {
        let near_addresses =
            (Ipv4Addr::new(192, 0, 2, 200 + number), Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 1, number.into()));
        let (near, far) = (Namespace::new(&format!("near{number}")), Namespace::new(&format!("far{number}")));
        topology.connect(&near, &format!("near{number}"), near_addresses, 1);
        veth((&near, "narrow"), (&far, "narrow"), 1);
        veth((&far, "eth0"), (namespace, "eth0"), 1);
        // A veth receives no more than its own MTU either.
        near.run(&["ip", "link", "set", "narrow", "mtu", &mtu.to_string()]);
        far.run(&["ip", "link", "set", "narrow", "mtu", &mtu.to_string()]);

        let narrow = |host: u8| [format!("198.18.{number}.{host}"), format!("2001:db8:a:{number:x}::{host}")];
        let wide = |host: u8| [format!("198.19.{number}.{host}"), format!("2001:db8:b:{number:x}::{host}")];
        near.add_addresses("narrow", &with_prefixes(narrow(1)));
        far.add_addresses("narrow", &with_prefixes(narrow(2)));
        far.add_addresses("eth0", &with_prefixes(wide(1)));
        namespace.add_addresses("eth0", &with_prefixes(wide(2)));
        for router in [&near, &far] {
            forward(router);
        }
        route(&near, ["203.0.113.0/24", "2001:db8:1::/64"], [EDGE_V4.to_string(), EDGE_V6.to_string()]);
        let [wide_v4, wide_v6] = wide(2);
        route(&near, [&wide_v4, &wide_v6], narrow(2));
        route(&far, ["default", "default"], narrow(1));
        route(namespace, ["default", "default"], wide(1));
        let addresses = (wide_v4.parse().expect("an address"), wide_v6.parse().expect("an address"));
        Self { addresses, near: near_addresses, _routers: [near, far] }
    }

    /// Makes a namespace on the bridge reach the one at the end of the way.
    pub fn route_from(&self, neighbour: &Namespace) {
        let (v4, v6) = (self.addresses.0.to_string(), self.addresses.1.to_string());
        route(neighbour, [&v4, &v6], [self.near.0.to_string(), self.near.1.to_string()]);
    }
}

fn with_prefixes([v4, v6]: [String; 2]) -> [String; 2] {
    [v4 + "/24", v6 + "/64"]
}

fn route(namespace: &Namespace, to: [&str; 2], [via_v4, via_v6]: [String; 2]) {
    namespace.run(&["ip", "-4", "route", "add", to[0], "via", &via_v4]);
    namespace.run(&["ip", "-6", "route", "add", to[1], "via", &via_v6]);
}

/// Makes a router of a namespace, one that answers every packet which is too big: to the kernel all clients and
/// endpoints behind a VIP are one destination, which it would tell only once a second.
fn forward(router: &Namespace) {
    router.sysctl("net/ipv4/ip_forward", "1");
    router.sysctl("net/ipv6/conf/all/forwarding", "1");
    router.sysctl("net/ipv4/icmp_ratelimit", "0");
    router.sysctl("net/ipv6/icmp/ratelimit", "0");
}
