//! Tunnelled packets read by a stock kernel: Debian's user-mode-linux with its own GRE devices is the endpoint.
//! Needs root, user-mode-linux, busybox-static and cpio (`make deps`).

mod netns;
#[path = "stock_kernel/mod.rs"]
mod stock;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netns::{CLIENT_V4, CLIENT_V6, Driver, Edge, Topology, http};
use serde_json::{Value, json};
use stock::StockKernel;

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];
const ENDPOINT_V4: &str = "192.0.2.50";
const ENDPOINT_V6: &str = "2001:db8:51b::50";

#[test]
fn reads_gre_over_ipv6() {
    let add = format!("ip link add gre type ip6gre local {ENDPOINT_V6} remote ::");
    carries_tcp_and_ping(&add, "lo", ENDPOINT_V6, json!({ "type": "gre" }));
}

#[test]
fn reads_gre_over_ipv4() {
    let add = format!("ip link add gre type gre local {ENDPOINT_V4} remote any");
    carries_tcp_and_ping(&add, "lo", ENDPOINT_V4, json!({ "type": "gre" }));
}

#[test]
fn reads_gre_with_a_key_over_ipv6() {
    let add = format!("ip link add gre type ip6gre local {ENDPOINT_V6} remote :: key 7");
    carries_tcp_and_ping(&add, "lo", ENDPOINT_V6, json!({ "type": "gre", "key": 7 }));
}

#[test]
fn reads_gre_with_a_key_over_ipv4() {
    let add = format!("ip link add gre type gre local {ENDPOINT_V4} remote any key 7");
    carries_tcp_and_ping(&add, "lo", ENDPOINT_V4, json!({ "type": "gre", "key": 7 }));
}

#[test]
fn serves_vips_on_the_tunnel_device_itself() {
    let add = format!("ip link add gre type ip6gre local {ENDPOINT_V6} remote ::");
    carries_tcp_and_ping(&add, "gre", ENDPOINT_V6, json!({ "type": "gre" }));
}

/// Boots a stock kernel whose device `gre` is made by the line `add` and which has the VIPs on `vip_link`, forwards to
/// it, and talks to it as a client would.
fn carries_tcp_and_ping(add: &str, vip_link: &str, endpoint: &str, encap: Value) {
    if stock::skipped() {
        return;
    }
    let topology = Topology::new(1);
    let mut kernel = StockKernel::boot(topology.fabric());
    for line in [
        &format!("ip address add {ENDPOINT_V4}/24 dev vec0"),
        &format!("ip address add {ENDPOINT_V6}/64 dev vec0 nodad"),
        add,
        "ip link set gre up",
        &format!("ip address add {}/32 dev {vip_link}", VIPS[0]),
        &format!("ip address add {}/128 dev {vip_link} nodad", VIPS[1]),
        "httpd -p 80 -h /www",
    ] {
        kernel.run(line);
    }
    let edge = Edge::start(&topology.edge, Driver::XdpNative);
    let endpoints = json!([{ "name": "stock", "address": endpoint }]);
    let service = |name: &str, vip| json!({ "name": name, "vip": vip, "encap": encap, "endpoints": endpoints });
    edge.apply(json!([service("v4", VIPS[0]), service("v6", VIPS[1])]));
    for (vip, client) in VIPS.into_iter().zip([IpAddr::V4(CLIENT_V4), IpAddr::V6(CLIENT_V6)]) {
        talks(&topology, &mut kernel, vip, client);
    }
    edge.metrics().assert_balanced();
}

/// HTTP with the client's own address seen, an upload of packets that are too big for the tunnel at first, and pings
/// that the stock kernel, not the node, answers.
fn talks(topology: &Topology, kernel: &mut StockKernel, vip: IpAddr, client: IpAddr) {
    let server = SocketAddr::new(vip, 80);
    let seen = topology.client.inside(|| http::get(server, "/cgi-bin/who")).expect("the stock kernel answers");
    let seen = String::from_utf8_lossy(&seen).replace("::ffff:", "");
    assert_eq!(seen.trim(), format!("stock [{client}]"), "over {vip}");

    let upload = vec![b'x'; 1_000_000];
    let answer = topology.client.inside(|| http::post(server, "/cgi-bin/who", &upload)).expect("the upload arrives");
    assert_eq!(String::from_utf8_lossy(&answer).trim(), "stock 1000000", "over {vip}");

    let before = tunnelled(kernel);
    topology.client.run(&["ping", "-c", "5", "-i", "0.2", "-W", "2", &vip.to_string()]);
    assert_eq!(tunnelled(kernel), before + 5, "each ping of {vip} came through the tunnel");
}

/// How many packets the tunnel device has received.
fn tunnelled(kernel: &mut StockKernel) -> u64 {
    kernel.run("cat /sys/class/net/gre/statistics/rx_packets").trim().parse().expect("a number")
}
