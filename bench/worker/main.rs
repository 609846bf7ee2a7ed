//! Nanoseconds a packet that a worker's whole loop takes. `bench/README.md` says how to read it.

mod null_driver;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Parser;

use pointsman::config::Poll;
use pointsman::forward::Flows;
use pointsman::forward::verdict::Verdict;
use pointsman::io::carousel::Carousel;
use pointsman::publish::Publisher;
use pointsman::stats::Board;
use pointsman::wire::Family::{self, V4, V6};
use pointsman::worker::{Pace, Worker};

use testkit::measure::figures::{Figures, Middle};
use testkit::measure::targets::Targets;
use testkit::measure::yardstick::{Task, Yardstick};
use testkit::measure::{Sample, Subject, measure, use_huge_pages, use_one_core};
use testkit::scene::batch::{BATCH, Batch, Kind};
use testkit::scene::flows::Order;
use testkit::scene::node::{Node, Services, WINDOW};

/// Nanoseconds a packet that a worker's whole loop takes over memory: receive a batch of 64 frames of 128 bytes, forward and
/// count each, send. Beside it the yardstick of bench/forward, which needs root
#[derive(Debug, Parser)]
struct Arguments {
    /// Samples of each case
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Room for tracked flows, as by default.
const TRACKED_FLOWS: usize = 262_144;
const CHUNKS: usize = 4_096;
/// Different frames that come in.
const FRAMES: usize = 4_096;
/// Batches of a sample.
const BATCHES: usize = 128;
/// Batches before each sample, so that the caches hold what they hold while nothing else runs: each frame a dozen times.
const WARM_UP: usize = 800;
/// How much more than testpmd, which only swaps addresses between null devices, the whole loop may take.
const TARGET: f64 = 1.25;
/// Samples of that before, and as many after all others.
const NULL_SAMPLES: usize = 3;

const CASES: [(&str, Family, u32); 4] = [
    ("one flow, IPv4", V4, 1),
    ("one flow, IPv6", V6, 1),
    ("4,096 flows, IPv4", V4, 4_096),
    ("4,096 flows, IPv6", V6, 4_096),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    use_huge_pages();
    let mut null = null_samples();
    // A thread of its own, so that testpmd gets all cores again.
    let on_one_core = || {
        use_one_core();
        measure(subjects(), arguments.rounds)
    };
    let figures = thread::scope(|scope| scope.spawn(on_one_core).join().expect("its words are above"));
    null.extend(null_samples());
    report(&figures, &null)
}

fn null_samples() -> Vec<f64> {
    null_driver::nanoseconds(NULL_SAMPLES).unwrap_or_else(|reason| {
        eprintln!("skipped: {reason}");
        Vec::new()
    })
}

fn subjects() -> Vec<(String, Box<dyn Subject>)> {
    let mut subjects: Vec<(String, Box<dyn Subject>)> = Vec::new();
    for (name, family) in [("yardstick, IPv4", V4), ("yardstick, IPv6", V6)] {
        let frame = frames(family, 1).remove(0);
        match Yardstick::load(Task::Repeat, family, &frame) {
            Ok(yardstick) => {
                let sample = move || yardstick.sample(&frame).expect("it has been loaded");
                subjects.push((name.to_owned(), Box::new(sample)));
            }
            Err(_) => eprintln!("skipped: the {name}, which needs root"),
        }
    }
    subjects.extend(CASES.into_iter().map(|(name, family, flows)| (name.to_owned(), subject(family, flows))));
    subjects
}

/// Fails where a target is missed.
fn report(figures: &Figures, null: &[f64]) -> ExitCode {
    let mut targets = Targets::default();
    println!("{:24} {:>8} {:>15} {:>10} {:>12} {:>7}", "", "ns", "middle half", "yardsticks", "null to null", "target");
    let null = (!null.is_empty()).then(|| Middle::of(null.iter().copied()));
    if let Some(Middle { lower, median, upper }) = null {
        println!("{:24} {median:8.1} {lower:>6.1} ..{upper:>6.1} {:>10} {:>12.2}", "testpmd, null to null", "", 1.0);
    }
    for name in ["yardstick, IPv4", "yardstick, IPv6"].into_iter().chain(CASES.map(|(name, ..)| name)) {
        let Some(time) = figures.time(name) else { continue };
        let own = if name.ends_with("IPv4") { "yardstick, IPv4" } else { "yardstick, IPv6" };
        let ratio = figures.compare(name, own, |own, other| own / other);
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median));
        let to_null = null.map(|null| time.median / null.median);
        let target = match to_null.filter(|_| name != own) {
            Some(ratio) => format!("{TARGET:.2}{}", targets.check(ratio <= TARGET)),
            None => String::new(),
        };
        let to_null = to_null.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let middle = format!("{:>6.1} ..{:>6.1}", time.lower, time.upper);
        println!("{name:24} {:8.1} {middle:15} {ratio:>10} {to_null:>12} {target:>7}", time.median);
    }
    println!("samples taken again because the core was taken away: {}", figures.disturbed);
    targets.exit_code()
}

fn frames(family: Family, flows: u32) -> Vec<Vec<u8>> {
    let (mut batch, mut order) = (Batch::new(family, Kind::Segment, 6), Order::random(flows));
    let mut frame = || {
        batch.fill(0, order.pick());
        batch.bytes(0).to_vec()
    };
    (0..FRAMES).map(|_| frame()).collect()
}

/// A worker with its node, whose loop is timed.
fn subject(family: Family, flows: u32) -> Box<dyn Subject> {
    let matching = r#","protocol":"tcp","ports":[80]"#;
    let services = Services { family, count: 6, endpoints: 100, table_size: Some(65_537), matching };
    let (mut node, mut publisher) = (Node::new(services), Publisher::new().expect("an event"));
    let inbox = publisher.subscribe(node.publication()).expect("an event");
    let io = Carousel::new(CHUNKS, &frames(family, flows));
    let memory = Flows::new(TRACKED_FLOWS, WINDOW);
    let pace = Pace { batch: BATCH, poll: Poll::Busy };
    let worker = Worker::new(io, inbox, Arc::new(Board::default()), memory, pace);
    Box::new(Ready { worker, _publisher: publisher })
}

/// A worker with frames that come in, and who publishes what it forwards by.
struct Ready {
    worker: Worker<Carousel>,
    _publisher: Publisher,
}

impl Ready {
    fn work(&mut self, batches: usize) {
        (0..batches).for_each(|_| _ = self.worker.step(|_: Verdict| ()).expect("memory does not fail"));
    }
}

impl Subject for Ready {
    fn warm_up(&mut self) {
        self.work(WARM_UP);
    }

    fn sample(&mut self) -> Sample {
        let before = self.worker.tally().sent.packets;
        let sample = Sample::of(BATCHES * BATCH, || self.work(BATCHES));
        assert_eq!(self.worker.tally().sent.packets - before, sample.count as u64, "all are forwarded");
        sample
    }
}
