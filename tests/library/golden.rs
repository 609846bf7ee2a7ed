//! Golden packets: frames and what must become of them, as `tests/golden/make.py` has worked it out without pointsman.
//! The built program replays them all; verdicts and bytes are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use serde::Deserialize;
use serde_json::Value;

const DEFAULT_CONFIG: &str = "config.toml";
const BETWEEN_CASES: f64 = 0.1;
const BETWEEN_REPEATS: Duration = Duration::from_micros(1);

/// Why packets are dropped, but for what no capture can show: `not_a_vip` (replay passes those), `no_next_hop` (it is a
/// MAC address), `no_headroom` and `no_frame` (memory is no capture's matter).
const REASONS: [&str; 17] = [
    "truncated",
    "malformed",
    "martian_source",
    "group_frame",
    "ttl_expired",
    "fragment_without_first",
    "fragmented_icmp",
    "quote_unreadable",
    "quote_not_from_vip",
    "no_service",
    "not_allowed",
    "source_routed",
    "unknown_option",
    "loop",
    "no_endpoint",
    "no_outer_source",
    "too_big",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    description: String,
    config: Option<String>,
    /// Seconds since the case before it.
    after: Option<f64>,
    /// The frame comes that often.
    times: Option<usize>,
    #[serde(rename = "in")]
    frame: String,
    verdict: String,
    reason: Option<String>,
    /// `None`: not looked at. `Some(None)`: there must be none.
    #[serde(default, deserialize_with = "present")]
    service: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    endpoint: Option<Option<String>>,
    #[serde(default)]
    out: Out,
}

/// The frames that leave for the one that came, in their order.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Out {
    #[default]
    Nothing,
    One(String),
    Several(Vec<String>),
}

impl Out {
    fn frames(&self) -> &[String] {
        match self {
            Self::Nothing => &[],
            Self::One(frame) => std::slice::from_ref(frame),
            Self::Several(frames) => frames,
        }
    }
}

/// One frame of the capture, and the case it is from.
struct Arrival<'a> {
    at: Duration,
    case: &'a Case,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

#[derive(Deserialize)]
struct Report {
    packets: Vec<Packet>,
}

#[derive(Deserialize)]
struct Packet {
    index: usize,
    verdict: String,
    reason: Option<String>,
    service: Option<String>,
    endpoint: Option<String>,
}

#[test]
fn golden_packets() {
    let cases = load();
    let mut by_config = BTreeMap::<&str, Vec<&Case>>::new();
    for case in &cases {
        by_config.entry(case.config.as_deref().unwrap_or(DEFAULT_CONFIG)).or_default().push(case);
    }
    let wrong: Vec<String> = by_config.into_iter().flat_map(|(config, cases)| replay(config, &cases)).collect();
    assert!(wrong.is_empty(), "{} of {} cases went wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_table_is_consistent() {
    let cases = load();
    for verdict in ["forwarded", "answered", "dropped", "passed"] {
        assert!(cases.iter().any(|case| case.verdict == verdict), "no case is {verdict}");
    }
    for case in &cases {
        let leaves = matches!(case.verdict.as_str(), "forwarded" | "answered");
        assert_eq!(!case.out.frames().is_empty(), leaves, "{}", case.description);
        assert_eq!(case.reason.is_some(), case.verdict == "dropped", "{}", case.description);
    }
}

#[test]
fn every_reason_is_reached() {
    let cases = load();
    let reached: BTreeSet<&str> = cases.iter().filter_map(|case| case.reason.as_deref()).collect();
    assert_eq!(reached, BTreeSet::from(REASONS));
}

fn load() -> Vec<Case> {
    let cases = std::fs::read_to_string(golden("cases.json")).expect("the cases are there");
    serde_json::from_str(&cases).expect("the cases are well formed")
}

/// Replays these cases, and says of each that went wrong what it did.
fn replay(config: &str, cases: &[&Case]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let [input, output, report] = ["in.pcap", "out.pcap", "report.json"].map(|name| directory.path().join(name));
    let arrivals = timetable(cases);
    write_capture(&input, &arrivals);
    let run = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .arg("replay")
        .args([Path::new("--config"), &golden(config), Path::new("--set"), &golden("set.json")])
        .args([Path::new("--json"), &report, &input, &output])
        .output()
        .expect("the program runs");
    assert!(run.status.success(), "replay failed: {}", String::from_utf8_lossy(&run.stderr));

    let report = File::open(report).expect("there is a report");
    let report: Report = serde_json::from_reader(report).expect("the report is well formed");
    assert_eq!(report.packets.len(), arrivals.len(), "packets reported");
    let mut sent = read_capture(&output);
    let mut wrong = Vec::new();
    for (index, (Arrival { at, case }, packet)) in arrivals.iter().zip(&report.packets).enumerate() {
        assert_eq!(packet.index, index, "packets are numbered from 0, in order");
        let frames = sent.remove(at).unwrap_or_default();
        wrong.extend(compare(case, packet, &frames).map(|difference| format!("- {}: {difference}", case.description)));
    }
    wrong.extend(sent.values().map(|frames| format!("- sent when nothing came: {}", frames.join(" "))));
    wrong
}

/// When each frame comes. No two come at once, so the time of a frame that leaves says for which one it does.
fn timetable<'a>(cases: &[&'a Case]) -> Vec<Arrival<'a>> {
    let mut at = Duration::from_secs(1_800_000_000);
    let mut arrivals = Vec::new();
    for &case in cases {
        at += Duration::from_secs_f64(case.after.unwrap_or(BETWEEN_CASES));
        for repeat in 0..case.times.unwrap_or(1) {
            at += if repeat == 0 { Duration::ZERO } else { BETWEEN_REPEATS };
            arrivals.push(Arrival { at, case });
        }
    }
    arrivals
}

/// The first difference between what was expected and what came.
fn compare(case: &Case, packet: &Packet, frames: &[String]) -> Option<String> {
    let came = serde_json::json!([packet.verdict, packet.reason, packet.service, packet.endpoint]);
    let expected = serde_json::json!([
        case.verdict,
        case.reason,
        case.service.clone().unwrap_or_else(|| packet.service.clone()),
        case.endpoint.clone().unwrap_or_else(|| packet.endpoint.clone()),
    ]);
    if came != expected {
        return Some(format!("expected {}, came {}", plain(&expected), plain(&came)));
    }
    (frames != case.out.frames()).then(|| {
        let show = |frames: &[String]| frames.join("\n             ");
        format!("\n    expected {}\n    sent     {}", show(case.out.frames()), show(frames))
    })
}

fn plain(values: &Value) -> String {
    let words = ["verdict", "reason", "service", "endpoint"];
    let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
    words.iter().zip(values).map(|(word, value)| format!("{word} {value}")).collect::<Vec<_>>().join(", ")
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn write_capture(path: &Path, arrivals: &[Arrival]) {
    let mut writer = PcapWriter::new(File::create(path).expect("to create the capture")).expect("to begin it");
    for Arrival { at, case } in arrivals {
        let frame = bytes(&case.frame);
        let length = u32::try_from(frame.len()).expect("a frame is short");
        writer.write_packet(&PcapPacket::new(*at, length, &frame)).expect("to write a frame");
    }
}

/// The frames of a capture by their time.
fn read_capture(path: &Path) -> BTreeMap<Duration, Vec<String>> {
    let mut reader = PcapReader::new(File::open(path).expect("there is an output")).expect("it is a capture");
    let mut frames = BTreeMap::<Duration, Vec<String>>::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.expect("a whole packet");
        frames.entry(packet.timestamp).or_default().push(hex(&packet.data));
    }
    frames
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
