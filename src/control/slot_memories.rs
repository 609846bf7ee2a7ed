//! The slot memories of all services, and when each is to be forgotten.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::handover::{Memories, NamedTable, Touched, Version};
use crate::model::{Service, State};
use crate::moment::{Now, Second};
use crate::snapshot::ServiceEntry;

/// What slots remember, by service; services without memories are not there.
#[derive(Clone, Debug)]
pub struct SlotMemories {
    window: Second,
    kept: HashMap<String, Kept>,
    /// Services that are as they were on disk: others may have moved on meanwhile.
    restored: HashSet<String>,
    /// How many seconds the wall clock, which files are written by, is ahead of the clock of the deadlines.
    wall_ahead: i64,
}

#[derive(Clone, Debug)]
struct Kept {
    memories: Memories,
    /// When some of them are to be forgotten.
    next: Second,
}

impl SlotMemories {
    /// None yet; each will be kept for `window` seconds.
    pub fn new(window: Second) -> Self {
        Self { window, kept: HashMap::new(), restored: HashSet::new(), wall_ahead: 0 }
    }

    /// Takes back what another process had, with deadlines by the clock that this one has gone on with.
    pub fn restore(&mut self, kept: HashMap<String, Memories>) {
        kept.into_iter().for_each(|(service, memories)| self.keep(service, memories));
    }

    /// Takes back what was kept on disk, with deadlines by the wall clock. None is more than a window away, whatever has been
    /// done to that clock meanwhile.
    pub fn restore_stored(&mut self, kept: HashMap<String, Memories>, now: Now) {
        self.follow_wall_clock(now);
        let latest = now.steady.saturating_add(self.window);
        let kept = kept.into_iter().map(|(service, memories)| (service, memories.by_clock(-self.wall_ahead, latest)));
        self.restore(kept.collect());
    }

    /// Takes note of what the wall clock says: deadlines are written down by it.
    pub fn follow_wall_clock(&mut self, now: Now) {
        self.wall_ahead = now.offset();
    }

    /// From now on, until this is said again, these services are taken to be as they were on disk.
    pub fn set_restored(&mut self, services: HashSet<String>) {
        self.restored = services;
    }

    /// The services that are taken to be as they were on disk.
    pub fn restored(&self) -> &HashSet<String> {
        &self.restored
    }

    /// A service's entry as it was in another process, which has handed over what its slots remember (see
    /// [`restore`](Self::restore)), and which of them have since its handover began.
    pub fn adopt(&self, entry: ServiceEntry, touched: Option<Touched>) -> ServiceEntry {
        let Some(touched) = touched else { return entry };
        let none = Memories::default();
        entry.with_touched(Some(self.of(&entry.service.name).unwrap_or(&none)), touched)
    }

    /// What is remembered, by service, with deadlines by the wall clock: as it is written down.
    pub fn stored(&self) -> impl Iterator<Item = (&String, Cow<'_, Memories>)> {
        self.kept.iter().map(|(service, kept)| (service, self.by_wall_clock(&kept.memories)))
    }

    /// The same of one service.
    pub fn stored_of(&self, service: &str) -> Option<Cow<'_, Memories>> {
        self.of(service).map(|memories| self.by_wall_clock(memories))
    }

    fn by_wall_clock<'a>(&self, memories: &'a Memories) -> Cow<'a, Memories> {
        match self.wall_ahead {
            0 => Cow::Borrowed(memories),
            ahead => Cow::Owned(memories.clone().by_clock(ahead, Second::MAX)),
        }
    }

    /// What the slots of these services remember, apart from all others.
    pub fn part<'a>(&self, names: impl Iterator<Item = &'a String>) -> Self {
        let kept = names.filter_map(|name| Some((name.clone(), self.kept.get(name)?.clone())));
        Self { window: self.window, kept: kept.collect(), restored: HashSet::new(), wall_ahead: self.wall_ahead }
    }

    /// What the slots of one service remember.
    pub fn of(&self, service: &str) -> Option<&Memories> {
        self.kept.get(service).map(|kept| &kept.memories)
    }

    fn keep(&mut self, service: String, memories: Memories) {
        if let Some(next) = memories.next_deadline() {
            self.kept.insert(service, Kept { memories, next });
        }
    }

    /// A service and its endpoints go on under other names; `endpoints`: of those that have one, by the old one.
    pub fn rename(&mut self, old: &str, new: &str, endpoints: &HashMap<String, String>) {
        if let Some(mut kept) = self.kept.remove(old) {
            kept.memories.rename(|name| endpoints.get(name).cloned());
            self.kept.insert(new.to_owned(), kept);
        }
        if self.restored.remove(old) {
            self.restored.insert(new.to_owned());
        }
    }

    /// Forgets a service that is gone.
    pub fn forget(&mut self, service: &str) {
        self.kept.remove(service);
    }

    /// A service's new entry, with what its slots remember of the old one. A service without an old one is new here, though
    /// perhaps not to its clients: what the set itself tells of before is taken for its history.
    pub fn hand_over(&mut self, old: Option<&ServiceEntry>, new: ServiceEntry, now: Now) -> ServiceEntry {
        let restored = self.kept.remove(&new.service.name).map(|kept| kept.memories);
        // Memories are of parts of all hashes, and with another affinity every flow has another one.
        let is_hashed_anew = old.is_some_and(|old| old.affinity != new.affinity);
        let old = old.filter(|_| !is_hashed_anew);
        let mut memories = restored.filter(|_| !is_hashed_anew).unwrap_or_default();
        let is_empty = new.table.is_empty();
        // While no endpoint takes new flows, slots forget nothing but endpoints that are gone.
        let was_empty = old.map_or(is_empty, |old| old.table.is_empty());
        if !was_empty {
            memories.expire(now.steady);
        }
        let stays = |name: &str| keeps_flows(&new.service, name);
        if is_empty {
            memories.keep_only(stays);
        }
        match old {
            Some(old) => self.change(&mut memories, (old, &new), now),
            // What has run out while the node was away tells no more than what was never there.
            None if memories.is_empty() && !is_hashed_anew => self.remember_by_set(&mut memories, &new, now),
            None => {}
        }
        if is_empty {
            memories.keep_only(stays);
            let left = Version::before(&new.service, self.window, now.wall);
            memories.fill(&left, now.steady.saturating_add(self.window));
        } else if was_empty {
            memories.expire(now.steady);
        }
        let has_tracked_flows = old.is_some_and(|old| old.handover.is_some());
        if memories.is_empty() && !has_tracked_flows {
            return new;
        }
        let entry = new.with_handover(Some(&memories), old.and_then(|old| old.handover.as_deref()));
        self.keep(entry.service.name.clone(), memories);
        entry
    }

    /// Has slots whose endpoint is another one remember the one that they had.
    fn change(&self, memories: &mut Memories, (old, new): (&ServiceEntry, &ServiceEntry), now: Now) {
        // Under other names the old table is still the one that was made of the old ones.
        if Version::of(&old.service) == Version::of(&new.service) && old.table == new.table {
            return;
        }
        // A node that was away while the endpoints changed takes the change to be as old as it is.
        let known = self.restored.contains(&new.service.name).then(|| change_moment(&old.service, &new.service));
        let changed = known.flatten().map_or(now.steady, |moment| now.steady_of(moment));
        let until = changed.saturating_add(self.window);
        let (had, has) = (endpoint_names(old), endpoint_names(new));
        if old.table.is_empty() {
            memories.prolong(until);
        }
        if until > now.steady {
            memories.change_tables(&table(old, &had), &table(new, &has), until);
        }
    }

    /// Has slots remember what the set itself tells of before, where that is not long ago.
    fn remember_by_set(&self, memories: &mut Memories, new: &ServiceEntry, now: Now) {
        let before = Version::before(&new.service, self.window, now.wall);
        let (after, until) = (Version::of(&new.service), self.latest_change(new, now));
        if before != after && until > now.steady {
            memories.change(&before, &after, until);
        }
    }

    /// A window after the latest `since` of a service; from now on, where none is given.
    fn latest_change(&self, entry: &ServiceEntry, now: Now) -> Second {
        let moments = entry.service.endpoints.iter().filter_map(|endpoint| endpoint.since);
        let latest = moments.max().map_or(now.steady, |since| now.steady_of(since.0));
        latest.saturating_add(self.window)
    }

    /// The entry that takes the place of this one at `now`, if any: with less to remember, or with nothing left of its
    /// handover where it is quiet, with no tracked flow to follow.
    pub fn after(&mut self, entry: &ServiceEntry, now: Second, is_quiet: bool) -> Option<ServiceEntry> {
        let handover = entry.handover.as_ref()?;
        let name = &entry.service.name;
        // Where no endpoint takes new flows, older ones have nothing but these memories.
        if entry.table.is_empty() && !handover.remembered.is_empty() {
            return None;
        }
        if handover.remembered.is_empty() {
            return is_quiet.then(|| entry.with_handover(None, None));
        }
        let kept = self.kept.remove(name)?;
        if kept.next > now {
            self.kept.insert(name.clone(), kept);
            return None;
        }
        let mut memories = kept.memories;
        memories.expire(now);
        let next = entry.with_handover(Some(&memories), Some(handover));
        self.keep(name.clone(), memories);
        Some(next)
    }
}

/// Whether an endpoint of a service keeps its flows: it is there, and not down.
fn keeps_flows(service: &Service, name: &str) -> bool {
    let place = service.endpoints.binary_search_by(|endpoint| endpoint.name.as_str().cmp(name));
    place.is_ok_and(|place| service.endpoints[place].effective_state() != State::Down)
}

/// When the endpoints of a service that has come or gone out of its table did so: the latest `since` of them. None where some
/// do not say, or only weights differ, of which nobody says since when.
fn change_moment(old: &Service, new: &Service) -> Option<i64> {
    // Those that have got other names are not in the order of these.
    let weights: HashMap<&str, u16> =
        old.endpoints.iter().map(|endpoint| (endpoint.name.as_str(), endpoint.table_weight())).collect();
    let had = |name: &str| weights.get(name).copied();
    let mut latest = None;
    for endpoint in &new.endpoints {
        match (had(&endpoint.name).unwrap_or(0), endpoint.table_weight()) {
            (before, after) if before == after => {}
            (before, after) if before > 0 && after > 0 => return None,
            _ => latest = latest.max(Some(endpoint.since?.0)),
        }
    }
    latest
}

fn endpoint_names(entry: &ServiceEntry) -> Vec<&str> {
    entry.service.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect()
}

fn table<'a>(entry: &ServiceEntry, names: &'a [&'a str]) -> NamedTable<'a> {
    NamedTable { slots: entry.table.iter().collect(), size: entry.table.size(), names }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines(memories: &SlotMemories) -> (Option<Second>, Option<Second>) {
        let kept = memories.of("web").and_then(Memories::next_deadline);
        (kept, memories.stored_of("web").and_then(|memories| memories.next_deadline()))
    }

    /// What is written down is by the wall clock, and nothing else is.
    #[test]
    fn deadlines_follow_the_wall_clock_on_disk_alone() {
        let version = |name: &str| Version { size: 13, endpoints: vec![(name.to_owned(), 1)] };
        let mut written = Memories::default();
        written.change(&version("a"), &version("b"), 1_500);
        let mut memories = SlotMemories::new(600);
        let restore = |memories: &mut SlotMemories, now: Now| {
            memories.restore_stored(HashMap::from([("web".to_owned(), written.clone())]), now);
        };
        restore(&mut memories, Now::at(1_000));
        assert_eq!(deadlines(&memories), (Some(1_500), Some(1_500)));
        memories.follow_wall_clock(Now { steady: 1_010, wall: 1_910 });
        assert_eq!(deadlines(&memories), (Some(1_500), Some(2_400)));
        memories.follow_wall_clock(Now { steady: 1_010, wall: 10 });
        assert_eq!(deadlines(&memories), (Some(1_500), Some(500)));
        // A clock that was put back while nobody looked keeps no window open for longer than one.
        restore(&mut memories, Now::at(100));
        assert_eq!(deadlines(&memories), (Some(700), Some(700)));
        restore(&mut memories, Now { steady: 5_000, wall: 1_400 });
        assert_eq!(deadlines(&memories), (Some(5_100), Some(1_500)));
    }
}
