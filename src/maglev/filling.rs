//! A table while it is being filled: each endpoint in turn takes the first slot of its own order that is still free.
//!
//! Two things would take nearly all of the time. For each turn one question is the last one, and no branch predictor knows
//! which: see [`batch`]. And the last few free slots would need as many questions as all the others: see [`nearest`].

use super::Index;
use super::batch::{self, Batch};
use super::modular::Factor;
use super::turn::{Order, Turn};

/// Gives all slots of a table of `size` (a prime) to the endpoints, in rounds: in each all have a turn, in order, who weigh
/// as much as the heaviest.
pub fn fill(mut turns: Vec<Turn>, heaviest: u32, size: u32) -> Box<[Index]> {
    let (mut filling, mut batch) = (Filling::new(size), Batch::new());
    while !turns.is_empty() {
        let mut is_any_over = false;
        for turns in turns.chunks_mut(batch::MOST) {
            is_any_over |= filling.serve(turns, heaviest, &mut batch);
        }
        if is_any_over {
            turns.retain(|turn| turn.quota > 0);
        }
    }
    filling.slots
}

/// A table while it is being filled.
struct Filling {
    slots: Box<[Index]>,
    taken: Taken,
    /// How many slots are free.
    left: usize,
    /// With no more free slots than this they are listed: all but these few are taken, and whoever goes on to ask for one
    /// after the other asks half of all the questions for them.
    few: usize,
    /// All free slots, once there are few.
    free: Vec<u32>,
}

impl Filling {
    fn new(size: u32) -> Self {
        let left = size as usize;
        // Of n slots, f of them free, n / f are asked for. A look at each of the f takes a little less than a question for
        // each, and as much as a hundred questions before.
        let few = left.isqrt().saturating_sub(24);
        Self { slots: vec![Index::MAX; left].into(), taken: Taken::new(size), left, few, free: Vec::new() }
    }

    /// Gives a slot to each endpoint that is due one in this round, in order, of [`batch::MOST`] at most. Answers whether any
    /// has all of its own now.
    fn serve(&mut self, turns: &mut [Turn], heaviest: u32, batch: &mut Batch) -> bool {
        let mut is_any_over = false;
        if self.free.is_empty() && self.left <= self.few + turns.len() / 2 {
            self.free = self.taken.others().collect();
        }
        if !self.free.is_empty() {
            for turn in turns.iter_mut().filter_map(|turn| turn.is_due(heaviest).then_some(turn)) {
                let order = nearest(turn.order, &mut self.free, self.taken.size);
                is_any_over |= self.give(turn, order);
            }
        } else if turns.len() < batch::FEWEST {
            for turn in turns.iter_mut().filter_map(|turn| turn.is_due(heaviest).then_some(turn)) {
                is_any_over |= self.give(turn, ask(turn.order, &self.taken));
            }
        } else {
            batch.gather(turns, heaviest);
            batch.look_ahead(&self.taken);
            for (at, order) in batch.iter() {
                is_any_over |= self.give(&mut turns[at], ask(order, &self.taken));
            }
        }
        is_any_over
    }

    /// Gives the free slot at a place of its order to an endpoint; answers whether that has all of its own now.
    #[inline]
    fn give(&mut self, turn: &mut Turn, order: Order) -> bool {
        self.taken.add(order.slot);
        self.slots[order.slot as usize] = turn.index;
        self.left -= 1;
        turn.order = order.after(self.taken.size);
        turn.quota -= 1;
        turn.quota == 0
    }
}

/// Asks for one slot after the other until one is free.
#[inline]
fn ask(mut order: Order, taken: &Taken) -> Order {
    while taken.has(order.slot) {
        order = order.after(taken.size);
    }
    order
}

/// Takes that of the listed slots which comes first in an order: each is (its number - the order's slot) / skip steps away.
fn nearest(order: Order, free: &mut Vec<u32>, size: u32) -> Order {
    let per_skip = Factor::inverse(order.skip, size);
    let steps = |slot: &u32| per_skip.times(*slot + size - order.slot);
    let fewest = free.iter().map(steps).min().unwrap_or(0);
    let slot = Factor::new(order.skip, size).times(fewest) + order.slot;
    let slot = slot.min(slot.wrapping_sub(size));
    if let Some(at) = free.iter().position(|free| *free == slot) {
        free.swap_remove(at);
    }
    Order { slot, ..order }
}

/// Which slots are taken: a bit for each. Endpoints ask for many of those, and these fit a core's nearest caches.
pub struct Taken {
    size: u32,
    bits: Box<[u64]>,
}

impl Taken {
    fn new(size: u32) -> Self {
        Self { size, bits: vec![0; size.div_ceil(u64::BITS) as usize].into() }
    }

    /// How many slots there are.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether a slot is taken.
    #[inline(always)]
    pub fn has(&self, slot: u32) -> bool {
        self.bits[(slot / u64::BITS) as usize] & 1 << (slot % u64::BITS) != 0
    }

    #[inline(always)]
    fn add(&mut self, slot: u32) {
        self.bits[(slot / u64::BITS) as usize] |= 1 << (slot % u64::BITS);
    }

    /// All slots that are not taken.
    fn others(&self) -> impl Iterator<Item = u32> {
        let words = (0..self.size).step_by(u64::BITS as usize).zip(&self.bits);
        let slots = |first| (first..self.size).take(u64::BITS as usize);
        words
            .filter(|(_, word)| **word != u64::MAX)
            .flat_map(move |(first, _)| slots(first))
            .filter(|slot| !self.has(*slot))
    }
}
