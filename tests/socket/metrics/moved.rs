//! Every metric is moved by something: a counter that nothing increments, or a drop reason that nothing reaches, fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapWriter};
use pointsman::forward::verdict::{DropReason, Verdict};
use pointsman::forward::{Flows, forward};
use pointsman::frame::{Frame, Span};
use pointsman::io::KernelStatistics;
use pointsman::moment::Moment;
use pointsman::stats::{METRICS, Report, Tally, Value};
use serde_json::{Value as Json, json};

use super::memory_node::{MemoryNode, bytes, golden, golden_cases, golden_set};

/// What is above 0, as `name` and as `name{labels}`.
type Moved = BTreeSet<String>;

#[test]
fn every_metric_is_moved_by_something() {
    let mut moved = moved_by_golden_packets();
    moved.extend(moved_in_memory());
    moved.extend(without_headroom());
    let names = METRICS.iter().map(|metric| metric.name.to_owned());
    let reasons = DropReason::ALL.iter().map(|reason| format!("pointsman_drops_total{{{}}}", reason.name()));
    // What another version has counted comes by an upgrade alone.
    let elsewhere = "pointsman_drops_total{other_version}";
    let unmoved: Vec<String> = names.chain(reasons).filter(|name| name != elsewhere && !moved.contains(name)).collect();
    assert!(unmoved.is_empty(), "nothing moves {unmoved:?}");
}

fn note(moved: &mut Moved, name: &str, labels: &str) {
    moved.insert(name.to_owned());
    moved.insert(format!("{name}{{{labels}}}"));
}

fn moved_in(report: &Report) -> Moved {
    let mut moved = Moved::new();
    for metric in METRICS {
        for (labels, value) in (metric.samples)(report) {
            let is_moved = match value {
                Value::Number(number) => number > 0.0,
                Value::Summary(summary) => summary.count > 0 && summary.quantiles.is_some(),
            };
            if is_moved {
                note(&mut moved, metric.name, &labels.join(","));
            }
        }
    }
    moved
}

/// The built program replays all golden packets; its report has the counters.
fn moved_by_golden_packets() -> Moved {
    let mut by_config = BTreeMap::<String, Vec<Json>>::new();
    for case in golden_cases() {
        let config = case["config"].as_str().unwrap_or("config.toml").to_owned();
        by_config.entry(config).or_default().push(case);
    }
    let mut moved = Moved::new();
    for (config, cases) in &by_config {
        for (name, value) in replay(config, cases).as_object().expect("an object") {
            collect(name, "", value, &mut moved);
        }
    }
    moved
}

fn collect(name: &str, labels: &str, value: &Json, moved: &mut Moved) {
    match value {
        Json::Object(members) => {
            for (label, value) in members {
                let labels = if labels.is_empty() { label.clone() } else { format!("{labels},{label}") };
                collect(name, &labels, value, moved);
            }
        }
        value if value.as_f64().is_some_and(|value| value > 0.0) => note(moved, name, labels),
        _ => {}
    }
}

/// The counters that the program reports of these cases.
fn replay(config: &str, cases: &[Json]) -> Json {
    let directory = tempfile::tempdir().expect("a directory");
    let [input, output, report] = ["in.pcap", "out.pcap", "report.json"].map(|name| directory.path().join(name));
    let mut writer = PcapWriter::new(File::create(&input).expect("to create it")).expect("to begin it");
    let mut at = Duration::from_secs(1_800_000_000);
    for case in cases {
        at += Duration::from_secs_f64(case["after"].as_f64().unwrap_or(0.1));
        let frame = bytes(&case["in"]);
        for _ in 0..case["times"].as_u64().unwrap_or(1) {
            at += Duration::from_micros(1);
            writer.write_packet(&PcapPacket::new(at, frame.len() as u32, &frame)).expect("to write it");
        }
    }
    drop(writer);
    let run = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .arg("replay")
        .args([Path::new("--config"), &golden(config), Path::new("--set"), &golden("set.json")])
        .args([Path::new("--json"), &report, &input, &output])
        .output()
        .expect("the program runs");
    assert!(run.status.success(), "replay failed: {}", String::from_utf8_lossy(&run.stderr));
    let mut report: Json = serde_json::from_reader(File::open(report).expect("there")).expect("JSON");
    report["counters"].take()
}

/// What no capture can show: memory that runs out, ways that are not known, the kernel's counters, time, handovers.
fn moved_in_memory() -> Moved {
    let mut node = MemoryNode::new();
    node.apply(&golden_set());
    let frames: Vec<Vec<u8>> = golden_cases().iter().map(|case| bytes(&case["in"])).collect();
    node.forward(&frames);
    node.forward(&[vec![0; 60]]);

    // All that speak next are older than this change, so they are tracked.
    node.apply(&replaced(&golden_set()));
    node.forward(&frames);
    node.pass(pointsman::moment::SECOND);
    node.counters.collect();
    let mut moved = moved_in(&node.counters.report());

    node.resolve(false);
    node.forward(&frames);
    moved.extend(moved_in(&node.counters.report()));

    let counted = KernelStatistics::from_array([1, 2, 3, 4, 5, 6]);
    node.run_worker(counted, |report| report.pointsman_xsk_tx_ring_empty_total["0"] == 6);
    let report = node.counters.report();
    assert_eq!(report.pointsman_xsk_rx_ring_full_total["0"], 2, "each in its own place");
    moved.extend(moved_in(&report));
    moved.extend(without_frames(&frames));
    moved
}

/// The same set with other endpoints, while the old ones drain.
fn replaced(set: &str) -> String {
    let mut set: Json = serde_json::from_str(set).expect("JSON");
    for service in set["services"].as_array_mut().expect("a list") {
        let Some(endpoints) = service["endpoints"].as_array_mut().filter(|endpoints| !endpoints.is_empty()) else {
            continue;
        };
        let address = endpoints[0]["address"].clone();
        endpoints[0]["state"] = json!("draining");
        endpoints.push(json!({ "name": "its successor", "address": address }));
    }
    set.to_string()
}

/// Packets that have to be cut, in a memory that has no frame for their parts.
fn without_frames(frames: &[Vec<u8>]) -> Moved {
    let mut node = MemoryNode::with_frames(1);
    node.apply(&golden_set());
    node.forward(frames);
    moved_in(&node.counters.report())
}

/// A frame with too little room before it, as no driver gives it.
fn without_headroom() -> Moved {
    let mut node = MemoryNode::new();
    node.apply(&golden_set());
    let snapshot = node.builder.snapshot();
    let mut tally = Tally::default();
    for case in golden_cases() {
        let mut frame = bytes(&case["in"]);
        let span = Span { start: 0, len: frame.len() };
        let mut frame = Frame::new(&mut frame, span).expect("inside");
        let verdict = forward(&mut frame, &snapshot, &mut Flows::default(), Moment::default());
        if matches!(verdict, Verdict::Dropped(DropReason::NoHeadroom, _)) {
            tally.count(verdict, span.len, 0);
        }
    }
    let mut report = Report::default();
    report.add_worker(0, &tally);
    moved_in(&report)
}
