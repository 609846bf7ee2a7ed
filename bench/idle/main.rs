//! What adaptive polling is for: a worker without packets takes no core, wakes soon, and does not sleep under load. The real
//! daemon in a network namespace, with AF_XDP; needs root. `bench/README.md` says how to read it.

mod bare;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bare::Answerer;
use clap::Parser;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use testkit::{Driver, Edge, Topology};

use testkit::measure::targets::Targets;
use testkit::updates::stream::{Stream, flood, quantile};
use testkit::updates::syncer::{Syncer, service};
use testkit::updates::{self};

/// What a worker takes, and how soon it wakes, where there is nothing to do (needs root)
#[derive(Debug, Parser)]
struct Arguments {
    /// Adaptive, then busy polling, then somebody who only answers, asleep and awake: so often
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Keeps cores without a thread to run from halting meanwhile (/dev/cpu_dma_latency): what waking takes is the program's then
    #[arg(long)]
    awake: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Between two packets of a worker that is to sleep in between.
const PAUSE: Duration = Duration::from_millis(50);
/// The same of one that has a little to do.
const SHORT_PAUSE: Duration = Duration::from_millis(1);
/// The most microseconds that it may take to wake, and per cent of a core that it may take while there is nothing to do.
const MOST_TO_WAKE: f64 = 50.0;
const MOST_IDLE: f64 = 1.0;
const MODES: [&str; 2] = ["adaptive", "busy"];
/// Who takes part: those and their likes that only answer.
const ASLEEP: usize = 2;
const NAMES: [&str; 4] = [MODES[0], MODES[1], "who only answers, asleep", "who only answers, awake"];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if testkit::skipped() {
        return ExitCode::SUCCESS;
    }
    let _awake = arguments.awake.then(keep_cores_awake);
    let topology = updates::topology();
    let cores = sched_getaffinity(None).expect("of this thread");
    let length = Duration::from_secs(arguments.seconds);
    let mut targets = Targets::default();
    let mut delays = [const { Vec::new() }; 4];
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        let mut core = 0;
        for (mode, delays) in MODES.into_iter().zip(&mut delays) {
            let first = (round == 1).then_some(&mut targets);
            core = node(&topology, &cores, (mode, first), length, delays);
        }
        for (who, delays) in delays.iter_mut().enumerate().skip(ASLEEP) {
            let _answerer = Answerer::start(&topology, core, who == ASLEEP);
            let stream = Stream::towards(&topology.client, bare::ADDRESS.into(), PAUSE);
            delays.extend(listen(&stream, length));
        }
    }
    delays.iter_mut().for_each(|delays| delays.sort_unstable());
    report(&delays, &mut targets);
    targets.exit_code()
}

/// Until what this answers is dropped.
fn keep_cores_awake() -> File {
    let mut file = File::options().write(true).open("/dev/cpu_dma_latency").expect("the kernel has CONFIG_CPU_IDLE");
    file.write_all(&0i32.to_ne_bytes()).expect("root may");
    file
}

/// All of a node that polls in one of the modes; the `first` time what it takes beside the delays, and whether that is too much.
/// Answers the worker's core.
fn node(
    topology: &Topology,
    cores: &CpuSet,
    (mode, mut first): (&str, Option<&mut Targets>),
    length: Duration,
    delays: &mut Vec<u64>,
) -> usize {
    // A daemon may use the cores that who starts it may use.
    sched_setaffinity(None, cores).expect("as before");
    let edge = start(topology, mode);
    if let Some(targets) = &mut first {
        let spent = watch(&edge, || thread::sleep(Duration::from_secs(5)));
        print("without packets", mode, &spent, &judge_idle(mode, &spent, targets));
    }
    let stream = Stream::start(&topology.client, PAUSE);
    let mut heard = Vec::new();
    let spent = watch(&edge, || heard = listen(&stream, length));
    delays.extend(heard);
    drop(stream);
    if first.is_some() {
        print("a packet each 50 ms", mode, &spent, "");
        let stream = Stream::start(&topology.client, SHORT_PAUSE);
        let mut heard = Vec::new();
        let spent = watch(&edge, || heard = listen(&stream, Duration::from_secs(3)));
        print("a packet each millisecond", mode, &spent, "");
        println!("{:41} p50 of the delay {:.1} microseconds", "", quantile(&heard, 0.5) / 1e3);
        drop(stream);
        flood(&topology.client, || {
            thread::sleep(Duration::from_secs(1));
            print("under load", mode, &watch(&edge, || thread::sleep(Duration::from_secs(3))), "");
        });
    }
    updates::core(&edge)
}

/// The delays of a stream's packets for so long, in order of size.
fn listen(stream: &Stream, length: Duration) -> Vec<u64> {
    // The first packets find out who the neighbours are.
    thread::sleep(Duration::from_secs(1));
    stream.during(0, || thread::sleep(length));
    stream.take(0)
}

/// The daemon, with a set, polling in one of the modes.
fn start<'a>(topology: &'a Topology, mode: &str) -> Edge<'a> {
    let edge = Edge::builder(&topology.edge, Driver::XdpNative).interface(&format!("poll = \"{mode}\"")).start();
    updates::leave_its_core_to_the_worker(&edge);
    let mut service = service(0, 0);
    service["encap"] = json!({ "type": "gue" });
    Syncer::connect(&edge.socket()).apply("1", &[service]);
    edge
}

/// What the worker has, a second, while something is done.
struct Watched {
    /// Per cent of its core.
    share: f64,
    sleeps: f64,
    packets: f64,
}

fn watch(edge: &Edge<'_>, work: impl FnOnce()) -> Watched {
    let worker = updates::worker(edge);
    let (start, before, forwarded) = (Instant::now(), Spent::of(&worker), forwarded(edge));
    work();
    let (spent, elapsed) = (Spent::of(&worker).since(before), start.elapsed().as_secs_f64());
    let packets = (self::forwarded(edge) - forwarded) as f64 / elapsed;
    Watched { share: spent.nanoseconds as f64 / elapsed / 1e7, sleeps: spent.sleeps as f64 / elapsed, packets }
}

fn forwarded(edge: &Edge<'_>) -> u64 {
    edge.metrics().sum("pointsman_sent_packets_total")
}

/// What stands behind what an idle worker takes: one that never sleeps has no target.
fn judge_idle(mode: &str, watched: &Watched, targets: &mut Targets) -> String {
    if mode != MODES[0] {
        return String::new();
    }
    format!("   target {MOST_IDLE} %{}", targets.check(watched.share <= MOST_IDLE))
}

fn print(when: &str, mode: &str, watched: &Watched, target: &str) {
    let Watched { share, sleeps, packets } = watched;
    println!(
        "{when:25} {mode:8} {share:8.3} % of its core, {sleeps:7.1} sleeps and {packets:.0} packets a second{target}"
    );
}

fn report(delays: &[Vec<u64>; 4], targets: &mut Targets) {
    println!("\n{:27} {:>8} {:>8}   microseconds", "a packet each 50 ms", "p50", "p99");
    let at = |who: usize, share| quantile(&delays[who], share) / 1e3;
    for (pair, target) in [(0, Some(MOST_TO_WAKE)), (ASLEEP, None)] {
        for (who, name) in NAMES.iter().enumerate().skip(pair).take(2) {
            println!("{name:27} {:8.1} {:8.1}   of {}", at(who, 0.5), at(who, 0.99), delays[who].len());
        }
        let wakes = |share| at(pair, share) - at(pair + 1, share);
        let target =
            target.map_or(String::new(), |most| format!("   target {most}{}", targets.check(wakes(0.5) <= most)));
        println!("{:27} {:8.1} {:8.1}{target}", "difference: to wake", wakes(0.5), wakes(0.99));
    }
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
