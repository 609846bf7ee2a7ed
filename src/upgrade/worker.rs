//! A worker that has stopped: what another process needs to go on with it. Counters go by name, so that another version may
//! know other reasons; lists go as bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::forward::verdict::DropReason;
use crate::io::KernelStatistics;
use crate::moment::Moment;
use crate::stats::{Tally, Traffic};
use crate::worker::Carried;

/// The most bytes that a worker tells.
const MOST: u64 = 1 << 30;

/// A worker that has stopped. It tells its successor how many bytes the head has (8 bytes), how many of them are the first part
/// (4), this as JSON, then the free frames (8 bytes each) and first fragments; and behind the head, tracked flows. Numbers are
/// little-endian.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// The moment of its last batch, on the machine's monotonic clock.
    left: u64,
    received: Traffic,
    sent: Traffic,
    answered: Traffic,
    parts: u64,
    /// By reason, those that are not 0.
    drops: BTreeMap<String, u64>,
    /// What the kernel has counted on earlier queues.
    kernel: [u64; 6],
    /// Bytes of the free frames, of first fragments, and of tracked flows.
    lengths: [usize; 3],
    /// How many tracked flows lie where the other process goes on with them.
    in_place: Option<usize>,
}

/// What a worker had.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When it stopped.
    pub left: Moment,
    /// Counters and flows.
    pub carried: Carried,
    /// The frames that are in no ring.
    pub free: Vec<u64>,
    /// Its tracked flows.
    pub tracked: ToldFlows,
}

/// Where tracked flows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldFlows {
    /// So many bytes of them follow.
    Follow(usize),
    /// So many lie where they lay.
    InPlace(usize),
}

impl Worker {
    /// The head, with its length before it.
    pub fn write(told: &Told) -> Vec<u8> {
        let Told { left, carried: Carried { tally, earlier, fragments }, free, tracked } = told;
        let Tally { received, sent, answered, parts, drops } = *tally;
        let drops = DropReason::ALL.iter().zip(drops).filter(|(_, count)| *count > 0);
        let (behind, in_place) = match *tracked {
            ToldFlows::Follow(bytes) => (bytes, None),
            ToldFlows::InPlace(flows) => (0, Some(flows)),
        };
        let free: Vec<u8> = free.iter().flat_map(|chunk| chunk.to_le_bytes()).collect();
        let worker = Self {
            left: left.0,
            received,
            sent,
            answered,
            parts,
            drops: drops.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
            kernel: earlier.to_array(),
            lengths: [free.len(), fragments.len(), behind],
            in_place,
        };
        let first = serde_json::to_vec(&worker).expect("plain data, with texts as keys");
        let rest = 4 + first.len() + free.len() + fragments.len();
        let (rest, len) = ((rest as u64).to_le_bytes(), (first.len() as u32).to_le_bytes());
        [&rest[..], &len, &first, &free, fragments].concat()
    }

    /// How many bytes the head has, by the first eight; none where it is too much.
    pub fn length(first: [u8; 8]) -> Option<usize> {
        let length = u64::from_le_bytes(first);
        usize::try_from(length).ok().filter(|_| length <= MOST)
    }

    /// Reads the head, without the first eight bytes; none where it contradicts itself. What was dropped for a reason that is not
    /// known here is counted as that.
    pub fn read(bytes: &[u8]) -> Option<Told> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (first, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let worker: Self = serde_json::from_slice(first).ok()?;
        let (free, rest) = rest.split_at_checked(worker.lengths[0])?;
        let (fragments, rest) = rest.split_at_checked(worker.lengths[1])?;
        let (free, odd) = free.as_chunks::<8>();
        if !(rest.is_empty() && odd.is_empty()) {
            return None;
        }
        let mut drops = [0u64; DropReason::COUNT];
        for (name, count) in &worker.drops {
            let known = DropReason::ALL.iter().find(|reason| reason.name() == name);
            let count_of = &mut drops[*known.unwrap_or(&DropReason::OtherVersion) as usize];
            *count_of = count_of.saturating_add(*count);
        }
        let Self { left, received, sent, answered, parts, kernel, lengths: [_, _, behind], .. } = worker;
        let tracked = worker.in_place.map_or(ToldFlows::Follow(behind), ToldFlows::InPlace);
        let tally = Tally { received, sent, answered, parts, drops };
        let fragments = fragments.to_vec();
        let carried = Carried { tally, earlier: KernelStatistics::from_array(kernel), fragments };
        let free = free.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
        Some(Told { left: Moment(left), carried, free, tracked })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::forward::verdict::Verdict;

    fn told() -> Told {
        let mut tally = Tally::default();
        tally.count(Verdict::Forwarded(0, 0), 60, 104);
        tally.count(Verdict::Dropped(DropReason::TooBig, None), 1514, 0);
        let earlier = KernelStatistics { rx_ring_full: 3, ..KernelStatistics::default() };
        let carried = Carried { tally, earlier, fragments: vec![1, 2, 3] };
        Told { left: Moment(77), carried, free: vec![2048, 0], tracked: ToldFlows::Follow(40) }
    }

    fn split(bytes: &[u8]) -> (Option<usize>, &[u8]) {
        let (first, rest) = bytes.split_first_chunk().expect("it has a length");
        (Worker::length(*first), rest)
    }

    #[test]
    fn a_worker_comes_back_as_it_went() {
        let bytes = Worker::write(&told());
        let (length, rest) = split(&bytes);
        assert_eq!((length, Worker::read(rest)), (Some(rest.len()), Some(told())));
        let in_place = Told { tracked: ToldFlows::InPlace(2), ..told() };
        assert_eq!(Worker::read(split(&Worker::write(&in_place)).1), Some(in_place));
        assert_eq!(Worker::read(&rest[..rest.len() - 1]), None);
        assert_eq!(Worker::read(&[rest, &[0]].concat()), None);
        assert_eq!(Worker::length(u64::MAX.to_le_bytes()), None);
    }

    /// What a worker of the first release tells, with a reason that nobody knows.
    #[test]
    fn the_words_of_form_1_are_read() {
        let first = r#"{"left":77,"received":{"packets":3,"bytes":300},"sent":{"packets":1,"bytes":144},"answered":{"packets":1,"bytes":98},"parts":0,"drops":{"a reason of the future":1},"kernel":[0,0,0,0,0,0],"lengths":[16,0,20]}"#;
        let bytes = [&(first.len() as u32).to_le_bytes(), first.as_bytes(), &[0; 16]].concat();
        let told = Worker::read(&bytes).expect("form 1");
        assert_eq!(
            (told.tracked, told.left, told.free.len(), told.carried.tally.received.packets),
            (ToldFlows::Follow(20), Moment(77), 2, 3)
        );
        assert!(told.carried.tally.is_balanced());
        let drops = told.carried.tally.drops;
        assert_eq!((drops[DropReason::OtherVersion as usize], drops.iter().sum::<u64>()), (1, 1), "no other reason's");
    }

    proptest! {
        #[test]
        fn nonsense_is_no_worker_and_no_harm(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let bytes = Worker::write(&told());
            let (_, rest) = split(&bytes);
            let mut changed = rest.to_vec();
            let at = at.index(changed.len());
            changed[at] = byte;
            _ = Worker::read(&changed);
            _ = Worker::read(&rest[..cut.index(rest.len())]);
        }
    }
}
