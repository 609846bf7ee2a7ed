//! When a worker that polls adaptively sleeps: by a clock that only the worker's own looks at it, and its sleeps, move.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use pointsman::config::Poll;
use pointsman::flow::Seed;
use pointsman::forward::Flows;
use pointsman::forward::encap::Sources;
use pointsman::io::layer::{Layer, Layered};
use pointsman::io::memory::Memory;
use pointsman::io::{Held, PacketIo};
use pointsman::moment::{Moment, SECOND};
use pointsman::publish::{Publication, Publisher};
use pointsman::snapshot::{Dscp, Settings, Snapshot};
use pointsman::wire::ethernet::MacAddress;
use pointsman::worker::{Pace, Worker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
/// What a look at the queue takes.
const LOOK: u64 = 500;
/// When a run begins.
const START: u64 = 1_000 * SECOND;

/// A queue whose frames come at moments that are known before.
struct Queue {
    now: u64,
    /// The next one last.
    arrivals: Vec<u64>,
    end: u64,
    publisher: Publisher,
    /// When something is posted to the worker, just after it has looked for that; the next one last.
    posts: Vec<u64>,
    seen: Seen,
}

/// What the worker did.
#[derive(Debug, Default)]
struct Seen {
    sleeps: u32,
    slept: u64,
    /// The longest that it took to get a frame, but for the waking.
    late: u64,
    /// How often the worker went to sleep without what had been posted, and with nothing that would wake it.
    missed: u32,
    adopted: u64,
}

impl Queue {
    fn new(arrivals: impl Iterator<Item = u64>, posts: impl Iterator<Item = u64>, length: u64) -> Self {
        let from_the_last = |times: Vec<u64>| times.into_iter().rev().map(|time| START + time).collect();
        let publisher = Publisher::new().expect("eventfd");
        let (now, end) = (START, START + length);
        let (arrivals, posts) = (from_the_last(arrivals.collect()), from_the_last(posts.collect()));
        Self { now, arrivals, end, publisher, posts, seen: Seen::default() }
    }

    fn wakes(&self, wake: BorrowedFd<'_>) -> bool {
        poll(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], Some(&Timespec::default())).expect("an eventfd") > 0
    }
}

impl Layer<Memory> for Queue {
    fn receive(&mut self, memory: &mut Memory, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        if self.now >= self.end {
            return Err(io::Error::other("the run is over"));
        }
        while let Some(at) = self.arrivals.pop_if(|at| *at <= self.now) {
            self.seen.late = self.seen.late.max(self.now - at);
            memory.push([0; 60]);
        }
        while self.posts.pop_if(|at| *at <= self.now).is_some() {
            self.publisher.post(vec![publication()]);
        }
        memory.receive(into, most)
    }

    fn now(&mut self, _: &mut Memory) -> Moment {
        self.now += LOOK;
        Moment(self.now)
    }

    fn wait(&mut self, _: &mut Memory, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        let is_woken = self.wakes(wake);
        self.seen.adopted = self.publisher.adopted();
        if timeout.is_zero() || is_woken {
            return Ok(());
        }
        self.seen.missed += u32::from(self.publisher.adopted() < self.publisher.edition());
        let until = self.arrivals.last().copied().unwrap_or(u64::MAX).min(self.now + timeout.as_nanos() as u64);
        self.seen.sleeps += 1;
        self.seen.slept += until.saturating_sub(self.now);
        self.now = self.now.max(until);
        Ok(())
    }
}

fn publication() -> Publication {
    let sources = Sources::default();
    let settings = Settings {
        seed: Seed([0; 16]),
        dscp: Dscp::Copy,
        underlay_mtu: 1500,
        hop_limit: 64,
        mac: MacAddress::default(),
        sources,
    };
    Publication { snapshot: Arc::new(Snapshot::empty(settings)), cells: Arc::default(), tap: None }
}

/// What a worker does until a queue's run is over.
fn run(mut queue: Queue, poll: Poll) -> Seen {
    let inbox = queue.publisher.subscribe(publication()).expect("eventfd");
    let io = Layered { layer: queue, below: Memory::new(64, 64) };
    let mut worker = Worker::new(io, inbox, Arc::default(), Flows::default(), Pace { batch: 64, poll });
    assert_eq!(worker.work().expect_err("the run ends so").to_string(), "the run is over");
    assert!(worker.io().layer.arrivals.is_empty(), "all has come");
    std::mem::take(&mut worker.io().layer.seen)
}

/// Frames that come at even distances.
fn evenly(distance: u64, length: u64) -> impl Iterator<Item = u64> {
    (0..length / distance).map(move |number| number * distance)
}

#[test]
fn a_loaded_worker_never_sleeps() {
    let length = SECOND;
    let seen = run(Queue::new(evenly(100 * MICROSECOND, length), std::iter::empty(), length), Poll::Adaptive);
    assert_eq!(seen.sleeps, 0, "10,000 frames a second: {seen:?}");
    // Their sender has to share its core: after each 20 ms it pauses for 5.
    let is_sent = |at: &u64| at % (25 * MILLISECOND) < 20 * MILLISECOND;
    let warm = 40 * MILLISECOND;
    let frames = evenly(20 * MICROSECOND, length).filter(|at| *at < warm || is_sent(at));
    let seen = run(Queue::new(frames, std::iter::empty(), length), Poll::Adaptive);
    assert_eq!(seen.sleeps, 0, "with pauses: {seen:?}");
}

#[test]
fn an_idle_worker_takes_no_core() {
    let awake = |distance| {
        let length = 2 * SECOND;
        let seen = run(Queue::new(evenly(distance, length), std::iter::empty(), length), Poll::Adaptive);
        assert!(seen.late <= 2 * LOOK, "{seen:?}");
        1.0 - seen.slept as f64 / length as f64
    };
    let (nothing, few, some) = (awake(2 * SECOND), awake(50 * MILLISECOND), awake(MILLISECOND));
    assert!(nothing < 0.0001, "without frames: {nothing}");
    assert!(few < 0.005, "a frame each 50 ms: {few}");
    assert!(some < 0.25, "a frame each millisecond: {some}");
}

#[test]
fn a_load_that_is_over_is_forgotten() {
    let burst = 100 * MILLISECOND;
    for distance in [MILLISECOND, 9 * MILLISECOND] {
        let length = 2 * SECOND;
        let frames = evenly(20 * MICROSECOND, burst).chain(evenly(distance, length - burst).map(move |at| burst + at));
        let seen = run(Queue::new(frames, std::iter::empty(), length), Poll::Adaptive);
        let awake = 1.0 - seen.slept as f64 / (length - burst) as f64;
        assert!(awake < 0.35, "a frame each {distance} ns, after a burst: {awake}");
    }
}

#[test]
fn a_busy_worker_never_sleeps() {
    let seen = run(Queue::new(evenly(50 * MILLISECOND, SECOND), std::iter::empty(), SECOND), Poll::Busy);
    assert_eq!(seen.sleeps, 0, "{seen:?}");
}

#[test]
fn who_has_news_does_not_sleep_before_they_are_taken() {
    // At all times that the worker is awake, and at others.
    let posts = (0..1_000).map(|number| number * 50 * MILLISECOND / 1_000 + number * MILLISECOND);
    let length = 2 * SECOND;
    let seen = run(Queue::new(evenly(50 * MILLISECOND, length), posts, length), Poll::Adaptive);
    assert_eq!((seen.missed, seen.adopted), (0, 1_000), "{seen:?}");
    assert!(seen.sleeps > 20, "the wake of old news is forgotten: {seen:?}");
}
