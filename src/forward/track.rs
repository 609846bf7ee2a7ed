//! Tracked flows: which endpoint each flow has, for as long as a change of endpoints could move it. One worker's own,
//! of a fixed size; the endpoint that a table gives needs none of this.
//!
//! Flows are known by their 64-bit hash: two that share it share their slot and flow label, too. Entries lie in buckets
//! of one cache line, and each flow has two buckets it may lie in, so that nearly all entries can be used.

pub mod stored;
pub mod table;

use std::hint::black_box;

use self::table::{Table, buckets_for};
use super::parse::Packet;
use crate::flow::FlowHash;
use crate::moment::{Moment, SECOND};
use crate::snapshot::Cell;
use crate::wire::icmp::Kind;
use crate::wire::l4::protocol;
use crate::wire::{dccp, quic, sctp, tcp};

/// Entries of a bucket: one cache line.
const WAYS: usize = 4;

/// Seconds within which a client's second packet follows its SYN.
const HANDSHAKE: u32 = 1;

/// What is known of a flow: that decides how long it may be silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Its first packet, and no more, has been seen.
    #[default]
    New = 0,
    /// A TCP connection that has ended, by FIN or RST.
    Closing = 1,
    /// A flow of another protocol than TCP.
    Datagrams = 2,
    /// A TCP connection.
    Connection = 3,
}

impl Stage {
    fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::New,
            1 => Self::Closing,
            2 => Self::Datagrams,
            _ => Self::Connection,
        }
    }
}

/// How long a flow is remembered after its last packet, in seconds, by stage. What may go on for longer than the window of
/// a handover is remembered for no less than that: who speaks once a window keeps his endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lifetimes([u32; 4]);

impl Lifetimes {
    /// TCP connections that never say anything are found dead by keepalive after two hours (RFC 9293 section 3.8.4).
    fn new(window: u32) -> Self {
        Self([30, 60, window.max(180), window.max(7_800)])
    }
}

/// What a packet says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing: it speaks of the flow, as an ICMP error does.
    None,
    /// It opens the flow: a TCP SYN, a QUIC Initial, an SCTP INIT, a DCCP Request.
    Opens,
    /// It ends the flow: a TCP FIN or RST.
    Ends,
    /// It belongs to a TCP connection.
    Connection,
    /// It belongs to a flow of another protocol.
    Datagram,
}

impl Sign {
    /// What a packet says; `upper` is what lies behind its IP headers.
    pub fn of(packet: &Packet, upper: &[u8]) -> Self {
        match packet.flow.protocol {
            _ if packet.icmp == Some(Kind::Error) => Self::None,
            protocol::TCP if packet.is_later_fragment() => Self::Connection,
            _ if packet.is_later_fragment() => Self::Datagram,
            protocol => Self::of_first_part(protocol, upper),
        }
    }

    /// The same of a packet that is no error and not a later fragment.
    #[inline]
    pub fn of_first_part(protocol: u8, upper: &[u8]) -> Self {
        match protocol {
            protocol::TCP => match tcp::kind(upper) {
                tcp::Kind::Opens => Self::Opens,
                tcp::Kind::Ends => Self::Ends,
                tcp::Kind::Other => Self::Connection,
            },
            protocol::UDP if quic::is_initial(upper) => Self::Opens,
            protocol::SCTP if sctp::is_init(upper) => Self::Opens,
            protocol::DCCP if dccp::is_request(upper) => Self::Opens,
            _ => Self::Datagram,
        }
    }
}

/// One flow. `packed` has the endpoint's cell in its lower 29 bits, then the stage, then whether a second packet has
/// confirmed the first, which anybody can send.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Entry {
    hash: u64,
    /// Seconds of the worker's clock, from 1; 0: the entry is free.
    seen: u32,
    packed: u32,
}

const CELL_BITS: u32 = 29;
const CELL_MASK: u32 = (1 << CELL_BITS) - 1;
const CONFIRMED: u32 = 1 << 31;

impl Entry {
    fn new(hash: FlowHash, cell: Cell, stage: Stage, seen: u32) -> Self {
        Self { hash: hash.0, seen, packed: (stage as u32) << CELL_BITS | cell & CELL_MASK }
    }

    /// The entry after another packet.
    fn after(self, sign: Sign, now: u32) -> Self {
        let confirmed = if sign == Sign::Opens { self.packed & CONFIRMED } else { CONFIRMED };
        let next = Self::new(FlowHash(self.hash), self.cell(), next(self.stage(), sign), now);
        Self { packed: next.packed | confirmed, ..next }
    }

    fn cell(self) -> Cell {
        self.packed & CELL_MASK
    }

    fn stage(self) -> Stage {
        Stage::from_bits(self.packed >> CELL_BITS)
    }

    fn is_confirmed(self) -> bool {
        self.packed & CONFIRMED != 0
    }
}

impl Lifetimes {
    fn is_alive(self, entry: Entry, now: u32) -> bool {
        entry.seen != 0 && now.saturating_sub(entry.seen) <= self.0[entry.stage() as usize]
    }
}

/// Entries that lie in one cache line. Any bits are some.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Bucket([Entry; WAYS]);

/// Where a flow is tracked: the number of an entry, or [`NOWHERE`].
#[derive(Clone, Copy, Debug)]
pub struct Place(u32);

impl Default for Place {
    /// Not known: the flow is still to be looked for.
    fn default() -> Self {
        Self(NOWHERE)
    }
}

/// A multiple of [`WAYS`] that no entry has for its number: there is not so much memory.
const NOWHERE: u32 = u32::MAX << 2;

/// How the number of an endpoint's tracked flows has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One more.
    Begun(Cell),
    /// One less.
    Ended(Cell),
}

/// One worker's tracked flows.
#[derive(Debug)]
pub struct Tracked {
    /// A power of two.
    buckets: Table,
    lifetimes: Lifetimes,
    /// How many entries are not free.
    len: usize,
    /// Changes not yet taken: one packet can forget a flow, begin another and drive out a third.
    changes: [Option<Change>; 3],
    /// Where the next sweep begins.
    swept: usize,
}

impl Tracked {
    /// Memory for `flows` flows, rounded up to a power of two, and for handovers of so many seconds.
    pub fn new(flows: usize, window: u32) -> Self {
        Self::of(Table::Own(vec![Bucket::default(); buckets_for(flows)].into()), window)
    }

    fn of(buckets: Table, window: u32) -> Self {
        Self { buckets, lifetimes: Lifetimes::new(window), len: 0, changes: [None; 3], swept: 0 }
    }

    /// Whether no flow is tracked.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many flows it has room for.
    pub fn capacity(&self) -> usize {
        self.buckets.len() * WAYS
    }

    /// The endpoint of a flow, if it is tracked. The packet that asks counts as seen.
    pub fn find(&mut self, hash: FlowHash, sign: Sign, now: Moment) -> Option<Cell> {
        self.find_at(Place::default(), hash, sign, now)
    }

    /// Has the memory of a flow come near, so that [`place`](Self::place) need not wait for it.
    #[inline]
    pub fn approach(&self, hash: FlowHash) {
        let [one, other] = self.places(hash);
        black_box(self.buckets[one].0[0].hash ^ self.buckets[other].0[0].hash);
    }

    /// Where a flow is tracked, if it is: an entry with its hash, which may be dead. All of both buckets is looked at without
    /// a branch, since nobody can foresee which way it would go, and so the next flow's need not wait for these.
    #[inline]
    pub fn place(&self, hash: FlowHash) -> Place {
        let [one, other] = self.places(hash);
        let same = |bucket: usize| {
            let entries = self.buckets[bucket].0.iter().zip(0u32..);
            entries.fold(0, |same, (entry, way)| same | u32::from(entry.hash == hash.0) << way)
        };
        let found = (same(one) | same(other) << WAYS | 1 << (2 * WAYS)).trailing_zeros();
        let first = [one * WAYS, other * WAYS, NOWHERE as usize][found as usize / WAYS];
        Place(first as u32 | (found % WAYS as u32))
    }

    /// The same as [`find`](Self::find), where [`place`](Self::place) has been asked before. Packets that have come in
    /// between may have moved the flow, or begun it.
    #[inline]
    pub fn find_at(&mut self, place: Place, hash: FlowHash, sign: Sign, now: Moment) -> Option<Cell> {
        let now = seconds(now);
        let place = Some(place).filter(|place| self.holds(*place, hash, now)).or_else(|| self.search(hash, now))?;
        let (bucket, way) = (place.0 as usize / WAYS, place.0 as usize % WAYS);
        let entry = &mut self.buckets[bucket].0[way];
        let cell = entry.cell();
        match (entry.stage(), sign) {
            (_, Sign::None) => {}
            // The same addresses and ports, used again: a new flow, which may have another endpoint.
            (Stage::Closing, Sign::Opens) => {
                self.forget(hash);
                return None;
            }
            (_, sign) => *entry = entry.after(sign, now),
        }
        Some(cell)
    }

    /// The endpoint of a flow, if it is tracked, without a packet of it: nothing changes.
    pub fn peek(&self, hash: FlowHash, now: Moment) -> Option<Cell> {
        self.search(hash, seconds(now)).and_then(|place| self.entry(place)).map(Entry::cell)
    }

    fn entry(&self, Place(at): Place) -> Option<Entry> {
        self.buckets.get(at as usize / WAYS).map(|bucket| bucket.0[at as usize % WAYS])
    }

    fn holds(&self, place: Place, hash: FlowHash, now: u32) -> bool {
        self.entry(place).is_some_and(|entry| entry.hash == hash.0 && self.lifetimes.is_alive(entry, now))
    }

    /// The place of a flow that lives.
    fn search(&self, hash: FlowHash, now: u32) -> Option<Place> {
        let all = self.places(hash).into_iter().flat_map(|bucket| (bucket * WAYS) as u32..((bucket + 1) * WAYS) as u32);
        all.map(Place).find(|place| self.holds(*place, hash, now))
    }

    /// Begins to track a flow that [`find`](Self::find) does not know. Where neither of its buckets has room, nor gets it by
    /// moving entries to their other buckets, the oldest of their flows goes that no second packet has confirmed, and first
    /// one of which only a SYN is known: a flood of SYNs drives out no flow that is older than it. Where there is none
    /// either, the flow is not tracked.
    pub fn insert(&mut self, hash: FlowHash, cell: Cell, sign: Sign, now: Moment) {
        let now = seconds(now);
        // What is left of an earlier flow of this hash goes, so that there is never more than one of it.
        let Place(left) = self.place(hash);
        let known = (left != NOWHERE).then_some((left as usize / WAYS, left as usize % WAYS));
        let Some((bucket, way)) = known.or_else(|| self.room(hash, now)) else { return };
        self.free(bucket, way, 1);
        self.buckets[bucket].0[way] = Entry::new(hash, cell, next(Stage::New, sign), now);
        self.len += 1;
        self.changes[0] = Some(Change::Begun(cell));
    }

    /// Frees an entry, if it is not free; `change` is the place where that is noted.
    fn free(&mut self, bucket: usize, way: usize, change: usize) {
        let entry = std::mem::take(&mut self.buckets[bucket].0[way]);
        if entry.seen != 0 {
            self.len -= 1;
            self.changes[change] = Some(Change::Ended(entry.cell()));
        }
    }

    /// A place for a flow: what is there can go.
    fn room(&mut self, hash: FlowHash, now: u32) -> Option<(usize, usize)> {
        let places = self.places(hash);
        let lifetimes = self.lifetimes;
        let is_free = move |entry: Entry| !lifetimes.is_alive(entry, now);
        // What a flood of SYNs fills is as good as free, but first what no handshake can be waiting for.
        let is_spare = move |entry: Entry| is_free(entry) || entry.stage() == Stage::New;
        let is_stale = move |entry: Entry| is_spare(entry) && now.saturating_sub(entry.seen) > HANDSHAKE;
        // All but the last but one look at the same ten cache lines.
        self.way_in(places, is_free)
            .or_else(|| self.make_way_in(places, is_free))
            .or_else(|| self.way_in(places, is_stale))
            .or_else(|| self.make_way_in(places, is_stale))
            .or_else(|| self.way_in(places, is_spare))
            .or_else(|| self.make_way_in(places, is_spare))
            .or_else(|| self.make_way_twice(places[0], is_spare))
            .or_else(|| self.way_in(places, |entry| !entry.is_confirmed()))
    }

    /// The oldest entry of two buckets that may go.
    fn way_in(&self, buckets: [usize; 2], may_go: impl Fn(Entry) -> bool) -> Option<(usize, usize)> {
        let ways = buckets.into_iter().filter_map(|bucket| Some((bucket, self.way(bucket, &may_go)?)));
        ways.min_by_key(|(bucket, way)| self.buckets[*bucket].0[*way].seen)
    }

    fn way(&self, bucket: usize, may_go: impl Fn(Entry) -> bool) -> Option<usize> {
        let entries = self.buckets[bucket].0.iter().zip(0..);
        let ways = entries.filter(|(entry, _)| may_go(**entry));
        ways.min_by_key(|(entry, _)| entry.seen).map(|(_, way)| way)
    }

    fn make_way_in(&mut self, buckets: [usize; 2], may_go: impl Fn(Entry) -> bool + Copy) -> Option<(usize, usize)> {
        buckets.into_iter().find_map(|bucket| Some((bucket, self.make_way(bucket, may_go)?)))
    }

    /// Moves some entry of a bucket to its other bucket, where that has one that may go; answers where it was.
    fn make_way(&mut self, bucket: usize, may_go: impl Fn(Entry) -> bool) -> Option<usize> {
        let (way, to, free) = (0..WAYS).find_map(|way| {
            let to = self.other(bucket, way);
            Some((way, to, self.way(to, &may_go)?))
        })?;
        self.free(to, free, 1);
        self.move_entry((bucket, way), (to, free));
        Some(way)
    }

    /// The same where another bucket has room only when one of its own entries is moved first.
    fn make_way_twice(&mut self, bucket: usize, may_go: impl Fn(Entry) -> bool + Copy) -> Option<(usize, usize)> {
        (0..WAYS).find_map(|way| {
            let to = self.other(bucket, way);
            let free = self.make_way(to, may_go)?;
            self.move_entry((bucket, way), (to, free));
            Some((bucket, way))
        })
    }

    /// The other bucket in which an entry may lie.
    fn other(&self, bucket: usize, way: usize) -> usize {
        let [one, other] = self.places(FlowHash(self.buckets[bucket].0[way].hash));
        if bucket == one { other } else { one }
    }

    fn move_entry(&mut self, from: (usize, usize), to: (usize, usize)) {
        self.buckets[to.0].0[to.1] = std::mem::take(&mut self.buckets[from.0].0[from.1]);
    }

    /// Makes a flow follow another endpoint, where its own is gone.
    pub fn forget(&mut self, hash: FlowHash) {
        for bucket in self.places(hash) {
            for way in 0..WAYS {
                if self.buckets[bucket].0[way].hash == hash.0 {
                    self.free(bucket, way, 2);
                }
            }
        }
    }

    /// The two buckets of a flow; their numbers come from parts of the hash that the slot and the flow label share, which
    /// does not matter here.
    fn places(&self, hash: FlowHash) -> [usize; 2] {
        let mask = self.buckets.len() - 1;
        let mixed = hash.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [(mixed >> 32) as usize & mask, (mixed as u32 ^ (hash.0 >> 40) as u32) as usize & mask]
    }

    /// Whether there are changes to be taken.
    #[inline]
    pub fn has_changed(&self) -> bool {
        self.changes.iter().any(Option::is_some)
    }

    /// The changes since they were last taken.
    pub fn take_changes(&mut self) -> impl Iterator<Item = Change> + use<> {
        std::mem::take(&mut self.changes).into_iter().flatten()
    }

    /// Frees dead entries, and those whose endpoint is no longer `wanted`, of the next `most` buckets; says of each whose
    /// it was. Answers whether it has come round to the first bucket again.
    pub fn sweep(
        &mut self,
        most: usize,
        now: Moment,
        wanted: impl Fn(Cell) -> bool,
        mut ended: impl FnMut(Cell),
    ) -> bool {
        let now = seconds(now);
        let end = (self.swept + most).min(self.buckets.len());
        let lifetimes = self.lifetimes;
        for bucket in &mut self.buckets[self.swept..end] {
            for entry in &mut bucket.0 {
                if entry.seen != 0 && !(lifetimes.is_alive(*entry, now) && wanted(entry.cell())) {
                    ended(entry.cell());
                    *entry = Entry::default();
                    self.len -= 1;
                }
            }
        }
        self.swept = end % self.buckets.len();
        self.swept == 0
    }
}

/// What becomes of a flow's stage by another packet.
fn next(stage: Stage, sign: Sign) -> Stage {
    match (stage, sign) {
        // A repeated SYN confirms nothing.
        (stage, Sign::Opens | Sign::None) => stage,
        (_, Sign::Ends) => Stage::Closing,
        (Stage::Closing, _) => Stage::Closing,
        (_, Sign::Connection) => Stage::Connection,
        (_, Sign::Datagram) => Stage::Datagrams,
    }
}

/// The worker's clock in seconds, from 1.
fn seconds(now: Moment) -> u32 {
    u32::try_from(now.0 / SECOND).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(seconds * SECOND)
    }

    fn hash(n: u64) -> FlowHash {
        // As well mixed as the flow hash is (SplitMix64).
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        FlowHash(z ^ z >> 31)
    }

    #[test]
    fn a_flow_keeps_its_endpoint_until_it_is_idle() {
        let mut tracked = Tracked::new(1_024, 600);
        assert_eq!(tracked.find(hash(1), Sign::Connection, at(0)), None);
        tracked.insert(hash(1), 7, Sign::Opens, at(0));
        assert_eq!(tracked.find(hash(1), Sign::Connection, at(1)), Some(7));
        assert_eq!(tracked.find(hash(1), Sign::Connection, at(7_800)), Some(7), "each packet begins its time anew");
        assert_eq!(tracked.find(hash(1), Sign::Connection, at(15_601)), None);
    }

    /// A search finds the first of a hash, and an empty place beside an entry that is over is no reason for a second one.
    #[test]
    fn there_is_one_entry_of_a_hash() {
        let mut tracked = Tracked::new(1_024, 600);
        tracked.insert(hash(1), 7, Sign::Connection, at(0));
        tracked.insert(hash(1), 8, Sign::Connection, at(10_000));
        assert_eq!((tracked.len(), tracked.find(hash(1), Sign::Connection, at(10_001))), (1, Some(8)));
        assert_eq!(tracked.take_changes().collect::<Vec<_>>(), [Change::Begun(8), Change::Ended(7)]);
        tracked.forget(hash(1));
        assert!(tracked.is_empty());
    }

    #[test]
    fn how_long_depends_on_what_was_seen() {
        for (signs, lifetime) in [
            (&[Sign::Opens][..], 30),
            (&[Sign::Opens, Sign::Opens], 30),
            (&[Sign::Opens, Sign::None], 30),
            (&[Sign::Opens, Sign::Connection], 7_800),
            (&[Sign::Connection], 7_800),
            (&[Sign::Connection, Sign::Ends], 60),
            (&[Sign::Connection, Sign::Ends, Sign::Connection], 60),
            (&[Sign::Opens, Sign::Datagram], 600),
            (&[Sign::Datagram], 600),
        ] {
            let mut tracked = Tracked::new(64, 600);
            tracked.insert(hash(1), 1, signs[0], at(0));
            signs[1..].iter().for_each(|sign| _ = tracked.find(hash(1), *sign, at(0)));
            assert!(tracked.clone_find(hash(1), at(lifetime)), "{signs:?}");
            assert!(!tracked.clone_find(hash(1), at(lifetime + 1)), "{signs:?}");
        }
    }

    #[test]
    fn a_flow_older_than_the_change_is_confirmed_by_its_second_packet_only() {
        let mut tracked = Tracked::new(WAYS, 600);
        for n in 0..4 {
            tracked.insert(hash(n), 1, Sign::Connection, at(n));
        }
        (1..4).for_each(|n| _ = tracked.find(hash(n), Sign::Connection, at(5)));
        tracked.insert(hash(9), 1, Sign::Opens, at(6));
        let there = [0, 1, 2, 3, 9].map(|n| tracked.clone_find(hash(n), at(6)));
        assert_eq!(there, [false, true, true, true, true]);
    }

    #[test]
    fn a_flood_drives_out_no_flow_that_has_spoken_once_since_the_change() {
        let mut tracked = Tracked::new(65_536, 600);
        let flows = tracked.capacity() as u64 / 2;
        (0..flows).for_each(|n| tracked.insert(hash(n), 1, Sign::Connection, at(0)));
        (flows..flows * 20).for_each(|n| tracked.insert(hash(n), 1, Sign::Opens, at(1)));
        let lost = (0..flows).filter(|n| !tracked.clone_find(hash(*n), at(1))).count();
        assert!(lost == 0, "{lost} of {flows} are lost");
    }

    impl Tracked {
        fn clone_find(&self, hash: FlowHash, now: Moment) -> bool {
            let places = self.places(hash).into_iter().flat_map(|bucket| self.buckets[bucket].0);
            places.into_iter().any(|entry| entry.hash == hash.0 && self.lifetimes.is_alive(entry, seconds(now)))
        }
    }

    #[test]
    fn a_flow_that_begins_again_after_its_end_is_a_new_one() {
        let mut tracked = Tracked::new(64, 600);
        tracked.insert(hash(1), 1, Sign::Opens, at(0));
        tracked.find(hash(1), Sign::Connection, at(0));
        assert_eq!(tracked.find(hash(1), Sign::Opens, at(1)), Some(1), "a SYN that anybody may have sent");
        tracked.find(hash(1), Sign::Ends, at(2));
        assert_eq!(tracked.find(hash(1), Sign::None, at(2)), Some(1));
        assert_eq!(tracked.find(hash(1), Sign::Opens, at(3)), None);
        assert_eq!(tracked.find(hash(1), Sign::Connection, at(3)), None);
    }

    #[test]
    fn nearly_all_of_its_memory_can_be_used() {
        let lost_at = |quarters: u64| {
            let mut tracked = Tracked::new(65_536, 600);
            let flows = tracked.capacity() as u64 / 4 * quarters;
            for n in 0..flows {
                tracked.insert(hash(n), 1, Sign::Opens, at(0));
                tracked.find(hash(n), Sign::Connection, at(0));
            }
            (0..flows).filter(|n| !tracked.clone_find(hash(*n), at(1))).count()
        };
        assert_eq!(lost_at(2), 0, "half full");
        assert_eq!(lost_at(3), 0, "three quarters full");
    }

    #[test]
    fn a_flood_of_first_packets_drives_no_confirmed_flow_out() {
        let mut tracked = Tracked::new(4_096, 600);
        for n in 0..1_000 {
            tracked.insert(hash(n), 1, Sign::Opens, at(0));
            tracked.find(hash(n), Sign::Connection, at(0));
        }
        for n in 1_000..100_000 {
            tracked.insert(hash(n), 2, Sign::Opens, at(1));
        }
        assert!((0..1_000).all(|n| tracked.clone_find(hash(n), at(2))));
    }

    /// Memory that another process has written is believed in nothing.
    #[test]
    fn entries_of_a_time_that_cannot_be_overflow_nothing() {
        let mut tracked = Tracked::new(64, 600);
        for bucket in tracked.buckets.iter_mut() {
            bucket.0.fill(Entry::new(hash(7), 1, Stage::New, u32::MAX));
            tracked.len += bucket.0.len();
        }
        tracked.insert(hash(8), 1, Sign::Opens, at(1));
        assert!(tracked.clone_find(hash(8), at(1)));
    }

    #[test]
    fn changes_add_up_to_what_is_there() {
        let mut tracked = Tracked::new(256, 600);
        let mut counts = [0i64; 3];
        let mut count = |change| match change {
            Change::Begun(cell) => counts[cell as usize] += 1,
            Change::Ended(cell) => counts[cell as usize] -= 1,
        };
        for n in 0..2_000u64 {
            tracked.insert(hash(n), (n % 3) as Cell, Sign::Opens, at(n));
            tracked.take_changes().for_each(&mut count);
            if n % 7 == 0 {
                tracked.forget(hash(n));
                tracked.take_changes().for_each(&mut count);
            }
        }
        while !tracked.sweep(3, at(2_000), |cell| cell != 1, |cell| count(Change::Ended(cell))) {}
        let entries: Vec<Entry> = tracked.buckets.iter().flat_map(|bucket| bucket.0).filter(|e| e.seen != 0).collect();
        let there = |cell| entries.iter().filter(move |entry| entry.cell() == cell);
        let there = [0, 1, 2].map(|cell| there(cell).count() as i64);
        assert_eq!(there, counts);
        assert!(there[0] > 0 && there[1] == 0, "{there:?}");
    }
}
