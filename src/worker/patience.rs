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
/// In between it is this part of the time for which it has had frames that came close upon each other.
const PART: u64 = 4;
/// Time between frames that did not counts against that, so many times over: who is sent but a frame now and then after a load
/// sleeps again soon.
const DECAY: u64 = 2;

/// For how long a worker has been loaded, and without frames; by the clock that it reads once a batch anyway.
#[derive(Debug, Default)]
pub struct Patience {
    /// When the last frame came.
    last: Moment,
    /// Nanoseconds; no more than there is patience for.
    loaded: u64,
}

impl Patience {
    /// The worker has asked for frames at `now`, and got some or not.
    #[inline]
    pub fn asked(&mut self, now: Moment, got_some: bool) {
        if got_some {
            let gap = now.since(self.last);
            self.loaded = if gap <= LEAST {
                (self.loaded + gap).min(MOST * PART)
            } else {
                self.loaded.saturating_sub(gap.saturating_mul(DECAY))
            };
            self.last = now;
        }
    }

    /// Whether it has looked for long enough by `now`.
    pub fn is_over(&self, now: Moment) -> bool {
        now.since(self.last) >= (self.loaded / PART).max(LEAST)
    }

    /// It is about to sleep.
    pub fn rests(&mut self) {
        self.loaded = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: u64 = 1_000;
    const MILLISECOND: u64 = 1_000_000;

    /// Nanoseconds without a frame until a worker sleeps whose frames have come at these moments since it woke.
    fn of(frames: impl IntoIterator<Item = u64>) -> u64 {
        let mut patience = Patience::default();
        patience.rests();
        let mut last = 0;
        for at in frames {
            patience.asked(Moment(at), true);
            last = at;
        }
        let over = |after: &u64| {
            patience.asked(Moment(last + after), false);
            patience.is_over(Moment(last + after))
        };
        (0..2 * MOST).step_by(1_000).find(over).expect("it ends")
    }

    /// Frames each 100 microseconds from the first second on.
    fn load(length: u64) -> impl Iterator<Item = u64> {
        (0..=length).step_by(100 * MICROSECOND as usize).map(|at| 1_000 * MILLISECOND + at)
    }

    #[test]
    fn it_grows_with_the_load() {
        assert_eq!(of(load(0)), LEAST, "one frame");
        assert_eq!(of(load(MILLISECOND)), 250 * MICROSECOND, "a quarter of a millisecond's load");
        assert_eq!(of(load(500 * MILLISECOND)), MOST, "half a second's");
    }

    #[test]
    fn it_shrinks_when_the_load_is_over() {
        let after = |gap: u64, frames: u64| {
            let end = 1_500 * MILLISECOND;
            of(load(500 * MILLISECOND).chain((1..=frames).map(move |frame| end + frame * gap)))
        };
        assert_eq!(after(5 * MILLISECOND, 1), (40 - 2 * 5) * MILLISECOND / PART, "after a pause");
        assert_eq!(after(MILLISECOND, 30), LEAST, "a frame each millisecond is no load");
        assert_eq!(after(9 * MILLISECOND, 3), LEAST, "nor is one each nine");
    }

    #[test]
    fn who_wakes_without_a_frame_sleeps_again_at_once() {
        let mut patience = Patience::default();
        load(100 * MILLISECOND).for_each(|at| patience.asked(Moment(at), true));
        patience.rests();
        patience.asked(Moment(1_200 * MILLISECOND), false);
        assert!(patience.is_over(Moment(1_200 * MILLISECOND)));
    }
}
