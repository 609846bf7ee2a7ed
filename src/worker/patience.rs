//! How long a worker that polls adaptively looks for frames in vain before it sleeps.
//!
//! Looking costs the core, sleeping costs the next packet the time to wake. So a worker that had nothing but a packet now and
//! then looks about as long as waking takes. One under load goes on for longer the longer its load has gone on: who sends
//! a lot pauses, too, while something else has its core, and a queue that is looked after by one interrupt for many
//! packets is filled in bursts.

use crate::moment::Moment;

/// Nanoseconds without a frame after which a worker sleeps that has just woken.
const LEAST: u64 = 200_000;
/// The same of one that has been awake for long: more than a sender waits for its turn on a core that it shares.
const MOST: u64 = 10_000_000;
/// In between it is this part of the time from its waking to its last frame.
const PART: u64 = 4;

/// Since when a worker is awake, and without frames; by the clock that it reads once a batch anyway.
#[derive(Debug, Default)]
pub struct Patience {
    /// None: it sleeps.
    woke: Option<Moment>,
    last: Moment,
}

impl Patience {
    /// The worker has asked for frames at `now`, and got some or not.
    #[inline]
    pub fn asked(&mut self, now: Moment, got_some: bool) {
        if self.woke.is_none() {
            self.woke = Some(now);
        }
        if got_some {
            self.last = now;
        }
    }

    /// Whether it has looked for long enough by `now`.
    pub fn is_over(&self, now: Moment) -> bool {
        let loaded = self.woke.map_or(0, |woke| self.last.since(woke));
        now.since(self.last) >= (loaded / PART).clamp(LEAST, MOST)
    }

    /// It is about to sleep.
    pub fn rests(&mut self) {
        self.woke = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nanoseconds without a frame until a worker sleeps whose frames have come at these moments since it woke.
    fn of(frames: &[u64]) -> u64 {
        let mut patience = Patience::default();
        patience.rests();
        frames.iter().for_each(|at| patience.asked(Moment(*at), true));
        let last = frames.last().copied().unwrap_or_default();
        let over = |after: &u64| {
            patience.asked(Moment(last + after), false);
            patience.is_over(Moment(last + after))
        };
        (0..2 * MOST).step_by(1_000).find(over).expect("it ends")
    }

    #[test]
    fn it_grows_with_the_load() {
        const MILLISECOND: u64 = 1_000_000;
        assert_eq!(of(&[5 * MILLISECOND]), LEAST, "one frame");
        assert_eq!(of(&[5 * MILLISECOND, 6 * MILLISECOND]), 250_000, "a quarter of a millisecond's load");
        assert_eq!(of(&[5 * MILLISECOND, 500 * MILLISECOND]), MOST, "half a second's");
    }

    #[test]
    fn who_wakes_without_a_frame_sleeps_again_at_once() {
        let mut patience = Patience::default();
        (0..100).for_each(|at| patience.asked(Moment(at * 1_000_000), true));
        patience.rests();
        patience.asked(Moment(200_000_000), false);
        assert!(patience.is_over(Moment(200_000_000)));
    }
}
