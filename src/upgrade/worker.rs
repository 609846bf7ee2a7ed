//! A worker that has stopped: what another process needs to go on with it. Counters go by name, so that another version may
//! know other reasons; lists go as bytes in a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::forward::verdict::DropReason;
use crate::io::KernelStatistics;
use crate::stats::{Tally, Traffic};
use crate::worker::Carried;

/// A worker that has stopped. Its file has the free frames (8 bytes each, little-endian), tracked flows, first fragments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Its number.
    pub number: usize,
    /// The moment of its last batch, on the machine's monotonic clock.
    pub left: u64,
    received: Traffic,
    sent: Traffic,
    answered: Traffic,
    parts: u64,
    /// By reason, those that are not 0.
    drops: BTreeMap<String, u64>,
    /// What the kernel has counted on earlier queues.
    kernel: [u64; 6],
    /// Bytes of each of the three lists in the file.
    lengths: [usize; 3],
}

impl Worker {
    /// The message, and the file beside it.
    pub fn new(number: usize, left: u64, carried: &Carried, free: &[u64]) -> (Self, Vec<u8>) {
        let Carried { tally, earlier, flows: [tracked, fragments] } = carried;
        let Tally { received, sent, answered, parts, drops } = *tally;
        let drops = DropReason::ALL.iter().zip(drops).filter(|(_, count)| *count > 0);
        let free: Vec<u8> = free.iter().flat_map(|chunk| chunk.to_le_bytes()).collect();
        let worker = Self {
            number,
            left,
            received,
            sent,
            answered,
            parts,
            drops: drops.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
            kernel: earlier.to_array(),
            lengths: [free.len(), tracked.len(), fragments.len()],
        };
        (worker, [free, tracked.clone(), fragments.clone()].concat())
    }

    /// What it had, and its free frames; none where the file is not what the message says of it. What was dropped for a
    /// reason that is not known here counts as dropped for the first.
    pub fn read(&self, file: &[u8]) -> Option<(Carried, Vec<u64>)> {
        let (free, rest) = file.split_at_checked(self.lengths[0])?;
        let (tracked, rest) = rest.split_at_checked(self.lengths[1])?;
        let (fragments, rest) = rest.split_at_checked(self.lengths[2])?;
        let (free, odd) = free.as_chunks::<8>();
        if !(rest.is_empty() && odd.is_empty()) {
            return None;
        }
        let mut drops = [0u64; DropReason::COUNT];
        for (name, count) in &self.drops {
            let reason = DropReason::ALL.iter().position(|reason| reason.name() == name).unwrap_or(0);
            drops[reason] = drops[reason].saturating_add(*count);
        }
        let &Self { received, sent, answered, parts, .. } = self;
        let tally = Tally { received, sent, answered, parts, drops };
        let flows = [tracked.to_vec(), fragments.to_vec()];
        let carried = Carried { tally, earlier: KernelStatistics::from_array(self.kernel), flows };
        Some((carried, free.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::verdict::Verdict;

    #[test]
    fn a_worker_comes_back_as_it_went() {
        let mut tally = Tally::default();
        tally.count(Verdict::Forwarded(0, 0), 60, 104);
        tally.count(Verdict::Dropped(DropReason::TooBig, None), 1514, 0);
        let earlier = KernelStatistics { rx_ring_full: 3, ..KernelStatistics::default() };
        let carried = Carried { tally, earlier, flows: [vec![1, 2, 3], vec![4]] };
        let (message, file) = Worker::new(1, 77, &carried, &[2048, 0]);
        let text = serde_json::to_string(&message).expect("plain data");
        let message: Worker = serde_json::from_str(&text).expect("its own form");
        assert_eq!((message.number, message.left), (1, 77));
        assert_eq!(message.read(&file), Some((carried, vec![2048, 0])));
        assert_eq!(message.read(&file[1..]), None);
        assert_eq!(message.read(&[&file[..], &[0]].concat()), None);
        let other = text.replace(DropReason::TooBig.name(), "a reason of the future");
        let other: Worker = serde_json::from_str(&other).expect("any reason");
        assert!(other.read(&file).expect("whole").0.tally.is_balanced());
        let huge = Worker { lengths: [usize::MAX, 1, usize::MAX], ..message };
        assert_eq!(huge.read(&file), None);
    }
}
