//! Handover (section 7 of the contract) as `replay` shows it: slots remember, flows are tracked only where a change could
//! break them, and a node without a history makes the same choice.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapWriter};
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = "[interface]\nname = \"eth0\"\n[underlay]\nsource_v6 = \"2001:db8:51b::1\"\n\
    next_hop = \"02:00:00:00:00:fe\"\n[handover]\nwindow = \"600s\"\n";
/// When captures begin, in seconds since 1970.
pub(crate) const START: u64 = 1_795_255_200;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
const FIN: u8 = 0x11;

/// A capture, and the sets that are applied meanwhile.
pub(crate) struct Play {
    directory: TempDir,
    packets: Vec<(u64, Vec<u8>)>,
    sets: Vec<(u64, Value)>,
}

impl Play {
    pub(crate) fn new(first: Value) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, packets: Vec::new(), sets: vec![(0, first)] }
    }

    /// A segment of each of these flows at that second.
    pub(crate) fn send(&mut self, second: u64, flags: u8, flows: impl IntoIterator<Item = u16>) {
        self.packets.extend(flows.into_iter().map(|flow| (second, segment(flow, flags))));
    }

    pub(crate) fn datagrams(&mut self, second: u64, flows: impl IntoIterator<Item = u16>) {
        self.packets.extend(flows.into_iter().map(|flow| (second, datagram(flow))));
    }

    /// Any frame at that second.
    pub(crate) fn frame(&mut self, second: u64, frame: Vec<u8>) {
        self.packets.push((second, frame));
    }

    pub(crate) fn apply(&mut self, second: u64, set: Value) {
        self.sets.push((second, set));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The endpoint that each packet went to, and the report.
    pub(crate) fn run(&self) -> (Vec<String>, Value) {
        fs::write(self.path("config.toml"), CONFIG).expect("written");
        let mut writer = PcapWriter::new(File::create(self.path("in.pcap")).expect("made")).expect("written");
        for (second, frame) in &self.packets {
            let at = Duration::from_secs(START + second);
            writer.write_packet(&PcapPacket::new(at, frame.len() as u32, frame)).expect("written");
        }
        drop(writer);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.arg("replay").arg("--config").arg(self.path("config.toml"));
        for (number, (second, set)) in self.sets.iter().enumerate() {
            let path = self.path(&format!("set-{number}"));
            fs::write(&path, set.to_string()).expect("written");
            match number {
                0 => command.arg("--set").arg(path),
                _ => command.arg("--then").arg(format!("{second}={}", path.display())),
            };
        }
        let output = command.arg("--json").arg(self.path("report.json"));
        let output = output.arg(self.path("in.pcap")).arg(self.path("out.pcap")).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value =
            serde_json::from_slice(&fs::read(self.path("report.json")).expect("written")).expect("JSON");
        let packets = report["packets"].as_array().expect("a list").iter();
        let endpoints = packets.map(|packet| packet["endpoint"].as_str().unwrap_or("none").to_owned()).collect();
        (endpoints, report)
    }
}

fn frame(protocol: u8, flow: u16, upper: &[u8]) -> Vec<u8> {
    let [high, low] = flow.to_be_bytes();
    let mut frame =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 20 + upper.len() as u8, 0, 0, 0x40, 0, 64];
    frame.extend([protocol, 0, 0, 198, 51, high, low, 203, 0, 113, 53]);
    frame.extend(upper);
    frame
}

fn segment(flow: u16, flags: u8) -> Vec<u8> {
    let mut tcp = [0; 20];
    tcp[..4].copy_from_slice(&[0x80, 1, 0, 80]);
    (tcp[12], tcp[13]) = (0x50, flags);
    frame(6, flow, &tcp)
}

fn datagram(flow: u16) -> Vec<u8> {
    frame(17, flow, &[0x80, 1, 0, 53, 0, 8, 0, 0])
}

pub(crate) fn endpoint(name: &str) -> Value {
    let host = name.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    json!({ "name": name, "address": format!("2001:db8:10::{host:x}") })
}

pub(crate) fn in_state(name: &str, state: &str) -> Value {
    let mut endpoint = endpoint(name);
    endpoint["state"] = state.into();
    endpoint
}

fn set(endpoints: &[Value]) -> Value {
    json!({ "services": [{ "name": "web", "vip": "203.0.113.53", "endpoints": endpoints }] })
}

pub(crate) const FLOWS: u16 = 400;

/// Packets by flow: how many of `flows` flows' packets there were, each in the order of the flows.
pub(crate) fn rounds(endpoints: &[String]) -> Vec<&[String]> {
    endpoints.chunks(usize::from(FLOWS)).collect()
}

#[test]
fn a_draining_endpoint_keeps_its_flows_and_gets_no_new_ones() {
    let mut play = Play::new(set(&[endpoint("a"), endpoint("b")]));
    play.send(0, SYN, 0..FLOWS);
    play.send(1, ACK, 0..FLOWS);
    play.apply(2, set(&[in_state("a", "draining"), endpoint("b"), endpoint("c")]));
    play.send(3, ACK, 0..FLOWS);
    play.send(4, SYN, FLOWS..2 * FLOWS);
    play.send(5, ACK, FLOWS..2 * FLOWS);
    // The window is over; those that have spoken in it are tracked.
    play.send(700, ACK, 0..FLOWS);
    play.send(701, ACK, FLOWS..2 * FLOWS);
    let (endpoints, report) = play.run();
    let rounds = rounds(&endpoints);
    assert_eq!(rounds[0], rounds[1]);
    assert_eq!(rounds[0], rounds[2], "no flow moves");
    assert!(rounds[3].iter().all(|name| name != "a") && rounds[3].contains(&"c".to_owned()), "new flows");
    assert_eq!((rounds[3], rounds[0]), (rounds[4], rounds[5]));
    assert_eq!(rounds[3], rounds[6]);
    let tracked = report["counters"]["pointsman_tracked_flows"]["web"].as_u64().expect("a number");
    assert!(tracked > 0 && tracked < 2 * u64::from(FLOWS), "{tracked} flows are tracked, not all");
    assert_eq!(report["counters"]["pointsman_handover_open"]["web"], 0);
}

#[test]
fn an_endpoint_that_is_gone_or_down_keeps_nothing() {
    for second in [set(&[endpoint("b")]), set(&[in_state("a", "down"), endpoint("b")])] {
        let mut play = Play::new(set(&[endpoint("a"), endpoint("b")]));
        play.send(0, SYN, 0..FLOWS);
        play.apply(1, set(&[in_state("a", "draining"), endpoint("b")]));
        play.send(2, ACK, 0..FLOWS);
        play.apply(3, second);
        play.send(4, ACK, 0..FLOWS);
        let (endpoints, _) = play.run();
        let rounds = rounds(&endpoints);
        assert_eq!(rounds[0], rounds[1]);
        assert!(rounds[2].iter().all(|name| name == "b"), "its flows move at once");
    }
}

#[test]
fn who_says_nothing_for_a_window_takes_the_new_endpoint() {
    let mut play = Play::new(set(&[endpoint("a"), endpoint("b")]));
    play.send(0, SYN, 0..FLOWS);
    play.apply(1, set(&[in_state("a", "draining"), endpoint("b")]));
    play.send(590, ACK, 0..FLOWS / 2);
    play.send(602, ACK, 0..FLOWS);
    let (endpoints, _) = play.run();
    let (first, last) = (&endpoints[..usize::from(FLOWS)], &endpoints[usize::from(FLOWS) * 3 / 2..]);
    let half = usize::from(FLOWS / 2);
    assert_eq!(first[..half], last[..half]);
    let moved: Vec<usize> = (half..last.len()).filter(|at| last[*at] != "b").collect();
    assert!(moved.is_empty(), "{moved:?}");
}

#[test]
fn a_flow_of_datagrams_that_speaks_once_a_window_stays() {
    let mut play = Play::new(set(&[endpoint("a"), endpoint("b")]));
    play.datagrams(0, 0..FLOWS);
    play.apply(1, set(&[in_state("a", "draining"), endpoint("b")]));
    for second in [550, 1_100, 1_650] {
        play.datagrams(second, 0..FLOWS);
    }
    let (endpoints, _) = play.run();
    let rounds = rounds(&endpoints);
    assert!(rounds.iter().all(|round| *round == rounds[0]));
}

#[test]
fn nothing_is_tracked_while_nothing_changes() {
    let mut play = Play::new(set(&[endpoint("a"), endpoint("b")]));
    play.send(0, SYN, 0..FLOWS);
    play.apply(1, set(&[endpoint("b"), endpoint("a")]));
    play.send(2, ACK, 0..FLOWS);
    let (_, report) = play.run();
    assert_eq!(report["counters"]["pointsman_tracked_flows"]["web"], 0);
    assert_eq!(report["counters"]["pointsman_handover_open"]["web"], 0);
}

/// Another node, which has only just heard of the set, sends flows that are older than the change to the same endpoints.
#[test]
fn a_node_without_a_history_takes_it_from_the_set() {
    let moment = |second: u64| {
        let seconds = START + second;
        let output = Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]).output();
        String::from_utf8_lossy(&output.expect("date runs").stdout).trim().to_owned()
    };
    let before = [endpoint("a"), endpoint("b"), endpoint("c")];
    let (mut leaving, mut coming) = (in_state("a", "draining"), endpoint("d"));
    (leaving["since"], coming["since"]) = (moment(1).into(), moment(1).into());
    let after = set(&[leaving, endpoint("b"), endpoint("c"), coming]);

    let mut old = Play::new(set(&before));
    old.send(0, SYN, 0..FLOWS);
    old.apply(1, after.clone());
    old.send(5, ACK, 0..FLOWS);
    old.send(500, FIN, 0..FLOWS);
    let (old, _) = old.run();
    let mut fresh = Play::new(after.clone());
    fresh.send(5, ACK, 0..FLOWS);
    fresh.send(500, FIN, 0..FLOWS);
    let (fresh, report) = fresh.run();
    assert_eq!(rounds(&old)[1..], rounds(&fresh)[..]);
    assert_eq!(report["counters"]["pointsman_handover_open"]["web"], 1);

    let mut late = Play::new(after);
    late.send(700, ACK, 0..FLOWS);
    let (late, report) = late.run();
    assert!(late.iter().all(|name| name != "a"), "a window later there is nothing to take over");
    assert_eq!(report["counters"]["pointsman_handover_open"]["web"], 0);
}
