//! Until when each slot of a layer remembers.

use super::Second;

/// A moment by slot. Endpoints come and go together, so it is mostly the same one, which then is there once: ten thousand
/// services can be in a handover at a time.
#[derive(Clone, Debug)]
pub enum Deadlines {
    /// Of all slots that remember.
    Same(Second),
    /// Of no meaning where a slot remembers nothing.
    BySlot(Box<[Second]>),
}

impl Deadlines {
    /// The moment until which a slot that remembers does so.
    pub fn of(&self, slot: usize) -> Second {
        match self {
            Self::Same(until) => *until,
            Self::BySlot(moments) => moments.get(slot).copied().unwrap_or(0),
        }
    }

    /// Makes another moment of each.
    pub fn change(&mut self, to: impl Fn(Second) -> Second) {
        match self {
            Self::Same(until) => *until = to(*until),
            Self::BySlot(moments) => moments.iter_mut().for_each(|until| *until = to(*until)),
        }
    }

    /// Gives some of `size` slots this moment; the others keep theirs.
    pub fn set(&mut self, slots: impl Iterator<Item = usize>, until: Second, size: usize) {
        if let Self::Same(other) = self {
            if *other == until {
                return;
            }
            *self = Self::BySlot(vec![*other; size].into());
        }
        let Self::BySlot(moments) = self else { return };
        for slot in slots {
            if let Some(moment) = moments.get_mut(slot) {
                *moment = until;
            }
        }
    }
}
