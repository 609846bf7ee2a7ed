//! `capture` of a running daemon: what real clients send, read again by tshark. Needs root.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use testkit::{CLIENT_V4, Driver, EDGE_V6, Edge, Load, Process, SOON, Topology, output_of, wait_until};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const BEGUN: &str = "a capture begins";

/// A client, a node and an endpoint that serves HTTP.
fn topology() -> Topology {
    Topology::with_endpoints(1, 1, &[VIP])
}

fn start(topology: &Topology, driver: Driver) -> Edge<'_> {
    let edge = Edge::start(&topology.edge, driver);
    let endpoint = json!({ "name": "ep0", "address": topology.endpoints[0].addresses.1 });
    let of = |name: &str, port: u16| json!({ "name": name, "vip": VIP, "protocol": "tcp", "ports": [port], "endpoints": [endpoint] });
    edge.apply(json!([of("web", 80), of("other", 81)]));
    edge
}

/// A capture that has begun, as the `number`th of this daemon.
fn capture(edge: &Edge<'_>, options: &[&str], out: &Path, number: usize) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["capture", "--socket", &edge.socket()]).args(options).arg(out);
    let process = Process::start(command);
    let has_begun = || edge.log().matches(BEGUN).count() >= number;
    assert!(wait_until(SOON, has_begun), "{}\n{}", process.log(), edge.log());
    process
}

/// Some fields of each packet of a file.
fn fields(file: &Path, names: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file).args(["-T", "fields", "-E", "occurrence=f"]);
    names.iter().for_each(|name| _ = command.args(["-e", name]));
    let text = String::from_utf8(output_of(&mut command).stdout).expect("text");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn datagrams(topology: &Topology, count: usize) {
    topology.client.inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        (0..count).for_each(|n| _ = socket.send_to(&[n as u8; 1000], (VIP, 80)).expect("sent"));
    });
}

#[test]
fn each_packet_is_there_as_it_came_and_as_it_left() {
    if testkit::skipped() {
        return;
    }
    for driver in [Driver::XdpNative, Driver::Packet] {
        let (topology, dir) = (topology(), tempfile::tempdir().expect("a directory"));
        let edge = start(&topology, driver);
        let out = dir.path().join("out.pcapng");
        let capturing = capture(&edge, &["--service", "web", "--endpoint", "ep0", "--count", "20"], &out, 1);
        let load = Load::start(&topology.client, SocketAddr::new(VIP, 80));
        load.run(20);
        assert!(capturing.wait(SOON).success(), "{}", capturing.log());
        assert!(capturing.log().contains("20 packets"), "{}", capturing.log());
        let names = ["frame.packet_flags_direction", "frame.comment", "ip.src", "ipv6.src", "gre.proto", "tcp.dstport"];
        let packets = fields(&out, &names);
        assert_eq!(packets.len(), 40);
        let (client, edge_v6) = (CLIENT_V4.to_string(), EDGE_V6.to_string());
        for pair in packets.chunks(2) {
            let comment = &pair[0][1];
            assert!(comment.starts_with("forwarded, service web, endpoint ep0, worker 0"), "{comment}");
            assert_eq!(pair[0][2..], [&client, "", "", "80"].map(str::to_owned), "{comment}");
            assert_eq!(pair[1][2..], [&client, &edge_v6, "0x0800", "80"].map(str::to_owned), "{comment}");
            assert_eq!((&pair[0][1], pair[0][0] != pair[1][0]), (&pair[1][1], true), "in and out");
        }
        let ages = fields(&out, &["frame.time_epoch"]);
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        assert!(
            ages.iter().all(|age| (0.0..300.0).contains(&(now - age[0].parse::<f64>().expect("a time")))),
            "{ages:?}"
        );
        load.finish().into_iter().for_each(|who| assert!(who.is_ok()));
        edge.metrics().assert_balanced();
    }
}

#[test]
fn what_is_dropped_is_there_with_its_reason_and_what_is_not_asked_for_is_not() {
    if testkit::skipped() {
        return;
    }
    let (topology, dir) = (topology(), tempfile::tempdir().expect("a directory"));
    let edge = start(&topology, Driver::XdpGeneric);
    let out = dir.path().join("out.pcapng");
    let capturing = capture(&edge, &["--drops", "--sample", "2", "--count", "5", "--snap", "100"], &out, 1);
    let load = Load::start(&topology.client, SocketAddr::new(VIP, 80));
    load.run(5);
    datagrams(&topology, 10);
    assert!(capturing.wait(SOON).success(), "{}", capturing.log());
    let names = ["frame.comment", "frame.len", "frame.cap_len", "udp.dstport"];
    let dropped = "dropped: no_service, worker 0, queue 0";
    assert_eq!(fields(&out, &names), vec![[dropped, "1042", "100", "80"].map(str::to_owned); 5]);

    // Of these conditions one always fails.
    let strange = ["--client", "198.51.100.0/24", "--seconds", "1"];
    let other = ["--service", "other", "--seconds", "1"];
    for (number, options) in [(2, &strange), (3, &other)] {
        let capturing = capture(&edge, options, &out, number);
        load.run(5);
        datagrams(&topology, 5);
        assert!(capturing.wait(SOON).success(), "{}", capturing.log());
        assert!(capturing.log().contains("0 packets"), "{}", capturing.log());
        assert!(fields(&out, &names).is_empty(), "an empty file can be read, too");
    }
    load.finish().into_iter().for_each(|who| assert!(who.is_ok()));
    edge.metrics().assert_balanced();
}

#[test]
fn one_goes_on_at_a_time_and_ends_with_whoever_asked_for_it() {
    if testkit::skipped() {
        return;
    }
    let (topology, dir) = (topology(), tempfile::tempdir().expect("a directory"));
    let edge = start(&topology, Driver::XdpNative);
    let out = dir.path().join("out.pcapng");
    let first = capture(&edge, &["--client", &CLIENT_V4.to_string()], &out, 1);
    for (options, reason) in [
        (&["--service", "none"][..], "another capture goes on"),
        (&["--client", "198.51.100.7/24"], "host bits"),
        (&["--endpoint", "ep0"], "--service"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(["capture", "--socket", &edge.socket()]).args(options).arg(dir.path().join("no.pcapng"));
        let refused = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(reason), "{reason}: {said}");
    }
    // A set that comes into force meanwhile changes nothing for it.
    edge.apply(json!([{ "name": "web", "vip": VIP, "endpoints": [
        { "name": "ep0", "address": topology.endpoints[0].addresses.1, "weight": 7 },
    ] }]));
    datagrams(&topology, 1);
    let is_there = || fields(&out, &["frame.comment"]).iter().any(|words| words[0].contains("endpoint ep0"));
    assert!(wait_until(SOON, is_there), "a packet can be read as soon as it has come: {}", first.log());
    first.signal(rustix::process::Signal::INT);
    assert!(first.wait(SOON).success(), "{}", first.log());
    assert!(first.log().contains("packet"), "it says what there is: {}", first.log());
    assert!(wait_until(SOON, || edge.log().contains("the capture has ended")), "{}", edge.log());
    let second = capture(&edge, &[], &out, 2);
    second.signal(rustix::process::Signal::KILL);
    assert!(wait_until(SOON, || edge.log().matches("the capture has ended").count() == 2), "{}", edge.log());
}

/// What counts where a service did that is gone is none of its packets.
#[test]
fn a_service_that_goes_and_comes_back_is_followed() {
    if testkit::skipped() {
        return;
    }
    let (topology, dir) = (topology(), tempfile::tempdir().expect("a directory"));
    let edge = Edge::start(&topology.edge, Driver::XdpNative);
    let endpoint = json!({ "name": "ep0", "address": topology.endpoints[0].addresses.1 });
    let of = |name: &str| json!({ "name": name, "vip": VIP, "endpoints": [endpoint] });
    edge.apply(json!([of("web")]));
    let out = dir.path().join("out.pcapng");
    let capturing = capture(&edge, &["--service", "web"], &out, 1);
    let comments = || fields(&out, &["frame.comment"]);
    datagrams(&topology, 1);
    assert!(wait_until(SOON, || comments().len() == 2), "{}", capturing.log());
    // The cells of what is gone are used again once nobody forwards by them any more.
    for round in 0..8 {
        edge.apply(json!([of(&format!("other{round}"))]));
        datagrams(&topology, 1);
        // One on its way would be the next service's.
        let sent = || edge.metrics().sum("pointsman_sent_packets_total");
        assert!(wait_until(SOON, || sent() == 2 + round), "round {round}: {}", sent());
    }
    assert!(wait_until(SOON, || capturing.log().contains("web is gone")), "{}", capturing.log());
    edge.apply(json!([of("web")]));
    assert!(wait_until(SOON, || capturing.log().contains("web is there again")), "{}", capturing.log());
    datagrams(&topology, 1);
    assert!(wait_until(SOON, || comments().len() == 4), "{:?}\n{}", comments(), capturing.log());
    assert!(comments().iter().all(|comment| comment[0].contains("service web, endpoint ep0")), "{:?}", comments());
}

#[test]
fn a_file_that_cannot_be_written_is_said() {
    if testkit::skipped() {
        return;
    }
    let topology = topology();
    let edge = start(&topology, Driver::XdpNative);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let refused = command.args(["capture", "--socket", &edge.socket(), "/dev/full"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("/dev/full: cannot be written: No space left"), "{said}");
}
