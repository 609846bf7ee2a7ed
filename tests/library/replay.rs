//! `pointsman replay` as a user runs it: sets that change with the capture's own time, the report, clear errors.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = "[interface]\nname = \"eth0\"\n[underlay]\nsource_v6 = \"2001:db8:51b::1\"\n\
    next_hop = \"02:00:00:00:00:fe\"\n";

/// A directory with a config, two sets and a capture of a UDP datagram at each of these seconds.
struct Bench(TempDir);

impl Bench {
    fn new(seconds: &[u64]) -> Self {
        let bench = Self(tempfile::tempdir().expect("a directory"));
        fs::write(bench.path("config.toml"), CONFIG).expect("written");
        for name in ["first", "second"] {
            let endpoint = json!({ "name": name, "address": "2001:db8:10::a" });
            let set = json!({ "services": [{ "name": "dns", "vip": "203.0.113.53", "endpoints": [endpoint] }] });
            fs::write(bench.path(name), set.to_string()).expect("written");
        }
        let mut writer = PcapWriter::new(File::create(bench.path("in.pcap")).expect("made")).expect("written");
        for second in seconds {
            let packet = PcapPacket::new(Duration::from_secs(1_000_000 + second), DATAGRAM.len() as u32, &DATAGRAM);
            writer.write_packet(&packet).expect("written");
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn replay(&self, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.arg("replay").arg("--config").arg(self.path("config.toml")).arg("--set").arg(self.path("first"));
        command.args(more).arg("--json").arg(self.path("report.json"));
        command.arg(self.path("in.pcap")).arg(self.path("out.pcap")).output().expect("it starts")
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("report.json")).expect("written")).expect("JSON")
    }
}

/// From 198.51.100.7 port 4096 to 203.0.113.53 port 53, 8 bytes of UDP without data.
const DATAGRAM: [u8; 42] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 7, 203, 0,
    113, 53, 16, 0, 0, 53, 0, 8, 0, 0,
];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn times(path: &Path) -> Vec<u64> {
    let mut reader = PcapReader::new(File::open(path).expect("written")).expect("a capture");
    let mut times = Vec::new();
    while let Some(packet) = reader.next_packet() {
        times.push(packet.expect("whole").timestamp.as_secs());
    }
    times
}

#[test]
fn sets_change_with_the_captures_own_time() {
    let bench = Bench::new(&[0, 9, 10, 60]);
    let then = format!("10={}", bench.path("second").display());
    let output = bench.replay(&["--then", &then]);
    assert!(output.status.success(), "{}", said(&output));
    let report = bench.report();
    let packets = report["packets"].as_array().expect("a list");
    let endpoints: Vec<&Value> = packets.iter().map(|packet| &packet["endpoint"]).collect();
    assert_eq!(endpoints, ["first", "first", "second", "second"]);
    let third = json!({ "index": 2, "verdict": "forwarded", "reason": null, "service": "dns", "endpoint": "second" });
    assert_eq!(packets[2], third);
    let service = &report["services"][0];
    assert_eq!((&service["name"], &service["table_size"]), (&json!("dns"), &json!(1021)));
    assert_eq!(service["endpoints"][0]["slots"], 1021);
    assert_eq!(service["fingerprint"].as_str().map(str::len), Some(16));
    assert_eq!(report["counters"]["pointsman_sent_packets_total"], json!({ "0": 4 }));
    assert_eq!(times(&bench.path("out.pcap")), [1_000_000, 1_000_009, 1_000_010, 1_000_060]);
}

#[test]
fn errors_name_the_file_and_what_to_mend() {
    let bench = Bench::new(&[0]);
    fs::write(bench.path("config.toml"), "[interface]\nname = \"eth0\"\n").expect("written");
    assert!(said(&bench.replay(&[])).contains("set underlay.source_v6, underlay.source_v4 or both"));
    fs::write(bench.path("config.toml"), CONFIG.replace("next_hop", "#")).expect("written");
    assert!(said(&bench.replay(&[])).contains("set underlay.next_hop to a MAC address"));
    fs::write(bench.path("config.toml"), CONFIG.replace("[underlay]", "[underlay]\nmtu = 1")).expect("written");
    assert!(said(&bench.replay(&[])).contains("config.toml: line 4: underlay.mtu: 1 is not a whole number"));

    fs::write(bench.path("config.toml"), CONFIG).expect("written");
    let output = bench.replay(&["--then", "soon=x"]);
    assert_eq!(output.status.code(), Some(2), "bad usage");
    let output = bench.replay(&["--then", "1=/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("/nonexistent: cannot be read"), "{}", said(&output));
    let whole = fs::read(bench.path("in.pcap")).expect("written");
    fs::write(bench.path("in.pcap"), &whole[..whole.len() - 1]).expect("cut");
    assert!(said(&bench.replay(&[])).contains("in.pcap ends in the middle of a packet"));
}

#[test]
fn lookup_agrees_with_replay_without_a_network() {
    let bench = Bench::new(&[0]);
    fs::write(bench.path("config.toml"), "[interface]\nname = \"eth0\"\n").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["lookup", "--src", "198.51.100.7", "--dst", "203.0.113.53", "--protocol", "udp", "--sport", "4096"]);
    command.args(["--dport", "53", "--json", "--config"]).arg(bench.path("config.toml"));
    let output = command.arg("--set").arg(bench.path("first")).output().expect("it starts");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    assert_eq!((&answer["service"], &answer["endpoint"]), (&json!("dns"), &json!("first")));
    assert!(answer["slot"].is_u64() && answer["reason"].is_string());
}

/// A capture that a snap length has cut says so: what became of its packets is not what would have become of the whole ones.
#[test]
fn packets_that_the_snap_length_has_cut_are_counted() {
    let bench = Bench::new(&[0]);
    let mut writer = PcapWriter::new(File::create(bench.path("in.pcap")).expect("made")).expect("written");
    for kept in [42, 30, 41, 42] {
        let packet = PcapPacket::new(Duration::from_secs(1_000_000), DATAGRAM.len() as u32, &DATAGRAM[..kept]);
        writer.write_packet(&packet).expect("written");
    }
    drop(writer);
    let output = bench.replay(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("warning: the capture's snap length has cut 2 of its packets"), "{}", said(&output));
    let report = bench.report();
    assert_eq!(report["cut_packets"], 2);
    let verdicts = report["packets"].as_array().expect("a list").iter().map(|packet| &packet["verdict"]);
    assert_eq!(verdicts.collect::<Vec<_>>(), ["forwarded", "dropped", "dropped", "forwarded"]);
}
