//! Some endpoints whose turn it is, and where they will find a free slot.
//!
//! An endpoint asks for some slots that are taken. Nobody can foresee for how many, and a processor that guesses wrong
//! starts afresh, which takes longer than the questions. So several endpoints go ahead at once, and none of their steps
//! depends on a guess. What is taken stays taken: those before them can only have taken what they have found, and then
//! they ask on from there.

use std::hint::select_unpredictable;

use super::filling::Taken;
use super::turn::{Order, Turn};

/// The most turns of one batch. With more, more of what is found is taken before its turn.
pub const MOST: usize = 128;
/// With fewer turns it takes less to ask for one after the other.
pub const FEWEST: usize = 16;
/// How many endpoints ask at the same time.
const LANES: usize = 4;
/// For how many slots each asks before it makes room, if it has found one, for another.
const QUESTIONS: usize = 2;

/// Endpoints whose turn it is, in order.
pub struct Batch {
    count: usize,
    /// Which of the turns looked at these are.
    due: [u8; MOST],
    orders: [Order; MOST],
}

impl Batch {
    /// None.
    pub fn new() -> Self {
        Self { count: 0, due: [0; MOST], orders: [Order::default(); MOST] }
    }

    /// Takes in those that are due, of [`MOST`] turns or fewer.
    pub fn gather(&mut self, turns: &mut [Turn], heaviest: u32) {
        self.count = 0;
        for (at, turn) in turns.iter_mut().enumerate().take(MOST) {
            (self.due[self.count], self.orders[self.count]) = (at as u8, turn.order);
            self.count += usize::from(turn.is_due(heaviest));
        }
    }

    /// Brings all but the last few to the next slot of their orders that is free.
    pub fn look_ahead(&mut self, taken: &Taken) {
        let mut lanes: [usize; LANES] = std::array::from_fn(|lane| lane);
        let mut next = LANES;
        while next + LANES <= self.count {
            for lane in &mut lanes {
                let at = *lane % MOST;
                let (mut order, mut is_taken) = (self.orders[at], true);
                for _ in 0..QUESTIONS {
                    is_taken = taken.has(order.slot);
                    order.slot = select_unpredictable(is_taken, order.after(taken.size()).slot, order.slot);
                }
                self.orders[at] = order;
                *lane = select_unpredictable(is_taken, *lane, next);
                next += usize::from(!is_taken);
            }
        }
    }

    /// Those that are due, each by its number among the turns looked at, and where it has got to.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Order)> {
        self.due.iter().map(|at| usize::from(*at)).zip(self.orders).take(self.count)
    }
}
