//! An endpoint while a table is being filled.

use super::Index;

/// An endpoint that takes its turns.
pub struct Turn {
    /// Its number.
    pub index: Index,
    /// How many slots it is still due.
    pub quota: u32,
    /// Where it goes on to ask.
    pub order: Order,
    weight: u32,
    credit: u32,
}

impl Turn {
    /// An endpoint that is due `quota` slots.
    pub fn new(index: Index, weight: u16, quota: u32, order: Order) -> Self {
        Self { index, quota, order, weight: weight.into(), credit: 0 }
    }

    /// Whether its turn comes in this round: in each, or as much more rarely as it weighs less than the heaviest.
    #[inline]
    pub fn is_due(&mut self, heaviest: u32) -> bool {
        self.credit += self.weight;
        let is_due = self.credit >= heaviest;
        self.credit -= u32::from(is_due) * heaviest;
        is_due
    }
}

/// A place in an endpoint's order of all slots.
#[derive(Clone, Copy, Default)]
pub struct Order {
    /// The slot there.
    pub slot: u32,
    /// How many slots further each next one is, modulo the table's size.
    pub skip: u32,
}

impl Order {
    /// The place behind this one, in a table of `size` slots.
    #[inline(always)]
    pub fn after(self, size: u32) -> Self {
        let sum = self.slot + self.skip;
        // What a division leaves, without one and without a branch: what is below zero would be larger than the sum.
        Self { slot: sum.min(sum.wrapping_sub(size)), ..self }
    }
}
