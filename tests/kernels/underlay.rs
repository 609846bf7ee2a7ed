//! Routes and neighbours, against a real kernel: two network namespaces, joined by a veth pair. Needs root.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pointsman::snapshot::{NextHop, Tag};
use pointsman::underlay::{self, Changes, NoNextHop, Underlay};
use pointsman::wire::ethernet::MacAddress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use testkit::guest::{Feature, run_here_or_in_a_guest};

/// No condition takes the kernel longer than this.
const LIMIT: Duration = Duration::from_secs(20);
const NODE_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// A node and a peer on one link; the test's own thread stands in the node.
///
/// ```text
/// node  eth0 192.0.2.1/24, 2001:db8::1/64  ──  eth0 192.0.2.2, .3, 2001:db8::2, ::3  peer
/// ```
struct Net {
    node: String,
    peer: String,
}

impl Net {
    /// `None` where there is no root to make it.
    fn new() -> Option<Self> {
        if testkit::skipped() {
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("pm-u{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let net = Self { node: format!("{id}-node"), peer: format!("{id}-peer") };
        for name in [&net.node, &net.peer] {
            run("ip", &format!("netns add {name}"));
            // No waiting for duplicate addresses to be detected: an address that settles later is a change.
            inside(name, "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
            inside(name, "echo 0 > /proc/sys/net/ipv6/conf/default/router_solicitations");
        }
        let (node, peer) = (&net.node, &net.peer);
        run(
            "ip",
            &format!("-n {node} link add eth0 address {NODE_MAC} type veth peer eth0 netns {peer} address {PEER_MAC}"),
        );
        for (name, addresses) in [
            (node, &["192.0.2.1/24", "2001:db8::1/64"][..]),
            (peer, &["192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64", "2001:db8::3/64"]),
        ] {
            run("ip", &format!("-n {name} link set lo up"));
            run("ip", &format!("-n {name} link set eth0 up"));
            for address in addresses {
                run("ip", &format!("-n {name} address add {address} dev eth0"));
            }
        }
        net.hasten_timers();
        let handle = File::open(format!("/run/netns/{node}")).expect("the namespace just made");
        move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network)).expect("to enter it");
        Some(net)
    }

    /// Has the node verify neighbours in a fraction of the usual time. An answer counts as a use too, so the time an
    /// entry stays reachable has to be longer than the delay, or the kernel would verify it for ever by itself.
    fn hasten_timers(&self) {
        for family in ["ipv4", "ipv6"] {
            let timers = [("base_reachable_time_ms", 2_000), ("delay_first_probe_time", 1), ("retrans_time_ms", 100)];
            for (key, value) in timers {
                inside(&self.node, &format!("echo {value} > /proc/sys/net/{family}/neigh/eth0/{key}"));
            }
        }
    }

    /// A second interface of the node.
    fn add_aside(&self) {
        self.node("link add aside type veth peer aside-end");
        self.node("link set aside-end up");
        self.node("link set aside up");
    }

    /// `ip` in the node.
    fn node(&self, arguments: &str) {
        run("ip", &format!("-n {} {arguments}", self.node));
    }

    /// `ip` in the peer.
    fn peer(&self, arguments: &str) {
        run("ip", &format!("-n {} {arguments}", self.peer));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.node, &self.peer] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split_whitespace()).status().expect("the program runs");
    assert!(status.success(), "{program} {arguments}");
}

fn inside(namespace: &str, script: &str) {
    let status = Command::new("ip").args(["netns", "exec", namespace, "sh", "-c", script]).status();
    assert!(status.expect("ip runs").success(), "{script}");
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn open(targets: &[&str]) -> Underlay {
    let mut underlay = Underlay::open("eth0").expect("eth0 is there");
    underlay.change_targets(&targets.iter().map(|text| ip(text)).collect(), &[].into()).expect("to look up routes");
    underlay
}

/// Runs the underlay as its caller would, until `done`; answers with all that changed on the way.
fn until(underlay: &mut Underlay, what: &str, done: impl Fn(&Underlay) -> bool) -> Changes {
    let (start, mut ticked, mut all) = (Instant::now(), Instant::now(), Changes::default());
    while !done(underlay) {
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        let slice = Timespec::try_from(Duration::from_millis(100)).expect("fits");
        poll(&mut [PollFd::new(&*underlay, PollFlags::IN)], Some(&slice)).expect("to poll");
        all = all.and(underlay.on_readable().expect("to read the news"));
        if ticked.elapsed() > Duration::from_secs(1) {
            all = all.and(underlay.tick().expect("to tick"));
            ticked = Instant::now();
        }
    }
    all
}

fn leads_to(target: &str, destination: MacAddress) -> impl Fn(&Underlay) -> bool + use<> {
    let target = ip(target);
    move |underlay| underlay.next_hop(target) == Ok(NextHop { destination, source: NODE_MAC, tag: Tag::None })
}

#[test]
fn silent_neighbours_are_resolved_without_any_traffic() {
    let Some(_net) = Net::new() else { return };
    let mut underlay = open(&["192.0.2.2", "2001:db8::2"]);
    for target in ["192.0.2.2", "2001:db8::2"] {
        until(&mut underlay, target, leads_to(target, PEER_MAC));
    }
    assert!(underlay.next_hop(ip("192.0.2.3")).is_err(), "nobody asked for this one");
}

#[test]
fn gateways_of_both_families_and_across_them() {
    let Some(net) = Net::new() else { return };
    net.node("route add 198.51.100.0/24 via 192.0.2.2");
    net.node("route add 203.0.113.0/24 via inet6 2001:db8::3 dev eth0");
    net.node("route add 2001:db8:5::/48 via 2001:db8::2");
    let targets = ["198.51.100.7", "203.0.113.7", "2001:db8:5::7"];
    let mut underlay = open(&targets);
    for target in targets {
        until(&mut underlay, target, leads_to(target, PEER_MAC));
    }
}

#[test]
fn a_changed_mac_address_is_a_new_next_hop() {
    let Some(net) = Net::new() else { return };
    // The peer tells of its new address, and the node believes it at once.
    inside(&net.peer, "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify");
    inside(&net.peer, "echo 1 > /proc/sys/net/ipv6/conf/eth0/ndisc_notify");
    inside(&net.node, "echo 0 > /proc/sys/net/ipv4/neigh/eth0/locktime");
    let targets = ["192.0.2.2", "2001:db8::2"];
    let mut underlay = open(&targets);
    let settled = |mac| move |underlay: &Underlay| targets.iter().all(|target| leads_to(target, mac)(underlay));
    until(&mut underlay, "resolved", settled(PEER_MAC));

    let moved = MacAddress([2, 0, 0, 0, 0, 0x99]);
    net.peer(&format!("link set eth0 address {moved}"));
    let changes = until(&mut underlay, "moved", settled(moved));
    assert_eq!(changes, Changes { next_hops: true, link: false });
}

#[test]
fn a_neighbour_that_goes_away_is_no_longer_sent_to() {
    let Some(net) = Net::new() else { return };
    let targets = ["192.0.2.3", "2001:db8::3"];
    let mut underlay = open(&targets);
    for target in targets {
        until(&mut underlay, target, leads_to(target, PEER_MAC));
    }
    net.peer("address del 192.0.2.3/24 dev eth0");
    net.peer("address del 2001:db8::3/64 dev eth0");
    let changes = until(&mut underlay, "given up", |underlay| {
        targets.iter().all(|target| matches!(underlay.next_hop(ip(target)), Err(NoNextHop::Failed { .. })))
    });
    assert!(changes.next_hops);
    net.peer("address add 192.0.2.3/24 dev eth0");
    until(&mut underlay, "it came back", leads_to("192.0.2.3", PEER_MAC));
}

#[test]
fn a_neighbour_in_use_is_kept_alive() {
    let Some(net) = Net::new() else { return };
    let mut underlay = open(&["192.0.2.2"]);
    until(&mut underlay, "resolved", leads_to("192.0.2.2", PEER_MAC));
    underlay.tick().expect("to take the news of that");
    // With the short timers above the entry turns stale within three seconds, and would stay so for want of traffic.
    let start = Instant::now();
    let changes = until(&mut underlay, "eight seconds", |underlay| {
        assert!(leads_to("192.0.2.2", PEER_MAC)(underlay), "a stale neighbour stays in use");
        start.elapsed() > Duration::from_secs(8)
    });
    assert!(!changes.any(), "verifying is no change");
    let statistics = Command::new("ip").args(["-n", &net.node, "-s", "neigh", "show", "192.0.2.2"]).output();
    let shown = String::from_utf8(statistics.expect("ip runs").stdout).expect("text");
    // "used 11/5/4": seconds since it was used, confirmed and changed.
    let confirmed = shown.split('/').nth(1).and_then(|seconds| seconds.parse::<u32>().ok()).expect("statistics");
    assert!(confirmed < 6, "verified since: {shown}");
}

#[test]
fn a_route_that_moves_to_another_gateway_is_followed() {
    let Some(net) = Net::new() else { return };
    let other = MacAddress([2, 0, 0, 0, 0, 0x77]);
    net.node(&format!("neigh add 192.0.2.77 lladdr {other} dev eth0 nud permanent"));
    net.node(&format!("neigh add 2001:db8::77 lladdr {other} dev eth0 nud permanent"));
    net.node("route add 198.51.100.0/24 via 192.0.2.2");
    net.node("route add default via 2001:db8::2");
    let targets = ["198.51.100.7", "2001:db8:5::7"];
    let mut underlay = open(&targets);
    for target in targets {
        until(&mut underlay, target, leads_to(target, PEER_MAC));
    }

    net.node("route replace 198.51.100.0/24 via 192.0.2.77");
    assert!(until(&mut underlay, "IPv4 moved", leads_to(targets[0], other)).next_hops);
    net.node("route add 2001:db8:5::/64 via 2001:db8::77");
    assert!(until(&mut underlay, "a longer prefix", leads_to(targets[1], other)).next_hops);
    net.node("route del 198.51.100.0/24");
    until(&mut underlay, "gone", |underlay| {
        matches!(underlay.next_hop(ip(targets[0])), Err(NoNextHop::NoRoute { .. }))
    });

    // Policy counts too: another table for one destination.
    net.node("route add 198.51.100.0/24 via 192.0.2.77 table 100");
    net.node("rule add to 198.51.100.7 lookup 100");
    until(&mut underlay, "by a rule", leads_to(targets[0], other));
}

#[test]
fn a_next_hop_object_that_moves_is_followed() {
    let Some(net) = Net::new() else { return };
    let other = MacAddress([2, 0, 0, 0, 0, 0x77]);
    net.node(&format!("neigh add 192.0.2.77 lladdr {other} dev eth0 nud permanent"));
    net.node("nexthop add id 1 via 192.0.2.2 dev eth0");
    net.node("route add 198.51.100.0/24 nhid 1");
    let mut underlay = open(&["198.51.100.7"]);
    until(&mut underlay, "resolved", leads_to("198.51.100.7", PEER_MAC));
    net.node("nexthop replace id 1 via 192.0.2.77 dev eth0");
    until(&mut underlay, "moved", leads_to("198.51.100.7", other));
}

#[test]
fn what_is_not_for_the_tunnel_is_refused_with_its_reason() {
    let Some(net) = Net::new() else { return };
    net.add_aside();
    net.node("route add 198.51.100.0/24 dev aside");
    net.node("route add unreachable 203.0.113.0/24");
    net.node("route add blackhole 2001:db8:dead::/48");
    let targets = ["198.51.100.7", "203.0.113.7", "2001:db8:dead::7", "192.0.2.1", "2001:db8::1", "100.64.0.1"];
    let underlay = open(&targets);
    let reasons = targets.map(|target| underlay.next_hop(ip(target)).expect_err(target).to_string());
    assert_eq!(
        reasons,
        [
            "the route to 198.51.100.7 leaves by aside, and tunnels use eth0 and the 802.1Q VLANs on it only",
            "the kernel has no route to 203.0.113.7",
            "the kernel has no route to 2001:db8:dead::7",
            "192.0.2.1 is an address of this node",
            "2001:db8::1 is an address of this node",
            "the kernel has no route to 100.64.0.1",
        ]
    );
}

#[test]
fn an_interface_that_goes_down_and_comes_up() {
    let Some(net) = Net::new() else { return };
    let mut underlay = open(&["192.0.2.2"]);
    until(&mut underlay, "resolved", leads_to("192.0.2.2", PEER_MAC));
    let down = |underlay: &Underlay| matches!(underlay.next_hop(ip("192.0.2.2")), Err(NoNextHop::InterfaceDown { .. }));

    net.node("link set eth0 down");
    assert_eq!(until(&mut underlay, "down", down), Changes { next_hops: true, link: true });
    net.node("link set eth0 up");
    until(&mut underlay, "up", leads_to("192.0.2.2", PEER_MAC));
    // A lost carrier is as good as a closed door.
    net.peer("link set eth0 down");
    until(&mut underlay, "no carrier", down);
    net.peer("link set eth0 up");
    until(&mut underlay, "carrier", leads_to("192.0.2.2", PEER_MAC));
}

#[test]
fn an_interface_that_is_deleted_and_made_anew() {
    let Some(net) = Net::new() else { return };
    let mut underlay = open(&["192.0.2.2"]);
    until(&mut underlay, "resolved", leads_to("192.0.2.2", PEER_MAC));
    net.node("link del eth0");
    let index = underlay.link().index;
    until(&mut underlay, "gone", |underlay| !underlay.link().up);
    net.node(&format!("link add eth0 address {NODE_MAC} type veth peer eth0 netns {} address {PEER_MAC}", net.peer));
    net.node("address add 192.0.2.1/24 dev eth0");
    net.peer("address add 192.0.2.2/24 dev eth0");
    net.node("link set eth0 up");
    net.peer("link set eth0 up");
    until(&mut underlay, "back", leads_to("192.0.2.2", PEER_MAC));
    assert_ne!(underlay.link().index, index, "it has another number now");
}

#[test]
fn the_interface_is_described_and_its_sources_are_chosen() {
    let Some(net) = Net::new() else { return };
    net.node("link set eth0 mtu 1400");
    net.node("address add 169.254.9.9/16 scope link dev eth0");
    let link = underlay::link("eth0").expect("it is there");
    assert_eq!((link.name.as_str(), link.mac, link.mtu, link.up), ("eth0", NODE_MAC, 1400, true));
    assert_eq!(link.source_v4().map(IpAddr::from), Some(ip("192.0.2.1")));
    assert_eq!(link.source_v6().map(IpAddr::from), Some(ip("2001:db8::1")));
    let error = underlay::link("eth9").expect_err("it is not there").to_string();
    assert_eq!(error, "no interface named eth9; there are: lo, eth0");

    let mut underlay = open(&[]);
    net.node("address add 192.0.2.100/24 dev eth0");
    let changes = until(&mut underlay, "a new address", |underlay| {
        underlay.link().addresses.iter().any(|address| address.net.addr() == ip("192.0.2.100"))
    });
    assert_eq!(changes, Changes { next_hops: false, link: true });
}

#[test]
fn news_lost_in_a_burst_are_made_up_for() {
    let Some(net) = Net::new() else { return };
    let other = MacAddress([2, 0, 0, 0, 0, 0x77]);
    net.node("route add 198.51.100.0/24 via 192.0.2.2");
    let mut underlay = open(&["198.51.100.7"]);
    until(&mut underlay, "resolved", leads_to("198.51.100.7", PEER_MAC));
    // Far more routes than the socket can hold news of, then those changes that count.
    let mut batch = tempfile::NamedTempFile::new().expect("a file");
    for n in 0..40_000u32 {
        writeln!(batch, "route add 10.{}.{}.0/24 dev eth0", n / 256, n % 256).expect("to write");
    }
    net.node(&format!("-batch {}", batch.path().display()));
    net.node(&format!("neigh add 192.0.2.77 lladdr {other} dev eth0 nud permanent"));
    net.node("route replace 198.51.100.0/24 via 192.0.2.77");
    let changes = until(&mut underlay, "followed", leads_to("198.51.100.7", other));
    assert_eq!(changes, Changes { next_hops: true, link: true }, "after a loss anything may have changed");
}

#[test]
fn ten_thousand_targets_are_looked_up_at_once() {
    let Some(net) = Net::new() else { return };
    net.node("route add 10.0.0.0/8 via 192.0.2.2");
    net.node("route add 2001:db8:10::/48 via 2001:db8::2");
    let v4 = (0..5_000u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
    let v6 = (0..5_000u32).map(|n| ip(&format!("2001:db8:10::{n:x}")));
    let targets: BTreeSet<IpAddr> = v4.chain(v6).collect();
    let mut underlay = Underlay::open("eth0").expect("eth0 is there");
    let start = Instant::now();
    underlay.change_targets(&targets, &[].into()).expect("to look up routes");
    let took = start.elapsed();
    println!("{} routes looked up in {took:?}", targets.len());
    assert!(took < Duration::from_secs(5), "{took:?}");
    until(&mut underlay, "all", |underlay| targets.iter().all(|target| underlay.next_hop(*target).is_ok()));
}

/// The VLAN device's address on the node; the peer's has that of its `eth0`.
const VLAN_MAC: MacAddress = MacAddress([2, 0, 0, 0, 1, 1]);

impl Net {
    /// `None` where there is no root to make it, or the test has run in a guest whose kernel has VLAN devices.
    fn new_with_vlans() -> Option<Self> {
        if run_here_or_in_a_guest(Feature::Vlans) { Self::new() } else { None }
    }

    /// VLAN 100 between the two, with addresses of its own:
    ///
    /// ```text
    /// node  eth0.100 198.18.0.1/24, 2001:db8:100::1/64  ──  eth0.100 198.18.0.2, 2001:db8:100::2  peer
    /// ```
    fn add_vlan(&self) {
        self.node(&format!("link add link eth0 name eth0.100 address {VLAN_MAC} type vlan id 100"));
        self.peer("link add link eth0 name eth0.100 type vlan id 100");
        for (name, host) in [(&self.node, 1), (&self.peer, 2)] {
            run("ip", &format!("-n {name} link set eth0.100 up"));
            run("ip", &format!("-n {name} address add 198.18.0.{host}/24 dev eth0.100"));
            run("ip", &format!("-n {name} address add 2001:db8:100::{host}/64 dev eth0.100"));
        }
    }
}

fn leads_by_vlan_to(target: &str, source: MacAddress) -> impl Fn(&Underlay) -> bool + use<> {
    let target = ip(target);
    let way = NextHop { destination: PEER_MAC, source, tag: Tag::Fixed(100) };
    move |underlay| underlay.next_hop(target) == Ok(way)
}

#[test]
fn a_route_by_a_vlan_device_is_one_by_the_interface_with_a_tag() {
    let Some(net) = Net::new_with_vlans() else { return };
    net.add_vlan();
    net.node("route add 198.51.100.0/24 via 198.18.0.2");
    let tagged = ["198.18.0.2", "198.51.100.7", "2001:db8:100::2"];
    let mut underlay = open(&["192.0.2.2", tagged[0], tagged[1], tagged[2]]);
    for target in tagged {
        until(&mut underlay, target, leads_by_vlan_to(target, VLAN_MAC));
    }
    until(&mut underlay, "beside it", leads_to("192.0.2.2", PEER_MAC));

    let moved = MacAddress([2, 0, 0, 0, 1, 2]);
    net.node(&format!("link set eth0.100 address {moved}"));
    let changes = until(&mut underlay, "its address changed", leads_by_vlan_to(tagged[0], moved));
    assert_eq!(changes, Changes { next_hops: true, link: false });
}

#[test]
fn a_vlan_device_that_comes_later_and_goes_down_and_up() {
    let Some(net) = Net::new_with_vlans() else { return };
    let mut underlay = open(&["198.18.0.2"]);
    assert!(matches!(underlay.next_hop(ip("198.18.0.2")), Err(NoNextHop::NoRoute { .. })));
    net.add_vlan();
    assert!(until(&mut underlay, "made", leads_by_vlan_to("198.18.0.2", VLAN_MAC)).next_hops);
    let lost = |underlay: &Underlay| underlay.next_hop(ip("198.18.0.2")).is_err();
    for device in ["eth0.100", "eth0"] {
        net.node(&format!("link set {device} down"));
        assert!(until(&mut underlay, "down", lost).next_hops, "{device}");
        net.node(&format!("link set {device} up"));
        assert!(until(&mut underlay, "up", leads_by_vlan_to("198.18.0.2", VLAN_MAC)).next_hops, "{device}");
    }
}

#[test]
fn a_vlan_device_that_is_deleted_and_made_anew() {
    let Some(net) = Net::new_with_vlans() else { return };
    net.add_vlan();
    let mut underlay = open(&["198.18.0.2"]);
    until(&mut underlay, "resolved", leads_by_vlan_to("198.18.0.2", VLAN_MAC));
    net.node("link del eth0.100");
    let gone = |underlay: &Underlay| matches!(underlay.next_hop(ip("198.18.0.2")), Err(NoNextHop::NoRoute { .. }));
    assert!(until(&mut underlay, "gone", gone).next_hops);
    net.peer("link del eth0.100");
    net.add_vlan();
    until(&mut underlay, "back", leads_by_vlan_to("198.18.0.2", VLAN_MAC));
}

#[test]
fn other_vlan_devices_are_other_interfaces() {
    let Some(net) = Net::new_with_vlans() else { return };
    net.add_aside();
    net.add_vlan();
    net.node("link add link aside name aside.100 type vlan id 100");
    net.node("link add link eth0 name provider type vlan protocol 802.1ad id 100");
    net.node("link add link eth0.100 name inner type vlan id 7");
    let ways = [("198.51.100.7", "aside.100"), ("203.0.113.7", "provider"), ("100.64.0.7", "inner")];
    for (target, device) in ways {
        net.node(&format!("link set {device} up"));
        net.node(&format!("route add {target}/32 dev {device}"));
    }
    let underlay = open(&ways.map(|(target, _)| target));
    for (target, device) in ways {
        let reason = underlay.next_hop(ip(target)).expect_err(target).to_string();
        assert_eq!(
            reason,
            format!("the route to {target} leaves by {device}, and tunnels use eth0 and the 802.1Q VLANs on it only")
        );
    }
}
