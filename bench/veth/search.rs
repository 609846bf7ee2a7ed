//! The greatest paced load that comes back without loss.

use std::time::Duration;

use crate::contestants::Running;
use crate::pair::Pair;
use crate::traffic::{Load, Outcome, Traffic};

/// A load that is held up this often is taken for too great.
const MOST_TRIES: u32 = 6;
/// The search ends where the load that passes and the one that does not lie so close together.
const CLOSE: f64 = 1.01;
/// A generator that falls behind by more than this has lost its core, or can do no more.
const SHORTFALL: f64 = 0.02;
/// No core that was taken away accounts for such a loss.
const OVERLOAD: f64 = 0.15;

/// What counts as a pass, and how long it takes.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a load is offered.
    pub duration: Duration,
    /// Frames that leave together.
    pub burst: u64,
    /// The share of frames that need not come back.
    pub loss: f64,
    /// Involuntary context switches of the forwarder beyond which a load that did not pass is offered again.
    pub switches: u64,
    /// The forwarder's core.
    pub core: usize,
    /// Loads between which the search begins, in frames a second.
    pub between: (f64, f64),
}

/// One forwarder, and the search for its best load.
pub struct Search<'a> {
    pub pair: &'a Pair,
    pub traffic: &'a mut Traffic,
    pub running: &'a Running<'a>,
    pub terms: &'a Terms,
    /// Loads offered again.
    pub discarded: u32,
    /// Whether each is shown.
    pub verbose: bool,
}

impl Search<'_> {
    /// The greatest load in frames a second that came back; 0 where none did.
    pub fn best(&mut self, around: Option<f64>) -> anyhow::Result<f64> {
        let (mut lowest, mut highest) = around.map_or(self.terms.between, |load| (load / 1.3, load * 1.3));
        let mut best: f64 = 0.0;
        // What was expected to pass, or not to, may do otherwise: then the search goes on beyond.
        while best == 0.0 && lowest > 10_000.0 {
            match self.passes(lowest)? {
                Some(rate) => best = rate,
                None => (highest, lowest) = (lowest, lowest / 2.0),
            }
        }
        while best > 0.0
            && let Some(rate) = self.passes(highest)?
        {
            best = f64::max(best, rate);
            (lowest, highest) = (highest, highest * 1.3);
        }
        while best > 0.0 && highest / lowest > CLOSE {
            let middle = (highest * lowest).sqrt();
            match self.passes(middle)? {
                Some(rate) => (lowest, best) = (middle, f64::max(best, rate)),
                None => highest = middle,
            }
        }
        Ok(best)
    }

    /// Offers a load, and once more where it does not pass: one loss may be somebody else's doing. Answers what was
    /// really offered.
    fn passes(&mut self, rate: f64) -> anyhow::Result<Option<f64>> {
        let mut failed = 0;
        for _ in 0..MOST_TRIES {
            let load = Load { rate, burst: self.terms.burst, duration: self.terms.duration };
            let before = self.running.involuntary_switches(self.terms.core);
            let (pair, traffic) = (self.pair, &mut *self.traffic);
            let outcome = pair.outside.inside(|| traffic.offer(&load))?;
            let switches = self.running.involuntary_switches(self.terms.core) - before;
            self.show(rate, &outcome, switches);
            let held_up = outcome.rate < rate * (1.0 - SHORTFALL);
            if outcome.loss() <= self.terms.loss && !held_up {
                return Ok(Some(outcome.rate));
            }
            if outcome.loss() > OVERLOAD {
                return Ok(None);
            }
            if held_up || switches > self.terms.switches {
                self.discarded += 1;
                continue;
            }
            failed += 1;
            if failed == 2 {
                break;
            }
        }
        Ok(None)
    }

    fn show(&self, rate: f64, outcome: &Outcome, switches: u64) {
        if self.verbose {
            let Outcome { sent, returned, rate: offered, .. } = *outcome;
            eprintln!(
                "  {rate:>9.0} asked, {offered:>9.0} offered, {sent:>8} sent, {returned:>8} back, {switches} switches"
            );
        }
    }
}
