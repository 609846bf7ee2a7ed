//! What a worker has measured, for another process: each value with how often it was seen.

use serde::{Deserialize, Serialize};

use super::{Kept, PART, PARTS, Recorder, Timing, Timings, Values};

/// What one worker has measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredTiming {
    /// The last minute, oldest part first.
    parts: Vec<StoredTimings>,
    /// Count and sum of latency, gaps and batches.
    totals: [(u64, u64); 3],
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct StoredTimings {
    /// Latency, gaps, batches.
    values: [StoredValues; 3],
    busy: u64,
    elapsed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct StoredValues {
    /// A value, and how often it was seen.
    seen: Vec<(u64, u64)>,
    sum: u64,
}

impl StoredValues {
    fn of(values: &Values) -> Self {
        let seen = values.histogram.iter_recorded();
        let seen = seen.map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        Self { seen, sum: values.sum }
    }

    fn add_to(&self, values: &mut Values) {
        for (value, times) in &self.seen {
            values.histogram.saturating_record_n((*value).clamp(1, values.histogram.high()), *times);
        }
        values.sum = values.sum.saturating_add(self.sum);
    }
}

impl StoredTimings {
    fn of(timings: &Timings) -> Self {
        let Timings { latency, gaps, batches, busy, elapsed } = timings;
        Self { values: [latency, gaps, batches].map(StoredValues::of), busy: *busy, elapsed: *elapsed }
    }

    fn add_to(&self, timings: &mut Timings) {
        self.values.iter().zip(timings.values()).for_each(|(stored, values)| stored.add_to(values));
        timings.busy = timings.busy.saturating_add(self.busy);
        timings.elapsed = timings.elapsed.saturating_add(self.elapsed);
    }
}

impl Timing {
    /// What is known of the worker, with what it has measured and not handed over yet.
    pub fn store(&self, last: Option<&Recorder>) -> StoredTiming {
        self.collect();
        self.collected(|kept| {
            let mut parts: Vec<StoredTimings> = Vec::new();
            for part in (1..=PARTS).map(|step| &kept.parts[(kept.newest + step) % PARTS]) {
                if part.elapsed > 0 {
                    parts.push(StoredTimings::of(part));
                }
            }
            let mut totals = kept.totals;
            if let Some(last) = last {
                parts.push(StoredTimings::of(&last.current));
                Kept::count(&mut totals, &last.current);
            }
            StoredTiming { parts, totals }
        })
    }

    /// Adds what another process has known of the worker.
    pub fn restore(&self, stored: &StoredTiming) {
        self.change(|kept| {
            for part in &stored.parts {
                if kept.parts[kept.newest].elapsed >= PART {
                    kept.newest = (kept.newest + 1) % PARTS;
                    kept.parts[kept.newest].clear();
                }
                part.add_to(&mut kept.parts[kept.newest]);
            }
            for ((count, sum), (more, more_sum)) in kept.totals.iter_mut().zip(stored.totals) {
                *count = count.saturating_add(more);
                *sum = sum.saturating_add(more_sum);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::{Moment, SECOND};

    #[test]
    fn another_process_knows_what_this_one_did() {
        let (timing, mut recorder) = (Timing::default(), Recorder::default());
        for second in 0..100 {
            let now = Moment(second * SECOND);
            recorder.hand_over(now, &timing);
            recorder.asked(now, true);
            recorder.done(second % 7 + 1, now, now.plus(second * 1_000));
            timing.collect();
        }
        recorder.rests();
        let stored = timing.store(Some(&recorder));
        recorder.hand_over(Moment(200 * SECOND), &timing);
        let text = serde_json::to_string(&stored).expect("plain data");
        let again = Timing::default();
        again.restore(&serde_json::from_str(&text).expect("its own form"));
        let (was, is) = (timing.read(), again.read());
        assert_eq!((is.latency.count, is.latency.sum), (was.latency.count, was.latency.sum));
        assert_eq!((is.batches.count, is.gaps.count), (was.batches.count, was.gaps.count));
        assert_eq!(is.latency.quantiles.map(|q| q[4] > 0.0), Some(true));
        assert!(was.latency.count > 300, "{was:?}");
    }
}
