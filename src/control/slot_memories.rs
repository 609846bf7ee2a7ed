//! The slot memories of all services, and when each is to be forgotten.

use std::collections::{HashMap, HashSet};

use crate::handover::{Memories, NamedTable, Second, Touched, Version};
use crate::model::Service;
use crate::snapshot::ServiceEntry;

/// What slots remember, by service; services without memories are not there.
#[derive(Clone, Debug)]
pub struct SlotMemories {
    window: Second,
    kept: HashMap<String, Kept>,
    /// Services that are as they were on disk: others may have moved on meanwhile.
    restored: HashSet<String>,
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
        Self { window, kept: HashMap::new(), restored: HashSet::new() }
    }

    /// Takes back what was kept on disk.
    pub fn restore(&mut self, kept: HashMap<String, Memories>) {
        kept.into_iter().for_each(|(service, memories)| self.keep(service, memories));
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

    /// What is remembered, by service.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Memories)> {
        self.kept.iter().map(|(service, kept)| (service, &kept.memories))
    }

    /// What the slots of these services remember, apart from all others.
    pub fn part<'a>(&self, names: impl Iterator<Item = &'a String>) -> Self {
        let kept = names.filter_map(|name| Some((name.clone(), self.kept.get(name)?.clone())));
        Self { window: self.window, kept: kept.collect(), restored: HashSet::new() }
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

    /// Forgets a service that is gone.
    pub fn forget(&mut self, service: &str) {
        self.kept.remove(service);
    }

    /// A service's new entry, with what its slots remember of the old one. A service without an old one is new here, though
    /// perhaps not to its clients: what the set itself tells of before is taken for its history.
    pub fn hand_over(&mut self, old: Option<&ServiceEntry>, new: ServiceEntry, now: Second) -> ServiceEntry {
        let restored = self.kept.remove(&new.service.name).map(|kept| kept.memories);
        let mut memories = restored.unwrap_or_default();
        memories.expire(now);
        // What has run out while the node was away tells no more than what was never there.
        let is_restored = !memories.is_empty();
        let after = Version::of(&new.service);
        match old {
            Some(old) if Version::of(&old.service) != after => {
                // A node that was away while the endpoints changed takes the change to be as old as it is.
                let known =
                    self.restored.contains(&new.service.name).then(|| change_moment(&old.service, &new.service));
                let until = known.flatten().map_or(now, |moment| moment.min(now)).saturating_add(self.window);
                let (had, has) = (endpoint_names(old), endpoint_names(&new));
                if until > now {
                    memories.change_tables(&table(old, &had), &table(&new, &has), until);
                }
            }
            None if !is_restored => {
                let (before, until) = (Version::before(&new.service, self.window, now), self.latest_change(&new, now));
                if before != after && until > now {
                    memories.change(&before, &after, until);
                }
            }
            _ => {}
        }
        let has_tracked_flows = old.is_some_and(|old| old.handover.is_some());
        if memories.is_empty() && !has_tracked_flows {
            return new;
        }
        let entry = new.with_handover(Some(&memories), old.and_then(|old| old.handover.as_deref()));
        self.keep(entry.service.name.clone(), memories);
        entry
    }

    /// A window after the latest `since` of a service; from now on, where none is given.
    fn latest_change(&self, entry: &ServiceEntry, now: Second) -> Second {
        let moments = entry.service.endpoints.iter().filter_map(|endpoint| endpoint.since);
        let latest = moments.max().map_or(now, |since| Second::try_from(since.0).unwrap_or(0).min(now));
        latest.saturating_add(self.window)
    }

    /// The entry that takes the place of this one at `now`, if any: with less to remember, or with nothing left of its
    /// handover where it is quiet, with no tracked flow to follow.
    pub fn after(&mut self, entry: &ServiceEntry, now: Second, is_quiet: bool) -> Option<ServiceEntry> {
        let handover = entry.handover.as_ref()?;
        let name = &entry.service.name;
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

/// When the endpoints of a service that has come or gone out of its table did so: the latest `since` of them. None where some
/// do not say, or only weights differ, of which nobody says since when.
fn change_moment(old: &Service, new: &Service) -> Option<Second> {
    let had = |name: &str| {
        let at = old.endpoints.binary_search_by(|endpoint| endpoint.name.as_str().cmp(name)).ok()?;
        Some(old.endpoints[at].table_weight())
    };
    let mut latest = None;
    for endpoint in &new.endpoints {
        match (had(&endpoint.name).unwrap_or(0), endpoint.table_weight()) {
            (before, after) if before == after => {}
            (before, after) if before > 0 && after > 0 => return None,
            _ => latest = latest.max(Some(endpoint.since?.0)),
        }
    }
    latest.map(|since| Second::try_from(since).unwrap_or(0))
}

fn endpoint_names(entry: &ServiceEntry) -> Vec<&str> {
    entry.service.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect()
}

fn table<'a>(entry: &ServiceEntry, names: &'a [&'a str]) -> NamedTable<'a> {
    NamedTable { slots: entry.table.iter().collect(), size: entry.table.size(), names }
}

/// Seconds since 1970: slot memories outlive a restart.
pub fn wall_clock() -> Second {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Second::try_from(since_1970.as_secs()).unwrap_or(Second::MAX)
}
