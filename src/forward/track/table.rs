//! The memory of tracked flows: a worker's own, or lent to it for good, so that another process can go on with it where it
//! lies.

use std::ops::{Deref, DerefMut};

use super::{Bucket, Tracked, WAYS};
use crate::snapshot::Cell;

/// The number of this form of the table: what an entry's bits mean, how many make a bucket, in which buckets a flow may lie,
/// from when seconds count. One that changes any of them has another.
pub const LAYOUT: u32 = 1;

/// Where the buckets lie.
#[derive(Debug)]
pub(super) enum Table {
    Own(Box<[Bucket]>),
    Lent(&'static mut [Bucket]),
}

impl Deref for Table {
    type Target = [Bucket];

    #[inline]
    fn deref(&self) -> &[Bucket] {
        match self {
            Self::Own(buckets) => buckets,
            Self::Lent(buckets) => buckets,
        }
    }
}

impl DerefMut for Table {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Bucket] {
        match self {
            Self::Own(buckets) => buckets,
            Self::Lent(buckets) => buckets,
        }
    }
}

/// How many buckets have room for so many flows: a power of two.
pub fn buckets_for(flows: usize) -> usize {
    flows.div_ceil(WAYS).next_power_of_two()
}

impl Tracked {
    /// The same as [`new`](Self::new) in memory that somebody lends, with what [`buckets_for`] answers of it. It has no flows,
    /// or those of another process: see [`go_on_in`](Self::go_on_in).
    pub fn over(table: &'static mut [Bucket], window: u32) -> Self {
        debug_assert!(table.len().is_power_of_two());
        Self::of(Table::Lent(table), window)
    }

    /// How many flows are tracked.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Goes on in memory that somebody lends, with so many flows, which another process has left there.
    pub fn go_on_in(&mut self, table: &'static mut [Bucket], flows: usize) {
        debug_assert!(table.len().is_power_of_two());
        self.buckets = Table::Lent(table);
        (self.len, self.swept) = (flows.min(self.capacity()), 0);
    }

    /// Gives back the memory that somebody has lent, with all flows in it: it has none from now on, and hardly room for any.
    /// None where the memory is its own.
    pub fn leave(&mut self) -> Option<&'static mut [Bucket]> {
        if matches!(self.buckets, Table::Own(_)) {
            return None;
        }
        let own = Table::Own(vec![Bucket::default()].into());
        (self.len, self.swept) = (0, 0);
        if let Table::Lent(table) = std::mem::replace(&mut self.buckets, own) { Some(table) } else { None }
    }

    /// Finds out anew which flows there are, where another process has used this memory and died; says of each whose it is.
    pub fn count_anew(&mut self, mut begun: impl FnMut(Cell)) {
        let entries = self.buckets.iter().flat_map(|bucket| bucket.0).filter(|entry| entry.seen != 0);
        self.len = entries.map(|entry| begun(entry.cell())).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowHash;
    use crate::forward::track::Sign;
    use crate::moment::{Moment, SECOND};

    /// Where this changes, the table needs another number: a process of another version would take one for the other.
    #[test]
    fn this_is_layout_1() {
        let mut tracked = Tracked::new(64, 600);
        tracked.insert(FlowHash(0x0123_4567_89ab_cdef), 0x0abc_def0, Sign::Opens, Moment(41 * SECOND));
        tracked.find(FlowHash(0x0123_4567_89ab_cdef), Sign::Connection, Moment(42 * SECOND));
        tracked.insert(FlowHash(7), 9, Sign::Ends, Moment(0));
        let entries = tracked.buckets.iter().zip(0..).flat_map(|(bucket, at)| bucket.0.map(|entry| (at, entry)));
        let used = entries.filter(|(_, entry)| entry.seen != 0);
        let used: Vec<_> = used.map(|(at, entry)| (at, entry.hash, entry.seen, entry.packed)).collect();
        let expected = [(2, 7, 1, 0x2000_0009), (7, 0x0123_4567_89ab_cdef, 43, 0xeabc_def0)];
        assert_eq!((LAYOUT, used.as_slice()), (1, expected.as_slice()));
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>(), buckets_for(65)), (64, 64, 32));
    }

    #[test]
    fn another_goes_on_where_the_flows_lie() {
        let mut lent = vec![Bucket::default(); buckets_for(256)];
        let mut first = Tracked::over(lent.clone().leak(), 600);
        for n in 0..100u64 {
            first.insert(FlowHash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)), n as Cell % 3, Sign::Opens, Moment(0));
        }
        lent.copy_from_slice(&first.buckets);
        let mut second = Tracked::new(1, 600);
        second.go_on_in(lent.leak(), first.len());
        let hashes = (0..100u64).map(|n| FlowHash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        assert!(hashes.into_iter().all(|hash| second.peek(hash, Moment(0)) == first.peek(hash, Moment(0))));
        assert_eq!((second.len(), second.is_empty()), (first.len(), false));
        let mut counts = [0; 3];
        let lent = second.leave().expect("it is lent");
        second.go_on_in(lent, usize::MAX);
        assert_eq!(second.len(), 256);
        second.count_anew(|cell| counts[cell as usize] += 1);
        assert_eq!((second.len(), counts.iter().sum::<usize>()), (first.len(), first.len()));
    }
}
