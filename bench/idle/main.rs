//! What adaptive polling is for: a worker without packets takes no core, wakes soon, and does not sleep under load. The real
//! daemon in a network namespace, with AF_XDP; needs root. `bench/README.md` says how to read it.

mod bare;
#[path = "../../tests/netns/mod.rs"]
mod netns;
#[path = "../node/mod.rs"]
mod node;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use netns::{Driver, Edge, Topology};
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use serde_json::json;

use node::stream::{Stream, flood, quantile};
use node::syncer::{Syncer, service};

/// What a worker takes, and how soon it wakes, where there is nothing to do (needs root)
#[derive(Debug, Parser)]
struct Arguments {
    /// Adaptive, then busy polling: so often
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Between two packets of a worker that is to sleep in between.
const PAUSE: Duration = Duration::from_millis(50);
/// The most microseconds that it may take to wake, and per cent of a core that it may take while there is nothing to do.
const MOST_TO_WAKE: f64 = 50.0;
const MOST_IDLE: f64 = 1.0;
/// How often a thread that does nothing but sleep is woken, to compare.
const WAKES: usize = 100;
const MODES: [&str; 2] = ["adaptive", "busy"];

fn main() {
    let arguments = Arguments::parse();
    if netns::skipped() {
        return;
    }
    let topology = node::topology();
    let cores = sched_getaffinity(None).expect("of this thread");
    let length = Duration::from_secs(arguments.seconds);
    let mut delays = [Vec::new(), Vec::new()];
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        for (mode, delays) in MODES.into_iter().zip(&mut delays) {
            // A daemon may use the cores that who starts it may use.
            sched_setaffinity(None, &cores).expect("as before");
            let edge = start(&topology, mode);
            if round == 1 {
                without_packets(&edge, mode);
            }
            let stream = Stream::start(&topology.client, PAUSE);
            // The first packets find out who the neighbours are.
            thread::sleep(Duration::from_secs(1));
            stream.during(0, || thread::sleep(length));
            delays.extend(stream.take(0));
            drop(stream);
            if round == arguments.rounds {
                under_load(&topology, &edge, mode);
            }
        }
    }
    delays.iter_mut().for_each(|delays| delays.sort_unstable());
    sched_setaffinity(None, &cores).expect("as before");
    report(&delays);
}

/// The daemon, with a set, polling in one of the modes.
fn start<'a>(topology: &'a Topology, mode: &str) -> Edge<'a> {
    let edge = Edge::start_on(&topology.edge, Driver::XdpNative, &format!("poll = \"{mode}\""));
    node::leave_its_core_to_the_worker(&edge);
    let mut service = service(0, 0);
    service["encap"] = json!({ "type": "gue" });
    Syncer::connect(&edge.socket()).apply("1", &[service]);
    edge
}

/// What the worker takes while nothing comes.
fn without_packets(edge: &Edge<'_>, mode: &str) {
    let worker = node::worker(edge);
    let (start, before) = (Instant::now(), Spent::of(&worker));
    thread::sleep(Duration::from_secs(5));
    let (spent, elapsed) = (Spent::of(&worker).since(before), start.elapsed().as_secs_f64());
    let (share, sleeps) = (spent.nanoseconds as f64 / elapsed / 1e7, spent.sleeps as f64 / elapsed);
    let missed = if mode == "adaptive" && share > MOST_IDLE { " missed" } else { "" };
    let target = if mode == "adaptive" { format!("   target {MOST_IDLE} %{missed}") } else { String::new() };
    println!("without packets, {mode:9} {share:8.3} % of its core, {sleeps:8.1} sleeps a second{target}");
}

/// How often the worker sleeps while more comes than it can forward.
fn under_load(topology: &Topology, edge: &Edge<'_>, mode: &str) {
    let worker = node::worker(edge);
    flood(&topology.client, || {
        thread::sleep(Duration::from_secs(1));
        let (start, before, forwarded) = (Instant::now(), Spent::of(&worker), forwarded(edge));
        thread::sleep(Duration::from_secs(3));
        let (spent, elapsed) = (Spent::of(&worker).since(before), start.elapsed().as_secs_f64());
        let packets = (self::forwarded(edge) - forwarded) as f64 / elapsed;
        let (share, sleeps) = (spent.nanoseconds as f64 / elapsed / 1e7, spent.sleeps as f64 / elapsed);
        println!(
            "under load, {mode:9}      {share:8.3} % of its core, {sleeps:8.1} sleeps a second, {packets:.0} packets"
        );
    });
}

fn forwarded(edge: &Edge<'_>) -> u64 {
    edge.metrics().sum("pointsman_sent_packets_total")
}

fn report(delays: &[Vec<u64>; 2]) {
    println!("\n{:27} {:>8} {:>8}   microseconds", "a packet each 50 ms", "p50", "p99");
    let at = |mode: usize, share| quantile(&delays[mode], share) / 1e3;
    for (mode, name) in MODES.into_iter().enumerate() {
        println!("{name:27} {:8.1} {:8.1}   of {}", at(mode, 0.5), at(mode, 0.99), delays[mode].len());
    }
    let wakes = |share| at(0, share) - at(1, share);
    let missed = if wakes(0.5) > MOST_TO_WAKE { " missed" } else { "" };
    println!("{:27} {:8.1} {:8.1}   target {MOST_TO_WAKE}{missed}", "difference: to wake", wakes(0.5), wakes(0.99));
    let bare = bare::wakes(WAKES, PAUSE);
    let at = |share| quantile(&bare, share) / 1e3;
    println!("{:27} {:8.1} {:8.1}   of {WAKES}", "a thread that only sleeps", at(0.5), at(0.99));
}

/// What a thread has had until now.
#[derive(Clone, Copy)]
struct Spent {
    /// On a core.
    nanoseconds: u64,
    /// How often it has given the core away to wait for something.
    sleeps: u64,
}

impl Spent {
    /// By its directory in /proc.
    fn of(thread: &Path) -> Self {
        let read = |name| std::fs::read_to_string(thread.join(name)).expect("it runs");
        let first = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
        let status = read("status");
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Self { nanoseconds: first(&read("schedstat")), sleeps: first(sleeps.unwrap_or_default()) }
    }

    fn since(self, earlier: Self) -> Self {
        let nanoseconds = self.nanoseconds - earlier.nanoseconds;
        Self { nanoseconds, sleeps: self.sleeps - earlier.sleeps }
    }
}
