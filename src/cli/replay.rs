//! `pointsman replay`: the same forwarding over a capture, with no privileges and no network.

use super::out::{say, warn};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::files::{load_config, load_set};
use super::offline::OfflineNode;
use pointsman::config;
use pointsman::forward::verdict::Verdict;
use pointsman::io::PacketIo;
use pointsman::io::capture_file::CaptureFile;
use pointsman::model::State;
use pointsman::moment::Moment;
use pointsman::snapshot::{ServiceEntry, Snapshot};
use pointsman::stats::{Board, Report as Counters};
use pointsman::underlay::path_mtu;
use pointsman::worker::{Pace, Worker};

/// What `replay` is asked to do.
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// The config; it needs underlay sources and a MAC address as next hop
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The endpoint set to begin with
    #[arg(long, value_name = "FILE")]
    set: PathBuf,
    /// Apply another set that many seconds after the first packet
    #[arg(long, value_name = "SECONDS=FILE", value_parser = parse_then)]
    then: Vec<Then>,
    /// Write a report of every packet as JSON
    #[arg(long = "json", value_name = "REPORT")]
    report: Option<PathBuf>,
    /// The capture to read: pcap, Ethernet
    input: PathBuf,
    /// The capture to write: all that would leave the node
    output: PathBuf,
}

/// A set to apply later.
#[derive(Clone, Debug)]
struct Then {
    after: Duration,
    set: PathBuf,
}

fn parse_then(text: &str) -> Result<Then, String> {
    let (seconds, file) = text.split_once('=').ok_or("not SECONDS=FILE")?;
    let seconds: f64 = seconds.parse().map_err(|_| format!("\"{seconds}\" is not a number of seconds"))?;
    let after = Duration::try_from_secs_f64(seconds).map_err(|error| format!("\"{seconds}\": {error}"))?;
    Ok(Then { after, set: file.into() })
}

#[derive(Serialize)]
struct Report {
    packets: Vec<Packet>,
    /// How many of the packets the capture's snap length has cut.
    cut_packets: u64,
    services: Vec<Service>,
    counters: Counters,
}

#[derive(Serialize)]
struct Packet {
    index: usize,
    verdict: &'static str,
    reason: Option<&'static str>,
    service: Option<String>,
    endpoint: Option<String>,
}

#[derive(Serialize)]
struct Service {
    name: String,
    table_size: u32,
    fingerprint: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    name: String,
    address: std::net::IpAddr,
    state: State,
    weight: u16,
    slots: u32,
}

/// Runs the command.
pub fn run(args: &Replay) -> Result<()> {
    let mut node = OfflineNode::new(load_config(&args.config)?)?;
    node.require_network()?;
    let first = load_set(&args.set)?;
    let mut then = args.then.iter().map(|then| Ok((then.after, load_set(&then.set)?))).collect::<Result<Vec<_>>>()?;
    then.sort_by_key(|(after, _)| std::cmp::Reverse(*after));

    let mut capture = CaptureFile::open(&args.input, &args.output)?;
    capture.next_time()?;
    let first = node.build(&first, capture.now())?.remove(0);
    let inbox = node.publisher.subscribe(first)?;
    let pace = Pace { batch: 1, poll: config::Poll::Busy };
    let mut worker = Worker::new(capture, inbox, Arc::new(Board::default()), node.flows(), pace).untimed();
    let mut packets = Vec::new();
    let mut start = None;
    while let Some(time) = worker.io().next_time()? {
        let start = *start.get_or_insert(time);
        while then.last().is_some_and(|(after, _)| start.checked_add(*after).is_some_and(|at| at <= time)) {
            if let Some((after, set)) = then.pop() {
                // By the time it was to be applied at, which is not that of the next packet.
                let publications = node.build(&set, Moment((start + after).as_nanos() as u64))?;
                node.publisher.post(publications);
                node.publisher.sweep();
            }
        }
        let now = worker.io().now();
        node.tick(now);
        let mut verdict = Verdict::Passed;
        worker.step(|seen: Verdict| verdict = seen)?;
        packets.push(describe(packets.len(), verdict, &node.builder.snapshot()));
        // What passes is the kernel's, which would tell what a router has to say of this node's own packets.
        let said = path_mtu::read_frame(worker.io().packet(), &node.builder.settings().sources);
        if verdict == Verdict::Passed && said.is_some_and(|said| node.builder.lower_mtu(said, now)) {
            node.resolve();
        }
    }
    let mut counters = Counters { pointsman_generation: node.builder.generation().0, ..Counters::default() };
    counters.add_worker(0, worker.tally());
    node.builder.count_into(&mut counters);
    let cut_packets = worker.io().cut();
    worker.into_io().finish()?;
    let services = node.builder.services().iter().map(|entry| summarise(entry)).collect();
    let report = Report { packets, cut_packets, services, counters };
    print_summary(&report);
    args.report.as_deref().map_or(Ok(()), |path| write_report(path, &report))
}

fn describe(index: usize, verdict: Verdict, snapshot: &Snapshot) -> Packet {
    let entry = |service: u32| snapshot.services.get(service as usize);
    let name = |service: u32| entry(service).map(|entry| entry.service.name.clone());
    let (word, reason, service, endpoint) = match verdict {
        Verdict::Forwarded(service, endpoint) => {
            let endpoint = entry(service).and_then(|entry| entry.service.endpoints.get(usize::from(endpoint)));
            ("forwarded", None, name(service), endpoint.map(|endpoint| endpoint.name.clone()))
        }
        Verdict::Answered(service) => ("answered", None, name(service), None),
        Verdict::Dropped(reason, service) => ("dropped", Some(reason.name()), service.and_then(name), None),
        Verdict::Passed => ("passed", None, None, None),
    };
    Packet { index, verdict: word, reason, service, endpoint }
}

fn summarise(entry: &ServiceEntry) -> Service {
    let endpoints = entry.service.endpoints.iter().zip(entry.slots());
    Service {
        name: entry.service.name.clone(),
        table_size: entry.table.size(),
        fingerprint: entry.fingerprint.clone(),
        endpoints: endpoints
            .map(|(endpoint, slots)| Endpoint {
                name: endpoint.name.clone(),
                address: endpoint.address,
                state: endpoint.state,
                weight: endpoint.weight,
                slots,
            })
            .collect(),
    }
}

fn print_summary(report: &Report) {
    let count = |verdict: &str| report.packets.iter().filter(|packet| packet.verdict == verdict).count();
    say!(
        "{} packets: {} forwarded, {} answered, {} dropped, {} passed",
        report.packets.len(),
        count("forwarded"),
        count("answered"),
        count("dropped"),
        count("passed")
    );
    for (reason, drops) in report.counters.pointsman_drops_total.iter().filter(|(_, drops)| **drops > 0) {
        say!("  dropped {drops}: {reason}");
    }
    if report.cut_packets > 0 {
        warn(&format!(
            "the capture's snap length has cut {} of its packets; what becomes of the whole ones cannot be told: capture \
             with a larger one (tcpdump -s 0)",
            report.cut_packets
        ));
    }
}

fn write_report(path: &Path, report: &Report) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("{}", path.display()))
}
