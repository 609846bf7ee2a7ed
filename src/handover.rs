//! Slot memories: where the flows of a slot went before its endpoint changed (section 7 of the contract). Kept by the
//! control side, for a window from each change; pure: the time comes from outside.
//!
//! A memory belongs to a part of all flow hashes, not to a slot of the table in force: a table of another size has other
//! slots. So it is kept in the slots of the table that was in force before the change, in layers of one size each.

mod deadlines;
mod packed;
mod stored;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use self::deadlines::Deadlines;
use crate::flow::FlowHash;
use crate::maglev::{self, Candidate, Index};
use crate::model::{Endpoint, Service, State};
use crate::moment::moved;

pub use crate::moment::Second;

/// No memory.
const NONE: Index = Index::MAX;

/// A table as its endpoints' names: what two versions of a service have in common.
pub struct NamedTable<'a> {
    /// The endpoint of each slot, as a number in `names`; empty where no endpoint takes new flows.
    pub slots: Cow<'a, [Index]>,
    /// Slots of the table, also where it is empty.
    pub size: u32,
    /// By number.
    pub names: &'a [&'a str],
}

/// A service as far as its table depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Slots of its table.
    pub size: u32,
    /// The endpoints of the table, by name, each with its weight, which is above 0.
    pub endpoints: Vec<(String, u16)>,
}

impl Version {
    /// The version of a service as it is.
    pub fn of(service: &Service) -> Self {
        let size = service.table_size();
        Self::with(service, size, Endpoint::table_weight)
    }

    /// The version that was in force before, as far as the service itself shows it: with endpoints that drain now, and
    /// without those that have come within a window (section 7 of the contract). A default size was that of the endpoints
    /// that there were.
    pub fn before(service: &Service, window: Second, now: Second) -> Self {
        let is_old =
            |endpoint: &Endpoint| endpoint.since.is_none_or(|since| since.0 + i64::from(window) < i64::from(now));
        let is_new = |endpoint: &&Endpoint| endpoint.effective_state() == State::Active && !is_old(endpoint);
        let count = service.endpoints.len() - service.endpoints.iter().filter(is_new).count();
        let usual = usual_weight(service);
        Self::with(service, service.table_size_with(count), |endpoint| match endpoint.effective_state() {
            State::Active if is_old(endpoint) => endpoint.weight,
            State::Draining if endpoint.weight == 0 => usual,
            State::Draining => endpoint.weight,
            _ => 0,
        })
    }

    fn with(service: &Service, size: u32, weight: impl Fn(&Endpoint) -> u16) -> Self {
        let endpoints = service.endpoints.iter().map(|endpoint| (endpoint.name.clone(), weight(endpoint)));
        Self { size, endpoints: endpoints.filter(|(_, weight)| *weight > 0).collect() }
    }

    /// Its table; the numbers in it are places in [`endpoints`](Self::endpoints).
    fn table(&self) -> Box<[Index]> {
        let candidates = self.endpoints.iter().map(|(name, weight)| Candidate { name, weight: *weight });
        maglev::build(&candidates.collect::<Vec<_>>(), self.size)
    }

    fn names(&self) -> Vec<&str> {
        self.endpoints.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// What is taken to be the weight that an endpoint had before it was taken away, which nobody says any more: the one that most
/// others of the service have, and of several the largest; 1 where no other has any.
fn usual_weight(service: &Service) -> u16 {
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for weight in service.endpoints.iter().map(|endpoint| endpoint.weight).filter(|weight| *weight > 0) {
        *counts.entry(weight).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(weight, count)| (*count, *weight)).map_or(1, |(weight, _)| weight)
}

/// The slot memories of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memories {
    /// Those of earlier changes first: the first memory of a flow is kept. A slot is remembered in one layer of its size.
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    size: u32,
    names: Vec<String>,
    /// By slot: a number in `names`, or [`NONE`].
    slots: Vec<Index>,
    /// Until when the memories are kept.
    until: Deadlines,
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        let Self { size, names, slots, .. } = self;
        (size, names, slots) == (&other.size, &other.names, &other.slots) && self.remembering().eq(other.remembering())
    }
}

impl Eq for Layer {}

impl Layer {
    /// One in which nothing is remembered yet; what will be, until then.
    fn new(size: u32, until: Second) -> Self {
        Self { size, names: Vec::new(), slots: vec![NONE; size as usize], until: Deadlines::Same(until) }
    }

    /// The slots that remember, each with what, and until when.
    fn remembering(&self) -> impl Iterator<Item = (usize, Index, Second)> {
        let slots = self.slots.iter().copied().enumerate().filter(|(_, had)| *had != NONE);
        slots.map(|(slot, had)| (slot, had, self.until.of(slot)))
    }

    fn number(&mut self, name: &str) -> Option<Index> {
        let known = self.names.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        Index::try_from(number).ok().filter(|number| *number != NONE)
    }

    fn expire(&mut self, now: Second) -> bool {
        let mut expired = false;
        for (slot, had) in self.slots.iter_mut().enumerate().filter(|(_, had)| **had != NONE) {
            if self.until.of(slot) <= now {
                (*had, expired) = (NONE, true);
            }
        }
        if expired {
            self.forget_names();
        }
        expired
    }

    /// Calls endpoints by other names; two that have one name then are one.
    fn rename(&mut self, name: &impl Fn(&str) -> Option<String>) {
        let before = std::mem::take(&mut self.names);
        let renamed = before.into_iter().map(|old| name(&old).unwrap_or(old));
        let numbers: Vec<Index> = renamed.map(|name| self.number(&name).unwrap_or(NONE)).collect();
        self.slots.iter_mut().filter(|slot| **slot != NONE).for_each(|slot| *slot = numbers[usize::from(*slot)]);
    }

    /// Forgets all but some endpoints.
    fn keep_only(&mut self, stays: &impl Fn(&str) -> bool) {
        let stays: Vec<bool> = self.names.iter().map(|name| stays(name)).collect();
        for slot in self.slots.iter_mut().filter(|slot| **slot != NONE && !stays[usize::from(**slot)]) {
            *slot = NONE;
        }
        self.forget_names();
    }

    /// Forgets the names that no slot remembers: where endpoints come and go all day, there is no end of names.
    fn forget_names(&mut self) {
        let mut numbers = vec![NONE; self.names.len()];
        let mut names = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| **slot != NONE) {
            let number = &mut numbers[usize::from(*slot)];
            if *number == NONE {
                *number = names.len() as Index;
                names.push(std::mem::take(&mut self.names[usize::from(*slot)]));
            }
            *slot = *number;
        }
        self.names = names;
    }

    fn is_sound(&self) -> bool {
        let slots = self.size as usize;
        let known = |slot: &Index| *slot == NONE || usize::from(*slot) < self.names.len();
        let names: HashSet<&str> = self.names.iter().map(String::as_str).collect();
        maglev::is_valid_size(self.size.into())
            && self.slots.len() == slots
            && self.slots.iter().all(known)
            && self.slots.iter().any(|slot| *slot != NONE)
            && names.len() == self.names.len()
    }
}

impl Memories {
    /// Has the slots whose endpoint another version of the service changes remember the one they had, until then. A slot
    /// that remembers keeps its first memory.
    pub fn change(&mut self, before: &Version, after: &Version, until: Second) {
        let (had, has) = (before.table(), after.table());
        let (before_names, after_names) = (before.names(), after.names());
        self.change_tables(
            &NamedTable { slots: (&*had).into(), size: before.size, names: &before_names },
            &NamedTable { slots: (&*has).into(), size: after.size, names: &after_names },
            until,
        );
    }

    /// The same of two tables that are there already.
    pub fn change_tables(&mut self, before: &NamedTable<'_>, after: &NamedTable<'_>, until: Second) {
        if before.slots.is_empty() {
            return;
        }
        let same_size = before.size == after.size;
        let place: HashMap<&str, Index> = after.names.iter().copied().zip(0..).collect();
        let place: Vec<Option<Index>> = before.names.iter().map(|name| place.get(name).copied()).collect();
        let stays = |slot: usize, had: Index| {
            same_size && place[usize::from(had)].is_some_and(|now| after.slots.get(slot) == Some(&now))
        };
        let alike: Vec<&Layer> = self.layers.iter().filter(|layer| layer.size == before.size).collect();
        let remembers = |slot: usize| alike.iter().any(|layer| layer.slots[slot] != NONE);
        let changed = before.slots.iter().copied().enumerate();
        let changed = changed.filter(|(slot, had)| !stays(*slot, *had) && !remembers(*slot));
        let changed: Vec<(usize, Index)> = changed.collect();
        if changed.is_empty() {
            return;
        }
        let layer = self.newest_layer(before.size, until);
        layer.until.set(changed.iter().map(|(slot, _)| *slot), until, before.slots.len());
        let mut numbers: Vec<Option<Index>> = vec![None; before.names.len()];
        for (slot, had) in changed {
            let had = usize::from(had);
            let number = numbers[had].or_else(|| layer.number(before.names[had]));
            numbers[had] = number;
            layer.slots[slot] = number.unwrap_or(NONE);
        }
    }

    /// The layer for a change that comes after all others. What another size remembers is older, and stays before it.
    fn newest_layer(&mut self, size: u32, until: Second) -> &mut Layer {
        if self.layers.last().is_none_or(|layer| layer.size != size) {
            self.layers.push(Layer::new(size, until));
        }
        let newest = self.layers.len() - 1;
        &mut self.layers[newest]
    }

    /// Forgets what has been remembered until now; answers whether there was any.
    pub fn expire(&mut self, now: Second) -> bool {
        let expired = self.layers.iter_mut().map(|layer| usize::from(layer.expire(now))).sum::<usize>() > 0;
        self.layers.retain(|layer| layer.slots.iter().any(|slot| *slot != NONE));
        expired
    }

    /// Calls endpoints by other names: `name` says which have one.
    pub fn rename(&mut self, name: impl Fn(&str) -> Option<String>) {
        self.layers.iter_mut().for_each(|layer| layer.rename(&name));
    }

    /// Forgets all but the endpoints that stay.
    pub fn keep_only(&mut self, stays: impl Fn(&str) -> bool) {
        self.layers.iter_mut().for_each(|layer| layer.keep_only(&stays));
        self.layers.retain(|layer| layer.slots.iter().any(|slot| *slot != NONE));
    }

    /// Where no endpoint takes new flows any more, has slots that remember nothing remember the one that they have in the
    /// table over those that are left.
    pub fn fill(&mut self, left: &Version, until: Second) {
        self.change(left, &Version { size: left.size, endpoints: Vec::new() }, until);
    }

    /// All that is remembered is so until then.
    pub fn prolong(&mut self, until: Second) {
        self.layers.iter_mut().for_each(|layer| layer.until = Deadlines::Same(until));
    }

    /// When something is to be forgotten next, if anything is.
    pub fn next_deadline(&self) -> Option<Second> {
        self.layers.iter().flat_map(Layer::remembering).map(|(_, _, until)| until).min()
    }

    /// The same memories with deadlines by another clock, which is `by` seconds ahead of the one that they are by; none is
    /// later than `latest`.
    #[must_use]
    pub fn by_clock(mut self, by: i64, latest: Second) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.until.change(|until| moved(until, by).min(latest)));
        self
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// How many slots remember something.
    pub fn count(&self) -> usize {
        self.layers.iter().flat_map(|layer| &layer.slots).filter(|slot| **slot != NONE).count()
    }

    /// The memories as a worker reads them, with the endpoints' numbers in the set in force; `number` is `None` for those
    /// that are no longer there, or down.
    pub fn resolve(&self, number: impl Fn(&str) -> Option<Index>) -> Remembered {
        let resolve = |layer: &Layer| {
            let numbers: Vec<Index> = layer.names.iter().map(|name| number(name).unwrap_or(Remembered::GONE)).collect();
            let slots = layer.slots.iter().map(|slot| numbers.get(usize::from(*slot)).copied().unwrap_or(NONE));
            (layer.size, slots.collect())
        };
        Remembered { layers: self.layers.iter().map(resolve).collect() }
    }

    /// Whether what has been read from elsewhere is what could have been written.
    pub fn is_sound(&self) -> bool {
        self.layers.iter().all(Layer::is_sound)
    }
}

/// Slot memories as workers read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    layers: Box<[(u32, Box<[Index]>)]>,
}

/// What a flow's slot remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Nothing has changed there of late.
    None,
    /// The endpoint that it had is gone.
    Gone,
    /// It had this one.
    Had(Index),
}

impl Remembered {
    /// Stands for an endpoint that is no longer there.
    const GONE: Index = Index::MAX - 1;

    /// What the slot of a flow remembers.
    pub fn of(&self, hash: FlowHash) -> Memory {
        for (size, slots) in &self.layers {
            match slots.get(hash.slot(*size) as usize).copied().unwrap_or(NONE) {
                NONE => {}
                Self::GONE => return Memory::Gone,
                had => return Memory::Had(had),
            }
        }
        Memory::None
    }

    /// Whether no slot remembers anything.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// How many slots remember each of so many endpoints.
    pub fn slots(&self, endpoints: usize) -> Vec<u32> {
        let mut slots = vec![0; endpoints];
        for index in self.layers.iter().flat_map(|(_, layer)| layer.iter()) {
            if let Some(count) = slots.get_mut(usize::from(*index)) {
                *count += 1;
            }
        }
        slots
    }
}

/// The slots that have remembered anything since a handover began. Flows of no others are tracked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// By size of the table; a bit a slot.
    layers: Vec<(u32, Box<[u64]>)>,
}

impl Touched {
    /// These slots remember something now.
    pub fn add(&mut self, remembered: &Remembered) {
        for (size, slots) in &remembered.layers {
            let known = self.layers.iter().position(|(known, _)| known == size);
            let at = known.unwrap_or_else(|| {
                self.layers.push((*size, vec![0; slots.len().div_ceil(64)].into()));
                self.layers.len() - 1
            });
            for (touched, slots) in self.layers[at].1.iter_mut().zip(slots.chunks(64)) {
                *touched =
                    slots.iter().zip(0..).fold(*touched, |bits, (slot, at)| bits | u64::from(*slot != NONE) << at);
            }
        }
    }

    /// Whether the slot of a flow is one of them.
    pub fn holds(&self, hash: FlowHash) -> bool {
        self.layers.iter().any(|(size, bits)| {
            let slot = hash.slot(*size) as usize;
            bits.get(slot / 64).is_some_and(|bits| bits >> (slot % 64) & 1 != 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maglev::{Candidate, build};

    const WINDOW: Second = 600;

    struct Table {
        names: Vec<&'static str>,
        size: u32,
        slots: Box<[Index]>,
    }

    impl Table {
        fn new(names: &[&'static str], size: u32) -> Self {
            let candidates: Vec<_> = names.iter().map(|name| Candidate { name, weight: 1 }).collect();
            Self { names: names.to_vec(), size, slots: build(&candidates, size) }
        }

        fn named(&self) -> NamedTable<'_> {
            NamedTable { slots: (&*self.slots).into(), size: self.size, names: &self.names }
        }

        fn name(&self, hash: FlowHash) -> Option<&str> {
            self.slots.get(hash.slot(self.size) as usize).map(|index| self.names[usize::from(*index)])
        }
    }

    fn hashes() -> impl Iterator<Item = FlowHash> {
        (0..20_000u64).map(|n| FlowHash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// What each hash remembers, by name.
    fn remembered(memories: &Memories, names: &[&'static str]) -> Vec<Option<&'static str>> {
        let number = |name: &str| names.iter().position(|known| *known == name).map(|at| at as Index);
        let resolved = memories.resolve(number);
        let name = |hash| match resolved.of(hash) {
            Memory::None => None,
            Memory::Gone => Some("gone"),
            Memory::Had(index) => Some(names[usize::from(index)]),
        };
        hashes().map(name).collect()
    }

    #[test]
    fn a_slot_that_changes_remembers_what_it_had_and_no_other_does() {
        let (before, after) = (Table::new(&["a", "b", "c"], 1_021), Table::new(&["a", "b", "d"], 1_021));
        let mut memories = Memories::default();
        memories.change_tables(&before.named(), &after.named(), WINDOW);
        for (hash, memory) in hashes().zip(remembered(&memories, &["a", "b", "c"])) {
            let (had, has) = (before.name(hash), after.name(hash));
            assert_eq!(memory, if had == has { None } else { had });
        }
        assert!(remembered(&memories, &["a", "b", "d"]).contains(&Some("gone")));
        assert_eq!(memories.next_deadline(), Some(WINDOW));
        assert!(!memories.expire(WINDOW - 1) && memories.expire(WINDOW) && memories.is_empty());
    }

    #[test]
    fn a_slot_that_has_remembered_stays_touched_and_no_other_is() {
        let (before, after) = (Table::new(&["a", "b", "c"], 1_021), Table::new(&["a", "b", "d"], 1_021));
        let mut memories = Memories::default();
        memories.change_tables(&before.named(), &after.named(), WINDOW);
        let mut touched = Touched::default();
        touched.add(&memories.resolve(|_| None));
        memories.expire(WINDOW);
        touched.add(&memories.resolve(|_| None));
        for hash in hashes() {
            assert_eq!(touched.holds(hash), before.name(hash) != after.name(hash));
        }
        assert!(!hashes().any(|hash| Touched::default().holds(hash)));
    }

    #[test]
    fn a_second_change_within_the_window_keeps_the_first_memory() {
        let [one, two, three] = [["a", "b"], ["a", "c"], ["d", "c"]].map(|names| Table::new(&names, 1_021));
        let mut memories = Memories::default();
        memories.change_tables(&one.named(), &two.named(), WINDOW);
        let first = remembered(&memories, &["a", "b", "c", "d"]);
        memories.change_tables(&two.named(), &three.named(), WINDOW + 300);
        let then = remembered(&memories, &["a", "b", "c", "d"]);
        for ((first, then), hash) in first.iter().zip(&then).zip(hashes()) {
            match first {
                Some(_) => assert_eq!(first, then),
                None => assert_eq!(*then, two.name(hash).filter(|had| three.name(hash) != Some(had))),
            }
        }
        assert!(memories.expire(WINDOW) && !memories.is_empty());
        assert!(remembered(&memories, &["a", "b", "c", "d"]).iter().flatten().all(|memory| *memory == "a"));
    }

    #[test]
    fn a_table_of_another_size_is_remembered_whole() {
        let (before, after) = (Table::new(&["a", "b", "c"], 1_021), Table::new(&["a", "b", "c"], 4_093));
        let mut memories = Memories::default();
        memories.change_tables(&before.named(), &after.named(), WINDOW);
        for (hash, memory) in hashes().zip(remembered(&memories, &["a", "b", "c"])) {
            assert_eq!(memory, before.name(hash));
        }
    }

    #[test]
    fn what_a_table_of_another_size_remembers_is_kept_when_the_first_size_changes_again() {
        let [one, two, three] = [["a", "b"], ["a", "c"], ["d", "c"]].map(|names| Table::new(&names, 1_021));
        let larger = Table::new(&["a", "c"], 4_093);
        let mut memories = Memories::default();
        memories.change_tables(&one.named(), &two.named(), WINDOW);
        memories.change_tables(&two.named(), &larger.named(), WINDOW + 10);
        memories.expire(WINDOW);
        memories.change_tables(&larger.named(), &two.named(), WINDOW + 605);
        let first = remembered(&memories, &["a", "b", "c", "d"]);
        assert!(first.iter().all(Option::is_some));
        memories.change_tables(&two.named(), &three.named(), WINDOW + 608);
        assert_eq!(remembered(&memories, &["a", "b", "c", "d"]), first);
    }

    #[test]
    fn nothing_is_remembered_of_an_empty_table_and_all_of_one_that_becomes_empty() {
        let (empty, full) = (Table::new(&[], 1_021), Table::new(&["a"], 1_021));
        let mut memories = Memories::default();
        memories.change_tables(&empty.named(), &full.named(), WINDOW);
        assert!(memories.is_empty());
        memories.change_tables(&full.named(), &full.named(), WINDOW);
        assert!(memories.is_empty(), "the same again");
        memories.change_tables(&full.named(), &empty.named(), WINDOW);
        assert_eq!(memories.count(), 1_021);
    }

    #[test]
    fn names_that_no_slot_remembers_are_forgotten() {
        let names: Vec<String> = (0..300).map(|n| format!("e{n}")).collect();
        let table =
            |n: usize| Version { size: 13, endpoints: names[n..n + 3].iter().map(|e| (e.clone(), 1)).collect() };
        let mut memories = Memories::default();
        for n in 0..297 {
            let now = n as Second * WINDOW / 4;
            memories.expire(now);
            memories.change(&table(n), &table(n + 1), now + WINDOW);
        }
        assert!(memories.is_sound());
        let kept: usize = memories.layers.iter().map(|layer| layer.names.len()).sum();
        assert!(kept <= 13, "{kept} names for 13 slots");
    }

    #[test]
    fn endpoints_are_remembered_by_their_new_names() {
        let (before, after) = (Table::new(&["a", "b", "c"], 1_021), Table::new(&["d"], 1_021));
        let mut memories = Memories::default();
        memories.change_tables(&before.named(), &after.named(), WINDOW);
        memories.rename(|name| match name {
            "a" => Some("b".to_owned()),
            "b" => Some("e".to_owned()),
            "c" => Some("e".to_owned()),
            _ => None,
        });
        assert!(memories.is_sound());
        for (hash, memory) in hashes().zip(remembered(&memories, &["b", "e"])) {
            assert_eq!(memory, before.name(hash).map(|had| if had == "a" { "b" } else { "e" }));
        }
    }

    #[test]
    fn what_was_before_shows_in_states_and_moments() {
        let set = r#"{"services":[{"name":"s","vip":"203.0.113.1","endpoints":[
            {"name":"old","address":"192.0.2.1","since":"1970-01-01T00:00:00Z"},
            {"name":"older","address":"192.0.2.2"},
            {"name":"new","address":"192.0.2.3","since":"1970-01-01T00:10:00Z"},
            {"name":"leaving","address":"192.0.2.4","state":"draining"},
            {"name":"down","address":"192.0.2.5","state":"down"}]}]}"#;
        let set = crate::endpoint_set::parse(set).expect("valid");
        let names = |version: Version| version.endpoints.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(Version::before(&set.services[0], WINDOW, 700)), ["leaving", "old", "older"]);
        assert_eq!(names(Version::of(&set.services[0])), ["new", "old", "older"]);
    }

    #[test]
    fn a_weight_that_was_taken_away_is_taken_to_be_that_of_most_others() {
        let weights = |weights: &[u16]| {
            let endpoint =
                |(n, weight): (usize, &u16)| format!(r#"{{"name":"e{n}","address":"192.0.2.{n}","weight":{weight}}}"#);
            let endpoints: Vec<String> = weights.iter().enumerate().map(endpoint).collect();
            let set =
                format!(r#"{{"services":[{{"name":"s","vip":"203.0.113.1","endpoints":[{}]}}]}}"#, endpoints.join(","));
            let set = crate::endpoint_set::parse(&set).expect("valid");
            let version = Version::before(&set.services[0], WINDOW, 700);
            version.endpoints.into_iter().map(|(_, weight)| weight).collect::<Vec<_>>()
        };
        assert_eq!(weights(&[100, 0, 100, 1]), [100, 100, 100, 1]);
        assert_eq!(weights(&[0, 5, 7]), [7, 5, 7]);
        assert_eq!(weights(&[0, 0]), [1, 1]);
    }

    #[test]
    fn a_default_table_had_the_size_for_the_endpoints_that_there_were() {
        let old = (0..10).map(|n| format!(r#"{{"name":"old-{n}","address":"192.0.2.{n}","state":"draining"}}"#));
        let new =
            (0..10).map(|n| format!(r#"{{"name":"new-{n}","address":"192.0.2.1{n}","since":"1970-01-01T00:10:00Z"}}"#));
        let endpoints = old.chain(new).collect::<Vec<_>>().join(",");
        let set = format!(r#"{{"services":[{{"name":"s","vip":"203.0.113.1","endpoints":[{endpoints}]}}]}}"#);
        let set = crate::endpoint_set::parse(&set).expect("valid");
        assert_eq!(Version::of(&set.services[0]).size, maglev::default_size(20));
        assert_eq!(Version::before(&set.services[0], WINDOW, 700).size, maglev::default_size(10));
        assert_ne!(maglev::default_size(20), maglev::default_size(10));
    }
}
