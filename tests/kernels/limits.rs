//! What a node lacks to send what it should is named in `status`, with what to do, and no set is refused for it. Needs root.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};
use testkit::guest::{Feature, run_here_or_in_a_guest};
use testkit::{Driver, EDGE_V6, Edge, Namespace, SOON, Topology, udp, wait_until};

const WEB_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const WEB_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));

fn services(topology: &Topology) -> Value {
    let endpoints = json!([topology.endpoints[0].over_ipv6()]);
    json!([{ "name": "v4", "vip": WEB_V4, "endpoints": endpoints }, { "name": "v6", "vip": WEB_V6, "endpoints": endpoints }])
}

/// The problems of a kind: the service and the sentence of each.
fn problems(edge: &Edge<'_>, kind: &str) -> Vec<(Value, String)> {
    let status = edge.json("status");
    let all = status["problems"].as_array().expect("a list").iter().filter(|problem| problem["kind"] == kind);
    all.map(|one| (one["service"].clone(), one["problem"].as_str().expect("a sentence").to_owned())).collect()
}

/// The one problem of a kind, which `status` shows first of all.
fn shown(edge: &Edge<'_>, kind: &str) -> String {
    assert!(wait_until(SOON, || !problems(edge, kind).is_empty()), "{kind}: {}", edge.json("status"));
    let (_, sentence) = problems(edge, kind).remove(0);
    let text = edge.ask("status").stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.starts_with("PROBLEM  ") && text.contains(&format!("PROBLEM  {sentence}")), "{text}");
    sentence
}

fn assert_gone(edge: &Edge<'_>, kind: &str) {
    assert!(wait_until(SOON, || problems(edge, kind).is_empty()), "{kind}: {}", edge.json("status"));
}

fn answers(topology: &Topology, vip: IpAddr) -> bool {
    wait_until(SOON, || topology.client.inside(|| udp::ask(vip, b"hello")).is_ok())
}

fn set_mtu(namespace: &Namespace, link: &str, mtu: u32) {
    namespace.run(&["ip", "link", "set", link, "mtu", &mtu.to_string()]);
}

fn give_addresses(topology: &Topology) {
    topology.edge.add_addresses("eth0", &[format!("{EDGE_V6}/64")]);
}

/// 1,300 bytes leave 1,256 in the tunnel: too few for IPv6, enough for IPv4. Sets are taken all the same, and so is the one on
/// disk when the daemon starts.
#[test]
fn an_mtu_that_falls_below_the_floor_refuses_no_set_and_is_named_for_the_services_concerned() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 1, &[WEB_V4, WEB_V6]);
    let mut edge = Edge::start(&topology.edge, Driver::XdpGeneric);
    edge.apply(services(&topology));
    assert_eq!(problems(&edge, "small_mtu"), []);
    set_mtu(&topology.edge, "eth0", 1300);
    let said = shown(&edge, "small_mtu");
    assert_eq!(
        said,
        "v6: the MTU is too small, the interface has 1300: that leaves 1256 bytes to ep0, and IPv6 needs 1280 (RFC 7676); \
         raise the MTU of eth0 to at least 1324"
    );
    assert_eq!(problems(&edge, "small_mtu"), [(json!("v6"), said.clone())], "and for no other");
    edge.apply(services(&topology));
    assert!(answers(&topology, WEB_V4) && answers(&topology, WEB_V6), "what fits is forwarded");
    assert!(edge.stop().success());
    edge.run();
    assert_eq!(shown(&edge, "small_mtu"), said, "after a restart");
    assert!(answers(&topology, WEB_V4), "the set on disk is in force");
    set_mtu(&topology.edge, "eth0", 1500);
    assert_gone(&edge, "small_mtu");
}

/// `underlay.mtu` is the operator's word: what contradicts it from the start is refused, and says what would do.
#[test]
fn a_configured_mtu_has_a_floor_for_each_family_of_vips() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 1, &[WEB_V4, WEB_V6]);
    let edge = Edge::builder(&topology.edge, Driver::XdpGeneric).underlay("mtu = 1300").start();
    let all = services(&topology);
    edge.apply(json!([all[0]]));
    assert!(answers(&topology, WEB_V4));
    let set = tempfile::NamedTempFile::new().expect("a file");
    fs::write(set.path(), json!({ "revision": "both", "services": all }).to_string()).expect("it is the test's own");
    let refused = topology.edge.try_run(&[
        testkit::project::pointsman().to_str().expect("plain"),
        "apply",
        "--socket",
        &edge.socket(),
        "--set",
        set.path().to_str().expect("plain"),
    ]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "it is taken");
    assert!(said.contains("IPv6 needs 1280 (RFC 7676): set underlay.mtu to at least 1324"), "{said}");
    assert_eq!(edge.json("status")["services"].as_array().map(Vec::len), Some(1), "the set before is in force");
    // The link carries less than the config says.
    edge.edit_config("mtu = 1300", "mtu = 1500");
    edge.signal(rustix::process::Signal::HUP);
    assert!(wait_until(SOON, || edge.json("status")["underlay_mtu"] == 1500), "{}", edge.json("status"));
    set_mtu(&topology.edge, "eth0", 1400);
    assert_eq!(
        shown(&edge, "large_mtu"),
        "underlay.mtu is 1500, and eth0 carries 1400: larger packets are lost; lower the one or raise the other"
    );
}

/// It starts with the set on disk, but without an address of the endpoints' family.
#[test]
fn a_node_without_an_outer_source_says_so() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 1, &[WEB_V4, WEB_V6]);
    let mut edge = Edge::builder(&topology.edge, Driver::XdpGeneric).prepare();
    edge.edit_config(&format!("source_v6 = \"{EDGE_V6}\""), "");
    edge.run();
    edge.apply(services(&topology));
    assert!(answers(&topology, WEB_V4) && problems(&edge, "no_outer_source").is_empty());
    assert!(edge.stop().success());
    topology.edge.run(&["ip", "-6", "address", "flush", "dev", "eth0", "scope", "global"]);
    edge.run();
    assert_eq!(
        shown(&edge, "no_outer_source"),
        "no outer source for IPv6: 2 endpoints of v4, v6 cannot be sent to; give eth0 a global IPv6 address, or set \
         underlay.source_v6"
    );
    give_addresses(&topology);
    assert_gone(&edge, "no_outer_source");
    assert!(answers(&topology, WEB_V4), "{}", edge.json("status"));
}

/// All namespaces of a kernel share the table, so that this is for a kernel of the test's own.
#[test]
fn a_full_neighbour_table_is_named_with_what_makes_room() {
    if !run_here_or_in_a_guest(Feature::KernelOfItsOwn) {
        return;
    }
    let set_limits = |limits: [u32; 3]| {
        for (number, limit) in limits.iter().enumerate() {
            let path = format!("/proc/sys/net/ipv6/neigh/default/gc_thresh{}", number + 1);
            fs::write(path, limit.to_string()).expect("this kernel is the test's own");
        }
    };
    let topology = Topology::with_endpoints(1, 1, &[WEB_V4, WEB_V6]);
    let edge = Edge::start(&topology.edge, Driver::XdpGeneric);
    set_limits([1, 4, 8]);
    let endpoints: Vec<Value> = (0..40)
        .map(|number| json!({ "name": format!("e{number}"), "address": format!("2001:db8:51b::1:{number}") }))
        .collect();
    edge.apply_unreachable(json!([{ "name": "v6", "vip": WEB_V6, "endpoints": endpoints }]));
    let said = shown(&edge, "neighbour_table_full");
    assert!(said.contains("the kernel's IPv6 neighbour table") && said.contains("of the 40 neighbours"), "{said}");
    assert!(said.contains("`sysctl net.ipv6.neigh.default.gc_thresh3="), "{said}");
    let status = edge.json("status");
    let unreachable = status["services"][0]["unreachable"].as_object().expect("a list");
    assert!(unreachable.values().any(|why| why.to_string().contains("has no room for")), "{status}");
    set_limits([128, 512, 1024]);
    assert_gone(&edge, "neighbour_table_full");
}
