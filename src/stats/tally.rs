//! One worker's totals, as plain numbers.

use serde::{Deserialize, Serialize};

use crate::forward::verdict::{DropReason, Verdict};

/// Packets, and their bytes as frames on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// How many packets.
    pub packets: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one packet of `bytes` bytes.
    pub fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

/// All that a worker has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Frames taken in.
    pub received: Traffic,
    /// Frames sent to endpoints, outer headers included.
    pub sent: Traffic,
    /// Frames sent back to clients by the node itself.
    pub answered: Traffic,
    /// Frames sent beyond one a packet, where a packet had to be cut into parts.
    pub parts: u64,
    /// Packets dropped, by the reason's number.
    pub drops: [u64; DropReason::COUNT],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            received: Traffic::default(),
            sent: Traffic::default(),
            answered: Traffic::default(),
            parts: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl Tally {
    /// Counts one frame: its verdict, its length as it came and as it leaves. A passed frame was never ours.
    pub fn count(&mut self, verdict: Verdict, came: usize, leaves: usize) {
        match verdict {
            Verdict::Forwarded(..) => self.sent.add(leaves),
            Verdict::Answered(_) => self.answered.add(leaves),
            Verdict::Dropped(reason, _) => self.drops[reason as usize] += 1,
            Verdict::Passed => return,
        }
        self.received.add(came);
    }

    /// Whether every frame received is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.received.packets == self.sent.packets + self.answered.packets + self.drops.iter().sum::<u64>()
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.received = self.received.plus(other.received);
        self.sent = self.sent.plus(other.sent);
        self.answered = self.answered.plus(other.answered);
        self.parts += other.parts;
        self.drops.iter_mut().zip(other.drops).for_each(|(sum, more)| *sum += more);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdicts() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Forwarded(0, 0)),
            Just(Verdict::Answered(0)),
            (0..DropReason::COUNT).prop_map(|i| Verdict::Dropped(DropReason::ALL[i], None)),
            Just(Verdict::Passed),
        ]
    }

    proptest! {
        #[test]
        fn every_verdict_keeps_the_balance(verdicts in prop::collection::vec((verdicts(), 14usize..1500), 0..100)) {
            let mut tally = Tally::default();
            for (verdict, len) in verdicts {
                tally.count(verdict, len, len + 44);
                prop_assert!(tally.is_balanced());
            }
            prop_assert!(tally.plus(&tally).is_balanced());
        }
    }
}
