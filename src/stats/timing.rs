//! How long packets stay, how long they may have waited to be asked for, and how many come at once: HDR histograms that a
//! worker records into and hands over without ever waiting, and the last minute of them on the control side.
//!
//! A worker fills one [`Timings`] at a time. Every fifth of a second it puts the full one into a queue and takes an empty
//! one out of another; where none is empty, since nobody has read for a while, it goes on with the one it has.

mod stored;

use std::sync::{Mutex, PoisonError};

use crossbeam::queue::ArrayQueue;
use hdrhistogram::Histogram;

use crate::moment::{Moment, SECOND};

pub use stored::StoredTiming;

/// The quantiles that are told.
pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

/// Nanoseconds between two times that a worker hands over.
const INTERVAL: u64 = SECOND / 5;
/// How many there are beside the one that is being filled.
const SPARE: usize = 2;
/// Longer times count as this long, in nanoseconds.
const LONGEST: u64 = 10 * SECOND;
/// More frames than `interface.batch` can be.
const LARGEST_BATCH: u64 = 1_024;
/// Two digits: within one part in a hundred.
const DIGITS: u8 = 2;
/// Quantiles are those of the last minute, in parts of ten seconds.
const PARTS: usize = 6;
const PART: u64 = 10 * SECOND;

/// How often each value was seen.
#[derive(Clone, Debug)]
struct Values {
    histogram: Histogram<u64>,
    /// Exact, unlike the histogram's own.
    sum: u64,
}

impl Values {
    fn up_to(highest: u64) -> Self {
        let histogram = Histogram::new_with_bounds(1, highest, DIGITS).expect("the bounds are constants");
        Self { histogram, sum: 0 }
    }

    fn record(&mut self, value: u64, times: u64) {
        // A value past the bounds must not make the histogram look for another place.
        self.histogram.saturating_record_n(value.clamp(1, self.histogram.high()), times);
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
    }

    fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
        self.sum = self.sum.saturating_add(other.sum);
    }

    fn clear(&mut self) {
        if !self.histogram.is_empty() {
            self.histogram.reset();
        }
        self.sum = 0;
    }
}

/// What one worker has measured in some time.
#[derive(Clone, Debug)]
struct Timings {
    /// Nanoseconds, by packet.
    latency: Values,
    /// Nanoseconds, by batch.
    gaps: Values,
    /// Packets, by batch.
    batches: Values,
    /// Nanoseconds with frames in hand.
    busy: u64,
    /// Nanoseconds altogether.
    elapsed: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            latency: Values::up_to(LONGEST),
            gaps: Values::up_to(LONGEST),
            batches: Values::up_to(LARGEST_BATCH),
            busy: 0,
            elapsed: 0,
        }
    }
}

impl Timings {
    fn values(&mut self) -> [&mut Values; 3] {
        [&mut self.latency, &mut self.gaps, &mut self.batches]
    }

    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.gaps.add(&other.gaps);
        self.batches.add(&other.batches);
        self.busy = self.busy.saturating_add(other.busy);
        self.elapsed = self.elapsed.saturating_add(other.elapsed);
    }

    fn clear(&mut self) {
        self.values().into_iter().for_each(Values::clear);
        (self.busy, self.elapsed) = (0, 0);
    }
}

/// A worker's side: records, and hands over.
#[derive(Debug, Default)]
pub struct Recorder {
    current: Box<Timings>,
    /// When the current one was begun.
    since: Option<Moment>,
    /// When the worker last asked for frames without having slept since.
    asked: Option<Moment>,
}

impl Recorder {
    /// The worker has asked for frames at `now`, and got some or not. Frames may have waited since it asked before that.
    #[inline]
    pub fn asked(&mut self, now: Moment, got_some: bool) {
        if let Some(before) = self.asked.replace(now)
            && got_some
        {
            self.current.gaps.record(now.since(before), 1);
        }
    }

    /// A batch with `packets` packets of ours, taken at `taken`, has been handed to the kernel at `done`.
    #[inline]
    pub fn done(&mut self, packets: u64, taken: Moment, done: Moment) {
        let time = done.since(taken);
        self.current.busy = self.current.busy.saturating_add(time);
        if packets > 0 {
            self.current.latency.record(time, packets);
            self.current.batches.record(packets, 1);
        }
    }

    /// The worker is about to sleep: what it does not ask for until it wakes is not late.
    pub fn rests(&mut self) {
        self.asked = None;
    }

    /// Hands over what is due by now.
    #[inline]
    pub fn hand_over(&mut self, now: Moment, to: &Timing) {
        let elapsed = now.since(*self.since.get_or_insert(now));
        if elapsed >= INTERVAL {
            self.exchange(now, elapsed, to);
        }
    }

    #[cold]
    fn exchange(&mut self, now: Moment, elapsed: u64, to: &Timing) {
        let Some(empty) = to.empty.pop() else { return };
        self.current.elapsed = elapsed;
        self.since = Some(now);
        // There are no more than the queue has room for.
        _ = to.full.push(std::mem::replace(&mut self.current, empty));
    }
}

/// The control side of one worker's timing.
#[derive(Debug)]
pub struct Timing {
    full: ArrayQueue<Box<Timings>>,
    empty: ArrayQueue<Box<Timings>>,
    /// Never held by a worker.
    kept: Mutex<Kept>,
}

impl Default for Timing {
    fn default() -> Self {
        let (full, empty) = (ArrayQueue::new(SPARE + 1), ArrayQueue::new(SPARE + 1));
        (0..SPARE).for_each(|_| _ = empty.push(Box::default()));
        Self { full, empty, kept: Mutex::default() }
    }
}

impl Timing {
    /// Takes in what the worker has handed over. To be called about once a second, that quantiles are of the last minute.
    pub fn collect(&self) {
        self.collected(|_| ());
    }

    /// What is known of the worker.
    pub fn read(&self) -> Measured {
        self.collected(Kept::measured)
    }

    fn collected<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        self.change(|kept| look(kept))
    }

    /// Takes in what the worker has handed over, then changes or looks at all that is kept.
    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        // Whoever panicked while holding it has left numbers that are good enough.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut timings) = self.full.pop() {
            kept.take_in(&timings);
            timings.clear();
            _ = self.empty.push(timings);
        }
        change(&mut kept)
    }
}

/// The last minute, and totals since the start.
#[derive(Debug, Default)]
struct Kept {
    parts: [Timings; PARTS],
    /// The part that is being filled.
    newest: usize,
    /// Count and sum of latency, gaps and batches.
    totals: [(u64, u64); 3],
}

impl Kept {
    fn take_in(&mut self, timings: &Timings) {
        if self.parts[self.newest].elapsed >= PART {
            self.newest = (self.newest + 1) % PARTS;
            self.parts[self.newest].clear();
        }
        self.parts[self.newest].add(timings);
        Self::count(&mut self.totals, timings);
    }

    fn count(totals: &mut [(u64, u64); 3], timings: &Timings) {
        let values = [&timings.latency, &timings.gaps, &timings.batches];
        for ((count, sum), values) in totals.iter_mut().zip(values) {
            *count += values.histogram.len();
            *sum = sum.saturating_add(values.sum);
        }
    }

    fn measured(&self) -> Measured {
        let mut all = self.parts[0].clone();
        self.parts[1..].iter().for_each(|part| all.add(part));
        let [latency, gaps, batches] = self.totals;
        Measured {
            latency: Summary::new(&all.latency, latency, SECOND as f64),
            gaps: Summary::new(&all.gaps, gaps, SECOND as f64),
            batches: Summary::new(&all.batches, batches, 1.0),
            busy_ratio: if all.elapsed == 0 { 0.0 } else { all.busy as f64 / all.elapsed as f64 },
        }
    }
}

/// What is known of one worker's timing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Seconds from the RX ring to the TX ring, by packet.
    pub latency: Summary,
    /// Seconds between two times that a worker asked for frames, of which the second got some, by batch.
    pub gaps: Summary,
    /// Packets, by batch.
    pub batches: Summary,
    /// The part of the last minute, 0 to 1, in which it had frames in hand.
    pub busy_ratio: f64,
}

/// Quantiles of the last minute; count and sum since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// In the order of [`QUANTILES`]; none where there was nothing in the last minute.
    pub quantiles: Option<[f64; QUANTILES.len()]>,
    /// Of all values.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
}

impl Summary {
    /// By values of which `scale` are one unit.
    fn new(values: &Values, (count, sum): (u64, u64), scale: f64) -> Self {
        let histogram = &values.histogram;
        let quantiles = QUANTILES.map(|quantile| histogram.value_at_quantile(quantile) as f64 / scale);
        Self { quantiles: (!histogram.is_empty()).then_some(quantiles), sum: sum as f64 / scale, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: u64 = 1_000;

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected / 100.0
    }

    #[test]
    fn what_is_recorded_is_read_once_it_is_handed_over() {
        let (timing, mut recorder) = (Timing::default(), Recorder::default());
        recorder.hand_over(Moment(0), &timing);
        for i in 1..=100 {
            let taken = Moment(i * MICROSECOND);
            recorder.asked(taken, true);
            recorder.done(i % 64 + 1, taken, taken.plus(i * 10));
        }
        recorder.hand_over(Moment(INTERVAL - 1), &timing);
        assert_eq!(timing.read(), Measured::default(), "too early");
        recorder.hand_over(Moment(INTERVAL), &timing);
        let read = timing.read();
        let packets: u64 = (1..=100).map(|i| i % 64 + 1).sum();
        assert_eq!((read.latency.count, read.batches.count, read.gaps.count), (packets, 100, 99));
        assert_eq!(read.batches.sum, packets as f64);
        assert!(near(read.gaps.sum, 99e-6) && near(read.gaps.quantiles.expect("some")[0], 1e-6), "{read:?}");
        let latency = read.latency.quantiles.expect("some");
        assert!(near(latency[3], 1e-6) && latency.is_sorted() && latency[0] < latency[1], "{latency:?}");
        let busy: u64 = (1..=100).map(|i| i * 10).sum();
        assert!(near(read.busy_ratio, busy as f64 / INTERVAL as f64), "{read:?}");
    }

    #[test]
    fn a_worker_that_nobody_reads_loses_nothing() {
        let (timing, mut recorder) = (Timing::default(), Recorder::default());
        for i in 0..1_000 {
            let now = Moment(i * SECOND);
            recorder.hand_over(now, &timing);
            recorder.done(1, now, now.plus(5));
        }
        timing.collect();
        recorder.hand_over(Moment(1_000 * SECOND), &timing);
        assert_eq!(timing.read().latency.count, 1_000);
    }

    #[test]
    fn quantiles_are_those_of_the_last_minute() {
        let (timing, mut recorder) = (Timing::default(), Recorder::default());
        for second in 0..200 {
            let now = Moment(second * SECOND);
            let time = if second < 100 { SECOND } else { MICROSECOND };
            recorder.hand_over(now, &timing);
            recorder.done(1, now, now.plus(time));
            timing.collect();
        }
        let read = timing.read().latency;
        assert!(near(read.quantiles.expect("some")[3], 1e-6), "{read:?}");
        assert!(read.count == 199 && near(read.sum, 100.0), "{read:?}");
    }

    #[test]
    fn a_sleep_is_no_gap_and_no_value_is_too_large() {
        let (timing, mut recorder) = (Timing::default(), Recorder::default());
        recorder.hand_over(Moment(0), &timing);
        recorder.asked(Moment(0), false);
        recorder.rests();
        recorder.asked(Moment(SECOND), true);
        recorder.done(1 << 40, Moment(0), Moment(u64::MAX));
        recorder.hand_over(Moment(SECOND), &timing);
        let read = timing.read();
        assert_eq!((read.gaps.count, read.latency.count), (0, 1 << 40));
        assert!(read.latency.quantiles.expect("some")[0] >= 10.0, "{read:?}");
    }
}
