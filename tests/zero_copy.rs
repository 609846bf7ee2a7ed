//! Zero-copy, for real: the edge node is a guest in qemu with a recent kernel, whose virtio-net device shares packet memory
//! with AF_XDP sockets. Client and endpoints are the usual namespaces. `docs/zero-copy.md` says more.
//!
//! Not part of `cargo test`: `make test-zero-copy` fetches the kernel and runs it. Needs root and qemu-system-x86.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::guest::{EdgeGuest, Hardware, Kernel};
use testkit::traffic::{Pings, echo};
use testkit::{EDGE_V4, EDGE_V6, Metrics, Namespace, SOON, Stream, Topology, http, udp, wait_until};

const WEB_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const WEB_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10));
/// VIPs of services that take every protocol.
const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x77));

/// Pings of each size and VIP.
const PINGS: u64 = 20;
/// Bytes in a ping, and the packets that it takes from the client, whose routes to VIPs have an MTU of 1400.
const SIZES: [(u32, u64); 5] = [(0, 1), (56, 1), (700, 1), (1300, 1), (3000, 3)];
/// Datagrams that a successor which is killed can have in its hands.
const BATCH: u64 = 64;

#[test]
fn carries_everything_without_copying() {
    carries_everything("zero_copy = \"on\"", true);
}

/// The same with copies, so that what differs is known to be zero-copy's doing.
#[test]
fn carries_everything_with_copying() {
    carries_everything("zero_copy = \"off\"", false);
}

fn carries_everything(keys: &str, zero_copy: bool) {
    if testkit::skipped() {
        return;
    }
    let topology = two_endpoints();
    let mut guest = EdgeGuest::boot(topology.fabric(), Hardware::USUAL);
    println!("Linux {}, ready after {:?} of its own time", Kernel::recent().version(), guest.uptime());
    let own = [EDGE_V4.into(), EDGE_V6.into()].map(|address| Pings::start(&topology.client, address));
    guest.start(keys);
    assert_eq!(guest.zero_copy(), [zero_copy; 2], "{}", guest.log());
    guest.apply(&services(&topology));

    let due = pings_and_datagrams(&topology);
    let counted = wait_until(SOON, || guest.metrics().sum("pointsman_sent_packets_total") >= due);
    let metrics = guest.metrics();
    assert!(counted, "{due} packets came, {}", summary(&metrics));
    assert_eq!(metrics.sum("pointsman_received_packets_total"), due, "{}", summary(&metrics));
    assert_eq!(metrics.sum("pointsman_sent_packets_total"), due, "{}", summary(&metrics));
    transfers(&topology);
    let metrics = guest.metrics();
    metrics.assert_balanced();
    assert_eq!(metrics.sum("pointsman_drops_total"), 0, "{:?}", metrics.by_label("pointsman_drops_total"));
    let by_worker = metrics.each("pointsman_received_packets_total");
    assert!(by_worker.len() == 2 && by_worker.iter().all(|received| *received > 0), "{by_worker:?}");
    println!("{due} pings and datagrams, then TCP: {}; by worker {by_worker:?}", summary(&metrics));

    guest.end("TERM");
    for pings in own {
        let (sent, answered) = pings.finish();
        println!("of {sent} pings of its own address {answered} were answered");
        assert!(sent - answered <= 40, "the node's own address was away: of {sent} pings {answered} were answered");
    }
}

/// With as few frames as the device alone has room for, it runs out of them by every burst, and sleeps until it is woken;
/// with more, while the daemon stands still. Traffic goes on at once, each time.
#[test]
fn wakes_a_driver_that_has_run_out_of_frames() {
    if testkit::skipped() {
        return;
    }
    let topology = two_endpoints();
    let mut guest = EdgeGuest::boot(topology.fabric(), Hardware::USUAL);
    for frames in [64, 256, 4096] {
        guest.start(&format!("zero_copy = \"on\"\nframes = {frames}"));
        assert_eq!(guest.zero_copy(), [true; 2]);
        guest.apply(&services(&topology));
        for round in 0..3 {
            guest.signal("STOP");
            // More than all rings together hold.
            let flood = 10_000;
            topology
                .client
                .inside(|| (0..flood).try_for_each(|_| udp::send(ANY_V4, &[0; 100])))
                .expect("the client sends");
            guest.signal("CONT");
            transfers(&topology);
            let metrics = guest.metrics();
            metrics.assert_balanced();
            println!("{frames} frames, round {round}: {}", summary(&metrics));
            thread::sleep(Duration::from_secs(2));
            println!("after a pause: {}", last_line(&ping_of(&topology, ANY_V6, 3, 56)));
        }
        guest.end("TERM");
    }
}

/// With queues to spare, the kernel uses more of them as soon as a program is attached, to receive by alone. What came in by
/// those could not leave: it says so, and works where the operator has done as it says.
#[test]
fn does_not_take_queues_that_do_not_send() {
    if testkit::skipped() {
        return;
    }
    let topology = two_endpoints();
    let mut guest = EdgeGuest::boot(topology.fabric(), Hardware { queues: 4, ..Hardware::USUAL });
    assert_eq!(queues(&mut guest), ["2", "2"]);
    let said = guest.run_in_vain("driver = \"af_xdp\"\nzero_copy = \"on\"");
    assert_eq!(queues(&mut guest), ["4", "2"]);
    assert!(said.contains("eth0 has 4 queues to receive by and 2 to send by"), "{said}");
    guest.run("pointsman cleanup --config /etc/pointsman.toml --detach && ethtool -L eth0 combined 4");
    guest.start("zero_copy = \"on\"");
    assert_eq!((queues(&mut guest), guest.zero_copy()), (["4", "4"].map(str::to_owned), vec![true; 4]));
    guest.apply(&services(&topology));
    pings_and_datagrams(&topology);
    transfers(&topology);
    let metrics = guest.metrics();
    metrics.assert_balanced();
    let by_worker = metrics.each("pointsman_received_packets_total");
    assert!(by_worker.len() == 4 && by_worker.iter().all(|received| *received > 0), "{by_worker:?}");
    assert_eq!(metrics.sum("pointsman_drops_total"), 0, "{:?}", metrics.by_label("pointsman_drops_total"));
    guest.end("TERM");
}

/// How many queues the guest receives by, and how many it sends by.
fn queues(guest: &mut EdgeGuest) -> [String; 2] {
    ["rx", "tx"].map(|way| guest.run(&format!("ls -d /sys/class/net/eth0/queues/{way}-* | wc -l")).trim().to_owned())
}

#[test]
fn loses_nothing_by_upgrades() {
    if testkit::skipped() {
        return;
    }
    let topology = two_endpoints();
    let mut guest = EdgeGuest::boot(topology.fabric(), Hardware::USUAL);
    guest.start("zero_copy = \"on\"");
    guest.apply(&services(&topology));
    let stream = stream(&topology);
    stream.run(200);
    let mut refused = 0;
    for _ in 0..3 {
        let before = guest.run("pidof pointsman");
        while !guest.upgrade() {
            refused += 1;
            assert!(refused < 10, "this machine is too slow for upgrades in a guest:\n{}", guest.log());
        }
        assert_eq!(guest.zero_copy(), [true; 2]);
        assert_ne!(guest.run("pidof pointsman"), before);
        stream.run(200);
    }
    let (sent, heard) = stream.finish();
    let lost = sent - heard.count;
    println!(
        "three upgrades, {refused} refused: {lost} of {sent} were lost, the longest silence was {:?}",
        heard.silence
    );
    assert!(lost <= refused * BATCH && heard.late == 0, "{heard:?} of {sent}, {refused} refused:\n{}", guest.log());
    let metrics = guest.metrics();
    metrics.assert_balanced();
    let counted = metrics.sum("pointsman_sent_packets_total");
    assert!(counted >= heard.count && counted <= sent, "{sent} sent, {lost} lost: {}", summary(&metrics));
    guest.end("TERM");
}

/// A successor that fails at any step: the daemon goes on, and without copying.
#[test]
fn goes_on_after_an_upgrade_that_fails() {
    if testkit::skipped() {
        return;
    }
    let topology = two_endpoints();
    let mut guest = EdgeGuest::boot_with(topology.fabric(), Hardware::USUAL, env!("CARGO_BIN_EXE_pointsman").as_ref());
    guest.start("zero_copy = \"on\"");
    guest.apply(&services(&topology));
    guest.write("/run/failing", "#!/bin/sh\nPOINTSMAN_UPGRADE_FAULT=$(cat /run/fault) exec /bin/pointsman \"$@\"");
    guest.run("chmod +x /run/failing");
    for fault in
        ["begin:fail", "before-worker-0:fail", "worker-0:fail", "before-worker-1:fail", "finish:fail", "worker-1:die"]
    {
        let stream = stream(&topology);
        stream.run(50);
        guest.write("/run/fault", fault);
        let said = guest.run("pointsman upgrade --binary /run/failing 2>&1; test $? = 1");
        stream.run(50);
        let (sent, heard) = stream.finish();
        println!("{fault}: {} of {sent} were lost, {} late; {}", sent - heard.count, heard.late, said.trim());
        let in_hand = if fault.ends_with("die") { BATCH } else { 0 };
        assert!(sent - heard.count <= in_hand && heard.late == 0, "{heard:?} of {sent}: {}", guest.log());
        assert_eq!(guest.zero_copy(), [true; 2], "{}", guest.log());
        guest.metrics().assert_balanced();
    }
    guest.end("TERM");
}

/// Killed, it leaves VIPs to nobody and the node's own address alone; started again, it copies no more than before.
#[test]
fn takes_over_after_a_crash() {
    if testkit::skipped() {
        return;
    }
    let topology = two_endpoints();
    let mut guest = EdgeGuest::boot(topology.fabric(), Hardware::USUAL);
    let own = Pings::start(&topology.client, EDGE_V4.into());
    guest.start("zero_copy = \"on\"");
    guest.apply(&services(&topology));
    ping(&topology, ANY_V4, 56);
    guest.end("KILL");
    let vip = ANY_V4.to_string();
    let unheard = topology.client.try_run(&["ping", "-n", "-c", "5", "-i", "0.1", "-W", "1", &vip]);
    assert!(!unheard.status.success(), "somebody answers for a VIP");
    guest.start_again();
    assert_eq!(guest.zero_copy(), [true; 2]);
    let reachable =
        wait_until(SOON, || topology.client.try_run(&["ping", "-c", "1", "-W", "1", &vip]).status.success());
    assert!(reachable, "{}", guest.log());
    transfers(&topology);
    guest.metrics().assert_balanced();
    guest.end("TERM");
    let (sent, answered) = own.finish();
    println!("of {sent} pings of its own address {answered} were answered");
    assert!(sent - answered <= 40, "the node's own address was away: of {sent} pings {answered} were answered");
}

/// A device that cannot: `on` says so, and `auto` copies.
#[test]
fn copies_where_the_device_has_to() {
    if testkit::skipped() {
        return;
    }
    let topology = two_endpoints();
    let mut guest = EdgeGuest::boot(topology.fabric(), Hardware { dma: false, ..Hardware::USUAL });
    let said = guest.run_in_vain("zero_copy = \"on\"");
    assert!(said.contains("zero_copy = \"auto\""), "{said}");
    guest.start("zero_copy = \"auto\"");
    assert_eq!(guest.zero_copy(), [false; 2]);
    guest.apply(&services(&topology));
    transfers(&topology);
    guest.end("TERM");
}

/// Datagrams at a pace that this machine's emulation keeps up with.
fn stream(topology: &Topology) -> Stream {
    let endpoints: Vec<&Namespace> = topology.endpoints.iter().map(|endpoint| &endpoint.namespace).collect();
    Stream::start(&topology.client, ANY_V4, &endpoints, 4, Duration::from_millis(10))
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().next_back().unwrap_or_default()
}

/// Pings and datagrams of known number, whose bytes are looked at; answers how many packets that were.
fn pings_and_datagrams(topology: &Topology) -> u64 {
    let mut due = 0;
    for vip in [ANY_V4, ANY_V6] {
        for (size, packets) in SIZES {
            ping(topology, vip, size);
            due += PINGS * packets;
        }
        let asked =
            topology.client.inside(|| (0..60).map(|n| udp::ask(vip, &vec![n; 1200])).collect::<io::Result<Vec<_>>>());
        asked.unwrap_or_else(|error| panic!("a datagram to {vip} was lost: {error}"));
        due += 60;
    }
    due
}

/// The client's ping looks at every byte that comes back, and says where one is wrong.
fn ping(topology: &Topology, vip: IpAddr, size: u32) {
    ping_of(topology, vip, PINGS, size);
}

fn ping_of(topology: &Topology, vip: IpAddr, count: u64, size: u32) -> String {
    let (count, size, vip) = (count.to_string(), size.to_string(), vip.to_string());
    let words = topology.client.run(&["ping", "-n", "-c", &count, "-s", &size, "-i", "0.05", "-W", "10", &vip]);
    assert!(words.contains(" 0% packet loss") && !words.contains("wrong"), "{words}");
    words
}

/// A megabyte there and back over each VIP, byte by byte, and many short connections.
fn transfers(topology: &Topology) {
    for vip in [WEB_V4, WEB_V6] {
        let server = SocketAddr::new(vip, 80);
        let who = topology.client.inside(|| (0..40).map(|_| http::who(server)).collect::<io::Result<Vec<_>>>());
        who.unwrap_or_else(|error| panic!("a request to {vip} failed: {error}"));
    }
    for vip in [ANY_V4, ANY_V6] {
        let same = echo::comes_back(&topology.client, vip, 1_000_000);
        assert!(
            same.unwrap_or_else(|error| panic!("TCP to {vip}: {error}")),
            "the bytes from {vip} are not those sent"
        );
    }
}

/// The edge node's place on the bridge, with two endpoints behind it over IPv6.
fn two_endpoints() -> Topology {
    let mut topology = Topology::new(1);
    topology.edge.run(&["ip", "link", "delete", "eth0"]);
    for _ in 0..2 {
        topology.add_endpoint(&[WEB_V4, WEB_V6, ANY_V4, ANY_V6]);
    }
    topology.endpoints.iter().for_each(|endpoint| echo::serve(&endpoint.namespace));
    topology.limit_client(1400);
    topology
}

fn services(topology: &Topology) -> Value {
    let endpoints: Vec<Value> = topology.endpoints.iter().map(testkit::Endpoint::over_ipv6).collect();
    json!([
        { "name": "web4", "vip": WEB_V4, "protocol": "tcp", "ports": [80], "endpoints": endpoints },
        { "name": "web6", "vip": WEB_V6, "protocol": "tcp", "ports": [80], "endpoints": endpoints },
        { "name": "any4", "vip": ANY_V4, "endpoints": endpoints },
        { "name": "any6", "vip": ANY_V6, "endpoints": endpoints },
    ])
}

fn summary(metrics: &Metrics) -> String {
    let [received, sent, drops] =
        ["received_packets", "sent_packets", "drops"].map(|name| metrics.sum(&format!("pointsman_{name}_total")));
    format!("{received} received, {sent} sent, {drops} dropped")
}
