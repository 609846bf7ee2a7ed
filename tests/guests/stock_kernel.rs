//! Tunnelled packets read by a stock kernel: Debian's, booted in qemu, with its own tunnel devices is the endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pointsman::endpoint::{self, DEFAULT_OVERHEAD, EndpointOptions};
use serde_json::{Value, json};
use testkit::guest::{self, EndpointGuest, Kernel, Turn};
use testkit::{CLIENT_V4, CLIENT_V6, Driver, Edge, Topology, http};

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];
const ENDPOINT_V4: &str = "192.0.2.50";
const ENDPOINT_V6: &str = "2001:db8:51b::50";

/// How the stock kernel is set up.
struct Setup {
    /// Their names, and what `ip link add NAME type` takes for them.
    devices: &'static [(&'static str, &'static str)],
    /// What else is run in its shell.
    lines: &'static [&'static str],
    /// Which device has the VIPs.
    vip_link: &'static str,
}

const PLAIN: Setup = Setup { devices: &[], lines: &[], vip_link: "lo" };

const GRE_V6: Setup = Setup { devices: &[("gre", "ip6gre local 2001:db8:51b::50 remote ::")], ..PLAIN };
const GRE_V4: Setup = Setup { devices: &[("gre", "gre local 192.0.2.50 remote any")], ..PLAIN };
const KEYED_GRE_V6: Setup = Setup { devices: &[("gre", "ip6gre local 2001:db8:51b::50 remote :: key 7")], ..PLAIN };
const KEYED_GRE_V4: Setup = Setup { devices: &[("gre", "gre local 192.0.2.50 remote any key 7")], ..PLAIN };

const IPIP_V6: Setup = Setup { devices: &[("any", "ip6tnl mode any local 2001:db8:51b::50 remote ::")], ..PLAIN };
const IPIP_V4: Setup = Setup {
    devices: &[("ipip", "ipip local 192.0.2.50 remote any"), ("sit", "sit local 192.0.2.50 remote any")],
    ..PLAIN
};

/// What comes out of GUE goes to devices for IPIP.
const GUE_V6: Setup = Setup { lines: &["ip -6 fou add port 6080 gue"], ..IPIP_V6 };
const GUE_V4: Setup = Setup {
    devices: &[("any", "sit mode any local 192.0.2.50 remote any")],
    lines: &["ip fou add port 6080 gue"],
    ..PLAIN
};

/// A packet whose label was popped comes in by `lo`; so it does for the explicit nulls, which need no route.
const MPLS: Setup = Setup {
    lines: &[
        "echo 1000 > /proc/sys/net/mpls/platform_labels",
        "ip -f mpls route add 100 dev lo",
        "for input in /proc/sys/net/mpls/conf/*/input; do echo 1 > $input; done",
    ],
    ..PLAIN
};
const MPLS_OVER_GRE_V6: Setup = Setup { devices: GRE_V6.devices, ..MPLS };
const MPLS_OVER_GRE_V4: Setup = Setup { devices: GRE_V4.devices, ..MPLS };

#[test]
fn reads_gre_over_ipv6() {
    carries_tcp_and_ping(&GRE_V6, ENDPOINT_V6, json!({ "type": "gre" }));
}

#[test]
fn reads_gre_over_ipv4() {
    carries_tcp_and_ping(&GRE_V4, ENDPOINT_V4, json!({ "type": "gre" }));
}

#[test]
fn reads_gre_with_a_key_over_ipv6() {
    carries_tcp_and_ping(&KEYED_GRE_V6, ENDPOINT_V6, json!({ "type": "gre", "key": 7 }));
}

#[test]
fn reads_gre_with_a_key_over_ipv4() {
    carries_tcp_and_ping(&KEYED_GRE_V4, ENDPOINT_V4, json!({ "type": "gre", "key": 7 }));
}

#[test]
fn serves_vips_on_the_tunnel_device_itself() {
    carries_tcp_and_ping(&Setup { vip_link: "gre", ..GRE_V6 }, ENDPOINT_V6, json!({ "type": "gre" }));
}

#[test]
fn reads_ipip_over_ipv6() {
    carries_tcp_and_ping(&IPIP_V6, ENDPOINT_V6, json!({ "type": "ipip" }));
}

#[test]
fn reads_ipip_over_ipv4() {
    carries_tcp_and_ping(&IPIP_V4, ENDPOINT_V4, json!({ "type": "ipip" }));
}

#[test]
fn reads_gue_over_ipv6() {
    carries_tcp_and_ping(&GUE_V6, ENDPOINT_V6, json!({ "type": "gue" }));
}

#[test]
fn reads_gue_without_a_checksum_over_ipv6() {
    carries_tcp_and_ping(&GUE_V6, ENDPOINT_V6, json!({ "type": "gue", "checksum": false }));
}

#[test]
fn reads_gue_over_ipv4() {
    carries_tcp_and_ping(&GUE_V4, ENDPOINT_V4, json!({ "type": "gue" }));
}

#[test]
fn reads_gue_with_a_checksum_and_a_port_over_ipv4() {
    let setup = Setup { lines: &["ip fou add port 666 gue"], ..GUE_V4 };
    carries_tcp_and_ping(&setup, ENDPOINT_V4, json!({ "type": "gue", "port": 666, "checksum": true }));
}

#[test]
fn reads_mpls_on_the_link() {
    carries_tcp_and_ping(&MPLS, ENDPOINT_V6, json!({ "type": "mpls", "label": 100 }));
}

#[test]
fn reads_mpls_with_explicit_null_on_the_link() {
    carries_tcp_and_ping(&MPLS, ENDPOINT_V4, json!({ "type": "mpls" }));
}

#[test]
fn reads_mpls_over_gre_over_ipv6() {
    carries_tcp_and_ping(&MPLS_OVER_GRE_V6, ENDPOINT_V6, json!({ "type": "mpls", "label": 100, "over": "gre" }));
}

#[test]
fn reads_mpls_with_explicit_null_over_gre_over_ipv4() {
    carries_tcp_and_ping(&MPLS_OVER_GRE_V4, ENDPOINT_V4, json!({ "type": "mpls", "over": "gre" }));
}

#[test]
fn the_printed_commands_make_an_endpoint() {
    if guest::skipped(&Kernel::stock()) {
        return;
    }
    let shared = EndpointGuest::shared();
    let mut kernel = EndpointGuest::turn(&shared);
    give_addresses(&mut kernel);
    kernel.run(&format!("ip route add default via {CLIENT_V4} dev eth0"));
    kernel.run(&format!("ip route add default via {CLIENT_V6} dev eth0"));
    let (interface, vips) = ("eth0".into(), VIPS.into());
    let options = EndpointOptions { interface, vips, netns: None, gue_port: 6080, overhead: DEFAULT_OVERHEAD };
    for line in endpoint::equivalent_commands(&options) {
        // The kernel has its own devices, as loading the modules makes them.
        if line.starts_with('#') || line.starts_with("modprobe") || line.starts_with("ip link add") {
            continue;
        }
        kernel.run(&line.replace("vip-gre6", "ip6gre0").replace("vip-gre4", "gre0"));
    }
    let devices = [("gre0", ""), ("ip6gre0", "")];
    serves(&mut kernel, &devices, ENDPOINT_V6, json!({ "type": "gre" }));
}

/// Boots a stock kernel that is set up like this, forwards to it, and talks to it as a client would.
fn carries_tcp_and_ping(setup: &Setup, endpoint: &str, encap: Value) {
    if guest::skipped(&Kernel::stock()) {
        return;
    }
    let shared = EndpointGuest::shared();
    let mut kernel = EndpointGuest::turn(&shared);
    give_addresses(&mut kernel);
    set_up(&mut kernel, setup);
    let devices: &[_] = if setup.devices.is_empty() { &[("lo", "")] } else { setup.devices };
    serves(&mut kernel, devices, endpoint, encap);
}

fn give_addresses(kernel: &mut Turn<'_>) {
    kernel.run(&format!("ip address add {ENDPOINT_V4}/24 dev eth0"));
    kernel.run(&format!("ip address add {ENDPOINT_V6}/64 dev eth0 nodad"));
    // With room for GUE: full segments must fit every tunnel.
    kernel.run("ip -4 route replace $(ip -4 route show 192.0.2.0/24) dev eth0 advmss 1408");
    kernel.run("ip -6 route replace $(ip -6 route show 2001:db8:51b::/64) dev eth0 advmss 1388");
}

fn set_up(kernel: &mut Turn<'_>, setup: &Setup) {
    for (name, kind) in setup.devices {
        kernel.run(&format!("ip link add {name} type {kind} && ip link set {name} up"));
    }
    for line in setup.lines {
        kernel.run(line);
    }
    kernel.run(&format!("ip address add {}/32 dev {}", VIPS[0], setup.vip_link));
    kernel.run(&format!("ip address add {}/128 dev {} nodad", VIPS[1], setup.vip_link));
}

/// Forwards to the stock kernel, and talks to it; what came out of the tunnel came in by one of these devices.
fn serves(kernel: &mut Turn<'_>, devices: &[(&str, &str)], endpoint: &str, encap: Value) {
    kernel.run("httpd -p 80 -h /www");
    let topology = kernel.topology();
    let edge = Edge::start(&topology.edge, Driver::XdpNative);
    let endpoints = json!([{ "name": "stock", "address": endpoint }]);
    let service = |name: &str, vip| json!({ "name": name, "vip": vip, "encap": encap, "endpoints": endpoints });
    edge.apply(json!([service("v4", VIPS[0]), service("v6", VIPS[1])]));
    for (vip, client) in VIPS.into_iter().zip([IpAddr::V4(CLIENT_V4), IpAddr::V6(CLIENT_V6)]) {
        talks(&topology, vip, client);
        pings(kernel, devices, vip);
    }
    edge.metrics().assert_balanced();
}

/// HTTP with the client's own address seen, and an upload in segments as large as the tunnel carries.
fn talks(topology: &Topology, vip: IpAddr, client: IpAddr) {
    let server = SocketAddr::new(vip, 80);
    let seen = topology.client.inside(|| http::get(server, "/cgi-bin/who")).expect("the stock kernel answers");
    let seen = String::from_utf8_lossy(&seen).replace("::ffff:", "");
    assert_eq!(seen.trim(), format!("stock [{client}]"), "over {vip}");

    let upload = vec![b'x'; 1_000_000];
    let answer = topology.client.inside(|| http::post(server, "/cgi-bin/who", &upload)).expect("the upload arrives");
    assert_eq!(String::from_utf8_lossy(&answer).trim(), "stock 1000000", "over {vip}");
}

/// Pings that the stock kernel, not the node, answers.
fn pings(kernel: &mut Turn<'_>, devices: &[(&str, &str)], vip: IpAddr) {
    let before = received(kernel, devices);
    kernel.topology().client.run(&["ping", "-c", "5", "-i", "0.2", "-W", "2", &vip.to_string()]);
    assert_eq!(received(kernel, devices), before + 5, "each ping of {vip} came through the tunnel");
}

/// How many packets came in by these devices.
fn received(kernel: &mut Turn<'_>, devices: &[(&str, &str)]) -> u64 {
    let mut received = |device: &str| -> u64 {
        let said = kernel.run(&format!("cat /sys/class/net/{device}/statistics/rx_packets"));
        said.trim().parse().expect("a number")
    };
    devices.iter().map(|(device, _)| received(device)).sum()
}
