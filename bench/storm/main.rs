//! What an update storm adds to the delay of packets. The real daemon in a network namespace, with AF_XDP; needs root.
//! `bench/README.md` says how to read it.

mod workqueues;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use testkit::{Driver, Edge};

use testkit::measure::targets::Targets;
use testkit::updates::stream::{Stream, quantile};
use testkit::updates::syncer::{Syncer, service_of};
use testkit::updates::{self};
use workqueues::KeptAway;

/// Microseconds that packets take while a hundred sets a second are applied, and while none is (needs root)
#[derive(Debug, Parser)]
struct Arguments {
    /// Quiet, then storm: so often
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Sets a second
    #[arg(long, default_value_t = 100)]
    applies: u32,
    /// Services of 100 endpoints each
    #[arg(long, default_value_t = 6)]
    services: u32,
    /// Has the worker run before all else on its core, as the sender does on the other
    #[arg(long)]
    urgent: bool,
    /// Keeps the kernel's workqueues (those bound to no core) off the worker's core meanwhile
    #[arg(long)]
    no_workqueues: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Datagrams a second.
const PACE: u32 = 5_000;
/// The most that p99.9 may be in a storm, to what it is without.
const MOST: f64 = 1.2;
const QUIET: u8 = 0;
const STORM: u8 = 1;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if testkit::skipped() {
        return ExitCode::SUCCESS;
    }
    let topology = updates::topology();
    let edge = Edge::start(&topology.edge, Driver::XdpNative);
    updates::leave_its_core_to_the_worker(&edge);
    if arguments.urgent {
        updates::make_worker_urgent(&edge);
    }
    let _kept_away = arguments.no_workqueues.then(|| KeptAway::from(updates::core(&edge)));
    let mut storm = Storm::new(&edge, arguments.services);
    let stream = Stream::start(&topology.client, Duration::from_secs(1) / PACE);
    let length = Duration::from_secs(arguments.seconds);
    // The first packets find out who the neighbours are.
    thread::sleep(Duration::from_secs(2));

    println!("{:8} {:>9} {:>9} {:>9} {:>9}   microseconds", "", "p50", "p99", "p99.9", "longest");
    let mut all = [Vec::new(), Vec::new()];
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        stream.during(QUIET, || thread::sleep(length));
        stream.during(STORM, || storm.blow(length, arguments.applies));
        for phase in [QUIET, STORM] {
            let delays = stream.take(phase);
            print(["quiet", "storm"][usize::from(phase)], &delays);
            all[usize::from(phase)].extend(delays);
        }
    }
    let exit_code = report(all);
    println!("{}", storm.summary());
    exit_code
}

/// Shows the delays of all rounds, quiet and storm; fails where the target is missed.
fn report(mut all: [Vec<u64>; 2]) -> ExitCode {
    all.iter_mut().for_each(|delays| delays.sort_unstable());
    println!();
    print("quiet", &all[0]);
    print("storm", &all[1]);
    let ratio = |share| quantile(&all[1], share) / quantile(&all[0], share);
    let mut targets = Targets::default();
    let missed = targets.check(ratio(0.999) <= MOST);
    println!("ratio    {:9.2} {:9.2} {:9.2}             target {MOST}{missed}", ratio(0.5), ratio(0.99), ratio(0.999));
    targets.exit_code()
}

fn print(what: &str, delays: &[u64]) {
    let at = |share| quantile(delays, share) / 1e3;
    println!("{what:8} {:9.1} {:9.1} {:9.1} {:9.1}   of {}", at(0.5), at(0.99), at(0.999), at(1.0), delays.len());
}

/// Sets that are applied one after the other, each with one endpoint replaced.
struct Storm {
    syncer: Syncer,
    services: Vec<Value>,
    version: u32,
    /// How long each took until it was acknowledged, in milliseconds, and how long they went on.
    took: Vec<f64>,
    lasted: Duration,
}

impl Storm {
    /// The first set, whose services are all there is to change later.
    fn new(edge: &Edge<'_>, services: u32) -> Self {
        let syncer = Syncer::connect(&edge.socket());
        let services: Vec<Value> = (0..services).map(|number| in_gue(number, 0)).collect();
        syncer.apply("0", &services);
        Self { syncer, services, version: 0, took: Vec::new(), lasted: Duration::ZERO }
    }

    /// Applies so many sets a second, for so long.
    fn blow(&mut self, length: Duration, a_second: u32) {
        let start = Instant::now();
        for number in 1.. {
            self.version += 1;
            let at = self.version as usize % self.services.len();
            self.services[at] = in_gue(at as u32, self.version);
            self.took.push(self.syncer.apply(&self.version.to_string(), &self.services).in_all);
            let due = Duration::from_secs(1) * number / a_second;
            if due > length || start.elapsed() > length {
                break;
            }
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        self.lasted += start.elapsed();
    }

    fn summary(&mut self) -> String {
        self.took.sort_unstable_by(f64::total_cmp);
        let (count, middle) = (self.took.len(), self.took[self.took.len() / 2]);
        format!(
            "{:.0} sets a second, each acknowledged within {middle:.1} ms",
            count as f64 / self.lasted.as_secs_f64()
        )
    }
}

fn in_gue(number: u32, version: u32) -> Value {
    let mut service = service_of(number, version, 100);
    service["encap"] = json!({ "type": "gue" });
    service
}
