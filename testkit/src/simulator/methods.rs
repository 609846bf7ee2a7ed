//! Three ways to choose an endpoint, and what becomes of flows by each.

use std::collections::{HashMap, VecDeque};

use super::clients::{Flow, Part};
use super::endpoints::{Endpoints, Number};
use super::node::WINDOW;

/// How many there are.
pub const METHODS: usize = 3;
/// Their names, in the order of all arrays here.
pub const NAMES: [&str; METHODS] = ["pointsman", "Maglev alone", "full tracking"];

/// Full connection tracking: every flow has an entry, from its first packet to its last.
#[derive(Default)]
pub struct FullTracking {
    /// By flow hash.
    entries: HashMap<u64, Entry>,
    /// SYNs that nothing has followed, by second.
    half_open: VecDeque<(u32, u64)>,
    half_open_count: u64,
    peak: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    endpoint: Option<Number>,
    is_udp: bool,
    seen: u32,
}

/// Seconds for which a SYN alone, and a UDP flow, is remembered: as long as pointsman does.
const HALF_OPEN: u32 = 30;
const IDLE: u32 = 600;

impl FullTracking {
    /// Where a packet goes; `slot` is what Maglev says.
    pub fn choose(
        &mut self,
        hash: u64,
        slot: Option<Number>,
        part: Part,
        endpoints: &Endpoints,
        now: u32,
    ) -> Option<Number> {
        let known = self.entries.get(&hash).and_then(|entry| entry.endpoint).filter(|number| endpoints.lives(*number));
        let endpoint = known.or(slot);
        if part == Part::Fin {
            self.entries.remove(&hash);
        } else {
            self.entries.insert(hash, Entry { endpoint, is_udp: part == Part::Datagram, seen: now });
        }
        endpoint
    }

    /// SYNs of a flood have an entry each, for a while; they are counted, and not kept.
    pub fn flood(&mut self, syns: u64, now: u32) {
        self.half_open.push_back((now, syns));
        self.half_open_count += syns;
        while let Some((then, syns)) = self.half_open.front().copied().filter(|(then, _)| then + HALF_OPEN < now) {
            self.half_open_count -= syns;
            self.half_open.pop_front();
            debug_assert!(then < now);
        }
        if now.is_multiple_of(60) {
            self.entries.retain(|_, entry| !entry.is_udp || entry.seen + IDLE >= now);
        }
        self.peak = self.peak.max(self.tracked());
    }

    /// How many flows are tracked.
    pub fn tracked(&self) -> u64 {
        self.entries.len() as u64 + self.half_open_count
    }

    /// The most that have been.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Loses everything, as another node that takes over has nothing.
    pub fn forget_all(&mut self) {
        self.entries.clear();
    }
}

/// What has become of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Sent to another endpoint although their own was still there.
    pub broken: u64,
    /// Those of the broken ones that had begun before the first change, and that the node in force had heard before a
    /// window had passed since: what slots remember lasts no longer.
    pub older_broken: u64,
    /// Sent to another endpoint since their own was not there any more.
    pub lost: u64,
}

#[derive(Clone, Copy, Default)]
struct Record {
    flow: u64,
    /// When the last packet came, in seconds.
    seen: u32,
    first: [Option<Number>; METHODS],
    is_over: [bool; METHODS],
}

/// Watches where the packets of each flow go.
pub struct Judge {
    /// When the first change comes, in seconds.
    change: u32,
    /// Since when the node in force hears the flows.
    hears_since: u32,
    /// By place among the clients' flows.
    records: Vec<Record>,
    /// By method.
    pub fates: [Fates; METHODS],
}

impl Judge {
    /// Watches so many flows at a time.
    pub fn new(flows: usize, change: u32) -> Self {
        Self { change, hears_since: 0, records: vec![Record::default(); flows], fates: Default::default() }
    }

    /// Another node is in force.
    pub fn take_over(&mut self, second: u32) {
        self.hears_since = second;
    }

    /// At this second a packet of a flow has gone to these endpoints, by method.
    pub fn saw(
        &mut self,
        second: u32,
        (place, flow): (u32, &Flow),
        went: [Option<Number>; METHODS],
        endpoints: &Endpoints,
    ) {
        let record = &mut self.records[place as usize];
        if record.flow != flow.number {
            *record = Record { flow: flow.number, seen: second, first: went, is_over: [false; METHODS] };
            return;
        }
        let heard = std::mem::replace(&mut record.seen, second) >= self.hears_since;
        let is_older = flow.begins < self.change && (heard || second < self.change + WINDOW);
        for (method, fates) in self.fates.iter_mut().enumerate() {
            if record.is_over[method] || went[method] == record.first[method] {
                continue;
            }
            record.is_over[method] = true;
            if record.first[method].is_some_and(|first| endpoints.lives(first)) {
                fates.broken += 1;
                fates.older_broken += u64::from(is_older);
            } else {
                fates.lost += 1;
            }
        }
    }
}
