//! Counters of services and endpoints: cells with numbers, which snapshots name.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tally::Traffic;
use serde::{Deserialize, Serialize};

use crate::forward::track::Change;
use crate::prefetch::prefetch;
use crate::snapshot::Cell;

const PAGE: usize = 512;

/// One worker's cells. Grown by pages on the control side, so that what a worker already counts in never moves.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    pages: Vec<Arc<Page>>,
}

#[derive(Debug)]
struct Page {
    traffic: [AtomicTraffic; PAGE],
    /// Tracked flows that the worker has found when it began: those of another process. Only the control side writes these.
    found: [AtomicU64; PAGE],
}

impl Default for Page {
    fn default() -> Self {
        Self {
            traffic: std::array::from_fn(|_| AtomicTraffic::default()),
            found: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

#[derive(Debug, Default)]
struct AtomicTraffic {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// Packets among them that opened a flow.
    new_flows: AtomicU64,
    /// Flows that are tracked now, less those that were found: below 0, it wraps round.
    tracked: AtomicU64,
}

impl Cells {
    /// Makes room for `count` cells.
    pub fn grow(&mut self, count: usize) {
        while self.pages.len() * PAGE < count {
            self.pages.push(Arc::default());
        }
    }

    fn cell(&self, cell: Cell) -> Option<&AtomicTraffic> {
        let cell = cell as usize;
        self.pages.get(cell / PAGE).map(|page| &page.traffic[cell % PAGE])
    }

    fn found(&self, cell: Cell) -> Option<&AtomicU64> {
        let cell = cell as usize;
        self.pages.get(cell / PAGE).map(|page| &page.found[cell % PAGE])
    }

    /// Has the memory of a cell come near, so that counting need not wait for it.
    #[inline]
    pub fn approach(&self, cell: Cell) {
        self.cell(cell).into_iter().for_each(prefetch);
    }

    /// Counts one packet. Only the worker that owns the cells calls this, so no locked instruction is needed.
    pub fn add(&self, cell: Cell, bytes: usize) {
        let Some(cell) = self.cell(cell) else { return };
        cell.packets.store(cell.packets.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        cell.bytes.store(cell.bytes.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
    }

    /// Counts a packet that opened a flow. Only the worker that owns the cells calls this.
    pub fn open_flow(&self, cell: Cell) {
        let Some(cell) = self.cell(cell) else { return };
        cell.new_flows.store(cell.new_flows.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Counts one tracked flow more, or less. Only the worker that owns the cells calls this.
    pub fn track(&self, change: Change) {
        let (Change::Begun(number) | Change::Ended(number)) = change;
        let Some(cell) = self.cell(number) else { return };
        let tracked = cell.tracked.load(Ordering::Relaxed);
        let step = if matches!(change, Change::Begun(_)) { 1 } else { u64::MAX };
        cell.tracked.store(tracked.wrapping_add(step), Ordering::Relaxed);
    }

    /// How many flows are tracked for a cell.
    pub fn tracked(&self, cell: Cell) -> u64 {
        let (Some(own), Some(found)) = (self.cell(cell), self.found(cell)) else { return 0 };
        let sum = own.tracked.load(Ordering::Relaxed).wrapping_add(found.load(Ordering::Relaxed));
        // One that reads while another process's flows are not put in yet sees too few.
        u64::try_from(sum.cast_signed()).unwrap_or(0)
    }

    /// The cells for which flows are tracked, with their numbers.
    pub fn all_tracked(&self) -> Vec<(Cell, u64)> {
        let cells = (0..(self.pages.len() * PAGE) as Cell).map(|cell| (cell, self.tracked(cell)));
        cells.filter(|(_, flows)| *flows > 0).collect()
    }

    /// Counts the flows that the worker has found where it went on with those of another process.
    pub fn put_found(&self, cell: Cell, flows: u64) {
        if let Some(found) = self.found(cell) {
            found.store(flows, Ordering::Relaxed);
        }
    }

    /// Forgets how many flows are tracked, when the worker does not work.
    pub fn clear_tracked(&self) {
        for page in &self.pages {
            let own = page.traffic.iter().map(|cell| &cell.tracked);
            own.chain(&page.found).for_each(|value| value.store(0, Ordering::Relaxed));
        }
    }

    /// What a cell holds.
    pub fn read(&self, cell: Cell) -> Count {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        self.cell(cell).map_or_else(Count::default, |cell| Count {
            traffic: Traffic { packets: load(&cell.packets), bytes: load(&cell.bytes) },
            new_flows: load(&cell.new_flows),
        })
    }

    /// Takes in what was counted before, by other cells that stood for the same.
    pub fn put(&self, cell: Cell, count: Count) {
        let Some(AtomicTraffic { packets, bytes, new_flows, .. }) = self.cell(cell) else { return };
        packets.store(count.traffic.packets, Ordering::Relaxed);
        bytes.store(count.traffic.bytes, Ordering::Relaxed);
        new_flows.store(count.new_flows, Ordering::Relaxed);
    }

    /// Makes a cell as good as new, when no worker counts in it.
    pub fn clear(&self, cell: Cell) {
        let Some(AtomicTraffic { packets, bytes, new_flows, tracked }) = self.cell(cell) else { return };
        let values = [packets, bytes, new_flows, tracked].into_iter().chain(self.found(cell));
        values.for_each(|value| value.store(0, Ordering::Relaxed));
    }
}

/// What has been counted for a service or an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What it was sent.
    pub traffic: Traffic,
    /// Packets among that which opened a flow; counted for services only.
    pub new_flows: u64,
}

impl Count {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { traffic: self.traffic.plus(other.traffic), new_flows: self.new_flows + other.new_flows }
    }

    /// What a cell holds at all workers together.
    pub fn of<'a>(cell: Cell, workers: impl IntoIterator<Item = &'a Cells>) -> Self {
        workers.into_iter().fold(Self::default(), |sum, cells| sum.plus(cells.read(cell)))
    }
}

/// What a cell counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// A service, by name.
    Service(String),
    /// An endpoint, by its service's name and its own.
    Endpoint(String, String),
}

/// Gives out numbers to keys, counts how often each is in use, and gives a freed one out again only when no snapshot
/// that names it is being read any more, and whoever [reclaims](Self::reclaim) has looked at it once more.
#[derive(Debug)]
pub struct Numbers<K> {
    by_key: HashMap<K, (u32, u32)>,
    next: u32,
    free: Vec<u32>,
    /// With the edition in which it was last named.
    resting: Vec<(u64, K, u32)>,
    /// Nobody can name these any more, but they have not been free for a whole turn.
    leaving: Vec<u32>,
}

/// More keys than any node has: a set has at most 100,000 endpoints or so.
const MOST_NUMBERS: u32 = 1 << 24;

/// What was given which number, for another process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredNumbers<K> {
    in_use: Vec<(K, u32)>,
    resting: Vec<(K, u32)>,
    leaving: Vec<u32>,
}

impl<K> StoredNumbers<K> {
    /// Whether no two keys have one number, and all are of a sensible size.
    pub fn is_sound(&self) -> bool {
        let named = self.in_use.iter().chain(&self.resting).map(|(_, id)| *id);
        let mut seen = HashSet::new();
        named.chain(self.leaving.iter().copied()).all(|id| id < MOST_NUMBERS && seen.insert(id))
    }
}

impl<K> Default for StoredNumbers<K> {
    fn default() -> Self {
        Self { in_use: Vec::new(), resting: Vec::new(), leaving: Vec::new() }
    }
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), next: 0, free: Vec::new(), resting: Vec::new(), leaving: Vec::new() }
    }
}

impl<K: Eq + Hash + Clone> Numbers<K> {
    /// Whether a key has a number.
    pub fn knows(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// The number of a key, if it has one.
    pub fn number(&self, key: &K) -> Option<u32> {
        self.by_key.get(key).map(|(id, _)| *id)
    }

    /// The number of a key, which now has one user more.
    pub fn acquire(&mut self, key: K) -> u32 {
        let (free, next) = (&mut self.free, &mut self.next);
        let (id, users) = self.by_key.entry(key).or_insert_with(|| {
            let id = free.pop().unwrap_or_else(|| {
                *next += 1;
                *next - 1
            });
            (id, 0)
        });
        *users += 1;
        *id
    }

    /// Gives the numbers of some keys to others, from the first to the second of each pair, all at once. No key that is not
    /// among the first ones may be in use as a second one.
    pub fn rename(&mut self, pairs: Vec<(K, K)>) {
        let moved: Vec<_> = pairs.into_iter().filter_map(|(from, to)| Some((to, self.by_key.remove(&from)?))).collect();
        self.by_key.extend(moved);
    }

    /// Takes one user away; without any the number rests until `edition` has been left behind by all.
    pub fn release(&mut self, key: &K, edition: u64) {
        if let Some((id, users)) = self.by_key.get_mut(key) {
            *users -= 1;
            if *users == 0 {
                self.resting.push((edition, key.clone(), *id));
                self.by_key.remove(key);
            }
        }
    }

    /// Answers the numbers that rest and that no reader can still name, as all readers have `adopted` this edition, each
    /// with what it stood for. They are free after the next call; those that become so by this one go to `freed`.
    pub fn reclaim(&mut self, adopted: u64, freed: impl FnMut(u32)) -> Vec<(K, u32)> {
        self.leaving.iter().copied().for_each(freed);
        self.free.append(&mut self.leaving);
        let (left, resting) =
            std::mem::take(&mut self.resting).into_iter().partition(|(edition, ..)| *edition < adopted);
        self.resting = resting;
        let left: Vec<(u64, K, u32)> = left;
        self.leaving.extend(left.iter().map(|(_, _, id)| *id));
        left.into_iter().map(|(_, key, id)| (key, id)).collect()
    }

    /// Of each number there is, whether a key has it.
    pub fn in_use(&self) -> Vec<bool> {
        let mut in_use = vec![true; self.next as usize];
        let resting = self.resting.iter().map(|(_, _, id)| id);
        resting.chain(&self.leaving).chain(&self.free).for_each(|id| in_use[*id as usize] = false);
        in_use
    }

    /// The numbers that rest, with what they stood for.
    pub fn resting(&self) -> impl Iterator<Item = (&K, u32)> {
        self.resting.iter().map(|(_, key, id)| (key, *id))
    }

    /// All that another process needs to give the same numbers to the same keys.
    pub fn store(&self) -> StoredNumbers<K> {
        let resting = self.resting.iter().map(|(_, key, id)| (key.clone(), *id));
        let mut in_use: Vec<(K, u32)> = self.iter().map(|(key, id)| (key.clone(), id)).collect();
        in_use.sort_by_key(|(_, id)| *id);
        StoredNumbers { in_use, resting: resting.collect(), leaving: self.leaving.clone() }
    }

    /// Begins with what another process has stored, before anything was acquired. What rests there rests here until all
    /// have left the first edition behind. Those in use are to be acquired next; [`drop_unused`](Self::drop_unused) then.
    pub fn restore(stored: StoredNumbers<K>) -> Self {
        let ids = || {
            let named = stored.in_use.iter().chain(&stored.resting).map(|(_, id)| *id);
            named.chain(stored.leaving.iter().copied())
        };
        let next = ids().max().map_or(0, |highest| highest.saturating_add(1));
        let taken: HashSet<u32> = ids().collect();
        // As many as there are is a matter of what the other process has had at once; a wrong number is not to take all memory.
        let free = (0..next.min(MOST_NUMBERS)).filter(|id| !taken.contains(id)).collect();
        Self {
            by_key: stored.in_use.into_iter().map(|(key, id)| (key, (id, 0))).collect(),
            next,
            free,
            resting: stored.resting.into_iter().map(|(key, id)| (0, key, id)).collect(),
            leaving: stored.leaving,
        }
    }

    /// Lets the restored numbers rest that nobody has acquired.
    pub fn drop_unused(&mut self) {
        let resting = &mut self.resting;
        self.by_key.retain(|key, (id, users)| {
            if *users == 0 {
                resting.push((0, key.clone(), *id));
            }
            *users > 0
        });
    }

    /// All keys in use, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u32)> {
        self.by_key.iter().map(|(key, (id, _))| (key, *id))
    }

    /// How many numbers have been given out at most.
    pub fn count(&self) -> usize {
        self.next as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_their_counts_while_they_grow() {
        let traffic = |packets, bytes| Count { traffic: Traffic { packets, bytes }, new_flows: 0 };
        let mut cells = Cells::default();
        cells.grow(1);
        let worker = cells.clone();
        worker.add(0, 100);
        cells.grow(2 * PAGE);
        worker.add(0, 100);
        cells.add(600, 7);
        assert_eq!(cells.read(0), traffic(2, 200));
        assert_eq!(cells.read(600), traffic(1, 7));
        assert_eq!(worker.read(600), Count::default(), "a page that this worker does not know yet");
        worker.open_flow(0);
        assert_eq!(Count::of(0, &[cells.clone(), cells.clone()]), Count { new_flows: 2, ..traffic(4, 400) });
        cells.clear(0);
        assert_eq!(worker.read(0), Count::default());
    }

    #[test]
    fn flows_that_a_worker_has_found_count_until_they_end() {
        let mut cells = Cells::default();
        cells.grow(1);
        let worker = cells.clone();
        // It works before the control side knows of what it has found.
        [Change::Ended(3), Change::Ended(3), Change::Begun(3), Change::Begun(5)]
            .into_iter()
            .for_each(|change| worker.track(change));
        assert_eq!((cells.tracked(3), cells.tracked(5)), (0, 1));
        cells.put_found(3, 10);
        assert_eq!(cells.all_tracked(), [(3, 9), (5, 1)]);
        cells.clear(3);
        assert_eq!(cells.all_tracked(), [(5, 1)]);
        cells.put_found(6, 2);
        cells.clear_tracked();
        assert_eq!(cells.all_tracked(), []);
    }

    #[test]
    fn a_number_is_given_out_again_only_when_nobody_can_name_it() {
        let mut ids = Numbers::default();
        assert_eq!((ids.acquire("a"), ids.acquire("b"), ids.acquire("a")), (0, 1, 0));
        ids.release(&"a", 5);
        ids.release(&"a", 5);
        assert_eq!(ids.resting().collect::<Vec<_>>(), [(&"a", 0)]);
        let none = |id| panic!("{id} is not free");
        assert_eq!(ids.in_use(), [false, true]);
        assert_eq!(ids.reclaim(5, none), [], "edition 5 may still be read");
        assert_eq!(ids.reclaim(6, none), [("a", 0)]);
        assert_eq!(ids.in_use(), [false, true]);
        assert_eq!(ids.acquire("c"), 2, "its counts may still be read");
        let mut freed = Vec::new();
        assert_eq!(ids.reclaim(6, |id| freed.push(id)), []);
        assert_eq!(ids.in_use(), [false, true, true]);
        assert_eq!((freed, ids.acquire("d")), (vec![0], 0));
        assert_eq!(ids.in_use(), [true; 3]);
    }

    #[test]
    fn another_process_gives_the_same_numbers() {
        let mut ids = Numbers::default();
        assert_eq!(["a", "b", "c", "d", "e"].map(|key| ids.acquire(key)), [0, 1, 2, 3, 4]);
        ids.release(&"b", 5);
        ids.release(&"d", 7);
        assert_eq!(ids.reclaim(6, |_| ()), [("b", 1)]);
        let stored = ids.store();
        assert!(stored.is_sound());
        let mut again = Numbers::restore(stored);
        assert_eq!(["e", "c", "a"].map(|key| again.acquire(key)), [4, 2, 0]);
        again.drop_unused();
        assert_eq!(again.acquire("f"), 5, "b's and d's may still be counted in");
        assert_eq!(again.reclaim(0, |id| assert_eq!(id, 1)), []);
        assert_eq!(again.reclaim(1, |_| ()), [("d", 3)]);
        assert_eq!(again.acquire("g"), 1);
        let twice = StoredNumbers { in_use: vec![("a", 1), ("b", 1)], ..StoredNumbers::default() };
        let huge = StoredNumbers { in_use: vec![("a", u32::MAX)], ..StoredNumbers::default() };
        assert!(!twice.is_sound() && !huge.is_sound());
    }
}
