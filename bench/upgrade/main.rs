//! Upgrades and restarts of a real daemon under load: what is lost, and for how long nobody forwards. Needs root.
//! `bench/README.md` says how to read it.

mod flood;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use testkit::{Asked, Driver, Edge, Pauses, Sessions, Stream, Topology, wait_until};

use flood::Flood;
use testkit::updates::syncer::service;

/// For how long nobody forwards by upgrades and restarts, and what is lost (needs root)
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these
    #[arg(long, value_enum)]
    case: Vec<Case>,
    /// Upgrades in a row
    #[arg(long, default_value_t = 50)]
    upgrades: usize,
    /// Tracked flows of each worker in the case `flows`
    #[arg(long, default_value_t = 1_900_000)]
    flows: u64,
    /// Services in the case `restart`, all but one of ten endpoints; the limit is that of one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    services: u32,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Numbered datagrams, AF_XDP in the device driver
    Native,
    /// The same in the kernel's generic hook
    Generic,
    /// A thousand HTTP connections, all in use
    Http,
    /// Numbered datagrams, with memory for two million tracked flows a worker, nearly full
    Flows,
    /// SIGTERM and a start
    Restart,
}

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// The pause that 99 of 100 do not exceed is to be shorter than this, in milliseconds.
const P99: f64 = 5.0;
/// From SIGTERM until packets come through again.
const RESTART: Duration = Duration::from_millis(300);
/// Flows of the stream, with a datagram each every so often: 8,000 a second.
const FLOWS: u32 = 16;
const PAUSE: Duration = Duration::from_millis(2);
/// Memory for so many flows in the case that fills it.
const TRACKED_FLOWS: u32 = 1 << 21;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if testkit::skipped() {
        return ExitCode::SUCCESS;
    }
    let cases = if arguments.case.is_empty() { Case::value_variants() } else { &arguments.case };
    let missed: Vec<String> = cases.iter().flat_map(|case| case.run(&arguments)).collect();
    missed.iter().for_each(|missed| println!("missed: {missed}"));
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Case {
    /// Answers what is missed.
    fn run(self, arguments: &Arguments) -> Vec<String> {
        let missed = match self {
            Self::Native => stream(Driver::XdpNative, arguments.upgrades),
            Self::Generic => stream(Driver::XdpGeneric, arguments.upgrades),
            Self::Http => connections(arguments.upgrades),
            Self::Flows => tracked_flows(arguments),
            Self::Restart => restarts(arguments.services),
        };
        missed.into_iter().map(|missed| format!("{self:?}: {missed}")).collect()
    }
}

fn stream(driver: Driver, upgrades: usize) -> Vec<String> {
    let topology = topology(2);
    let mut edge = Edge::start(&topology.edge, driver);
    edge.apply(set(&topology, &["active"; 2]));
    let stream = numbered(&topology);
    stream.run(50);
    let pauses = upgrade(&mut edge, upgrades, || stream.run(20));
    judge(&format!("{driver:?}, numbered datagrams"), &edge, pauses, (2 * upgrades, stream))
}

fn connections(upgrades: usize) -> Vec<String> {
    let topology = topology(2);
    let _servers: Vec<Asked> = topology.endpoints.iter().map(|e| Asked::start(&e.namespace, &e.name)).collect();
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    edge.apply(set(&topology, &["active"; 2]));
    let sessions = Sessions::start(&topology.client, VIP, 1_000);
    let stream = numbered(&topology);
    let pauses = upgrade(&mut edge, upgrades, || stream.run(20));
    let broken = sessions.broken("after upgrades");
    println!("{} rounds of requests over 1,000 connections, {broken} broken", sessions.rounds());
    let mut missed = judge("1,000 HTTP connections", &edge, pauses, (2 * upgrades, stream));
    missed.extend((broken > 0).then(|| format!("{broken} connections broke")));
    missed
}

/// All slots remember, so that every flow is tracked.
fn tracked_flows(arguments: &Arguments) -> Vec<String> {
    let (topology, upgrades) = (topology(4), arguments.upgrades.min(20));
    let keys = format!("[handover]\ntracked_flows = {TRACKED_FLOWS}\n");
    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).sections(&keys).start();
    edge.apply(set(&topology, &["active", "active"]));
    edge.apply(set(&topology, &["draining", "draining", "active", "active"]));
    let flood = Flood::start(&topology.client, &topology.edge, VIP);
    let tracked = || edge.metrics().sum("pointsman_tracked_flows");
    let is_full = wait_until(Duration::from_secs(60), || tracked() >= 2 * arguments.flows);
    drop(flood);
    println!("{} flows are tracked", tracked());
    let stream = numbered(&topology);
    stream.run(50);
    let pauses = upgrade(&mut edge, upgrades, || stream.run(20));
    let mut missed = judge("tables of tracked flows nearly full", &edge, pauses, (2 * upgrades, stream));
    missed.extend((!is_full).then(|| "the tables did not get full".to_owned()));
    missed
}

/// With so many services; the datagrams go to the first.
fn restarts(services: u32) -> Vec<String> {
    let topology = topology(2);
    // The others' endpoints are all behind one router.
    let router = topology.endpoints[0].addresses.1.to_string();
    topology.edge.run(&["ip", "route", "add", "2001:db8:10::/44", "via", &router]);
    let mut set = set(&topology, &["active"; 2]);
    set.as_array_mut().expect("a list of services").extend((1..services).map(|number| service(number, 0)));
    // The steering program stays meanwhile, as under systemd.
    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).keeping_descriptors(8).start();
    edge.apply(set);
    let silences = [(); 5].map(|()| {
        let stream = numbered(&topology);
        stream.run(50);
        edge.stop();
        edge.run();
        stream.run(50);
        stream.finish().1.silence
    });
    println!("restarts with {services} services: nothing came for {silences:?}");
    let longest = silences.iter().max().expect("five");
    (services == 1 && *longest >= RESTART)
        .then(|| format!("{longest:?} from SIGTERM until packets came through again"))
        .into_iter()
        .collect()
}

/// So many upgrades in a row, with `between` after each.
fn upgrade(edge: &mut Edge<'_>, upgrades: usize, between: impl Fn()) -> Pauses {
    let mut pauses = Pauses::default();
    for number in 1..=upgrades {
        let answer = edge.upgrade();
        eprintln!("upgrade {number} of {upgrades}: {} s", answer["longest_pause"]);
        pauses.take(&answer);
        between();
    }
    pauses
}

/// Prints what there is to say, and answers what is missed.
fn judge(what: &str, edge: &Edge<'_>, pauses: Pauses, (count, stream): (usize, Stream)) -> Vec<String> {
    let (sent, heard) = stream.finish();
    let (metrics, mut missed) = (edge.metrics(), Vec::new());
    metrics.assert_balanced();
    let [full, dropped] = ["pointsman_xsk_rx_ring_full_total", "pointsman_drops_total"].map(|name| metrics.sum(name));
    println!(
        "{what}: {pauses}; of {sent} datagrams {} came, {} lost, {} twice or out of order; {full} found an RX ring full, {dropped} dropped",
        heard.count, heard.lost, heard.late
    );
    if (heard.count, heard.lost, heard.late) != (sent, 0, 0) {
        missed.push(format!("{heard:?} of {sent}"));
    }
    if pauses.count() != count || pauses.quantile(0.99) >= P99 {
        missed.push(format!("{pauses}"));
    }
    missed
}

fn numbered(topology: &Topology) -> Stream {
    let endpoints: Vec<_> = topology.endpoints.iter().map(|endpoint| &endpoint.namespace).collect();
    Stream::start(&topology.client, VIP, &endpoints, FLOWS, PAUSE)
}

fn topology(endpoints: usize) -> Topology {
    Topology::with_endpoints(2, endpoints, &[VIP])
}

/// The first endpoints in these states.
fn set(topology: &Topology, states: &[&str]) -> Value {
    json!([{ "name": "web", "vip": VIP, "endpoints": topology.in_states(states) }])
}
