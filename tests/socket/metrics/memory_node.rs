//! The node of the golden packets with one worker over memory, a clock that the test drives, and a kernel whose statistics
//! it makes up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pointsman::config::{self, Poll};
use pointsman::control::update::Builder;
use pointsman::endpoint_set;
use pointsman::forward::Flows;
use pointsman::forward::encap::Sources;
use pointsman::forward::verdict::Verdict;
use pointsman::io::KernelStatistics;
use pointsman::io::layer::{Layer, Layered};
use pointsman::io::memory::Memory;
use pointsman::moment::{Moment, Now, SECOND};
use pointsman::publish::Publisher;
use pointsman::snapshot::{NextHop, Settings, Tag};
use pointsman::stats::{Board, Counters, Report};
use pointsman::wire::ethernet::MacAddress;
use pointsman::worker::{Pace, Worker};
use serde_json::Value;

/// What each look at the clock takes, in nanoseconds.
const TICK: u64 = 1_000;

/// A clock and a kernel for packet memory.
pub struct Kernel {
    pub now: Moment,
    pub counted: KernelStatistics,
}

impl Layer<Memory> for Kernel {
    fn now(&mut self, _: &mut Memory) -> Moment {
        self.now = self.now.plus(TICK);
        self.now
    }

    fn statistics(&mut self, _: &mut Memory) -> KernelStatistics {
        self.counted
    }
}

/// A node without a network.
pub struct MemoryNode {
    pub builder: Builder,
    pub publisher: Publisher,
    pub counters: Arc<Counters>,
    /// None once it [ran](Self::run_worker).
    worker: Option<Worker<Layered<Kernel, Memory>>>,
    second: u32,
}

impl MemoryNode {
    /// With an empty set.
    pub fn new() -> Self {
        Self::with_frames(128)
    }

    /// With so many frames of packet memory.
    pub fn with_frames(frames: usize) -> Self {
        let config = config::load(&golden("config.toml")).expect("valid");
        let sources = Sources { v4: config.underlay.source_v4, v6: config.underlay.source_v6 };
        let settings = Settings {
            seed: config.seed,
            dscp: config.underlay.dscp,
            underlay_mtu: 1500,
            hop_limit: 64,
            mac: MacAddress::default(),
            sources,
        };
        let mut builder = Builder::new(settings, 600, 1);
        let mut publisher = Publisher::new().expect("eventfd");
        let inbox = publisher.subscribe(builder.publish().remove(0)).expect("eventfd");
        let board = Arc::new(Board::default());
        let kernel = Layered {
            layer: Kernel { now: Moment(SECOND), counted: KernelStatistics::default() },
            below: Memory::new(frames, 64),
        };
        let pace = Pace { batch: 32, poll: Poll::Adaptive };
        let worker = Worker::new(kernel, inbox, board.clone(), Flows::default(), pace);
        let counters = Arc::new(Counters::new(vec![(Some(0), board)]));
        Self { builder, publisher, counters, worker: Some(worker), second: 1_000_000 }
    }

    /// Takes a set into force a second later, as the daemon does; the worker takes it with its next batch.
    pub fn apply(&mut self, set: &str) {
        self.second += 1;
        let posted = (self.publisher.edition(), self.publisher.forgotten());
        self.builder.update(&endpoint_set::parse(set).expect("valid"), posted, Now::at(self.second));
        self.resolve(true);
    }

    /// Has the ways to all endpoints known, or to none.
    pub fn resolve(&mut self, known: bool) {
        let hop = NextHop { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), tag: Tag::AsReceived };
        self.builder.resolve(|_| known.then_some(hop));
        let publications = self.builder.publish();
        self.counters.show(self.builder.scene());
        self.publisher.post(publications);
        self.publisher.sweep();
    }

    /// Lets frames come in, and forwards them all.
    pub fn forward(&mut self, frames: &[Vec<u8>]) {
        let worker = self.worker.as_mut().expect("it has not run");
        frames.iter().for_each(|frame| worker.io().below.push(frame.clone()));
        while worker.step(|_: Verdict| ()).expect("memory") > 0 {
            worker.io().below.take_sent();
        }
    }

    /// Lets time go by, in which the worker finds nothing.
    pub fn pass(&mut self, nanoseconds: u64) {
        let worker = self.worker.as_mut().expect("it has not run");
        worker.io().layer.now = worker.io().layer.now.plus(nanoseconds);
        worker.step(|_: Verdict| ()).expect("memory");
    }

    /// Runs the worker as the daemon does until `done`, with a kernel that has counted this.
    pub fn run_worker(&mut self, counted: KernelStatistics, done: impl Fn(&Report) -> bool) {
        let mut worker = self.worker.take().expect("it has not run");
        worker.io().layer.counted = counted;
        let thread = std::thread::spawn(move || worker.run().map(drop));
        let came = testkit::wait_until(testkit::SOON, || done(&self.counters.report()));
        self.publisher.stop();
        thread.join().expect("no panic").expect("memory");
        assert!(came, "what the kernel counts is not shown");
    }
}

/// A file of the golden packets.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The golden packets' set.
pub fn golden_set() -> String {
    std::fs::read_to_string(golden("set.json")).expect("there")
}

/// The golden packets' cases.
pub fn golden_cases() -> Vec<Value> {
    let text = std::fs::read_to_string(golden("cases.json")).expect("there");
    serde_json::from_str(&text).expect("a list")
}

/// Bytes written as hexadecimal digits.
pub fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("a text");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}
