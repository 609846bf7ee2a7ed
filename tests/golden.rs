//! Golden packets: frames and what must become of them, as `tests/golden/make.py` has worked it out without pointsman.
//! The built program replays them all; verdicts and bytes are compared.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use serde::Deserialize;
use serde_json::Value;

const DEFAULT_CONFIG: &str = "config.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    description: String,
    config: Option<String>,
    #[serde(rename = "in")]
    frame: String,
    verdict: String,
    reason: Option<String>,
    /// `None`: not looked at. `Some(None)`: there must be none.
    #[serde(default, deserialize_with = "present")]
    service: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    endpoint: Option<Option<String>>,
    out: Option<String>,
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
        assert_eq!(case.out.is_some(), leaves, "{}", case.description);
        assert_eq!(case.reason.is_some(), case.verdict == "dropped", "{}", case.description);
    }
}

fn load() -> Vec<Case> {
    let cases = std::fs::read_to_string(golden("cases.json")).expect("the cases are there");
    serde_json::from_str(&cases).expect("the cases are well formed")
}

/// Replays these cases, and says of each that went wrong what it did.
fn replay(config: &str, cases: &[&Case]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let [input, output, report] = ["in.pcap", "out.pcap", "report.json"].map(|name| directory.path().join(name));
    write_capture(&input, cases);
    let run = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .arg("replay")
        .args([Path::new("--config"), &golden(config), Path::new("--set"), &golden("set.json")])
        .args([Path::new("--json"), &report, &input, &output])
        .output()
        .expect("the program runs");
    assert!(run.status.success(), "replay failed: {}", String::from_utf8_lossy(&run.stderr));

    let report = File::open(report).expect("there is a report");
    let report: Report = serde_json::from_reader(report).expect("the report is well formed");
    assert_eq!(report.packets.len(), cases.len(), "packets reported");
    let mut sent = read_capture(&output).into_iter();
    let mut wrong = Vec::new();
    for (index, (case, packet)) in cases.iter().zip(&report.packets).enumerate() {
        assert_eq!(packet.index, index, "packets are numbered from 0, in order");
        // What was sent says how far to read on, whatever was expected: one wrong case does not spoil those after it.
        let leaves = matches!(packet.verdict.as_str(), "forwarded" | "answered");
        let frame = leaves.then(|| sent.next().unwrap_or_else(|| "nothing, though the report says so".into()));
        wrong.extend(compare(case, packet, frame).map(|difference| format!("- {}: {difference}", case.description)));
    }
    wrong.extend(sent.map(|frame| format!("- sent, and not in the report: {frame}")));
    wrong
}

/// The first difference between what was expected and what came.
fn compare(case: &Case, packet: &Packet, frame: Option<String>) -> Option<String> {
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
    (frame != case.out).then(|| {
        let show = |frame: Option<&String>| frame.map_or("nothing".to_owned(), Clone::clone);
        format!("\n    expected {}\n    sent     {}", show(case.out.as_ref()), show(frame.as_ref()))
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

/// The cases' frames, a tenth of a second apart.
fn write_capture(path: &Path, cases: &[&Case]) {
    let mut writer = PcapWriter::new(File::create(path).expect("to create the capture")).expect("to begin it");
    for (index, case) in (0..).zip(cases) {
        let frame = bytes(&case.frame);
        let at = Duration::from_secs(1_800_000_000) + Duration::from_millis(100) * index;
        let length = u32::try_from(frame.len()).expect("a frame is short");
        writer.write_packet(&PcapPacket::new(at, length, &frame)).expect("to write a frame");
    }
}

fn read_capture(path: &Path) -> Vec<String> {
    let mut reader = PcapReader::new(File::open(path).expect("there is an output")).expect("it is a capture");
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(hex(&packet.expect("a whole packet").data));
    }
    frames
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
