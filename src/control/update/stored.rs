//! What a builder knows and could not find out anew, for another process that goes on with it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Builder, vip_map};
use crate::handover::{Memories, Touched};
use crate::model::{EndpointSet, Generation, Service};
use crate::moment::Moment;
use crate::snapshot::Cell;
use crate::stats::{Cells, Count, Counted, Gone, StoredNumbers};
use crate::underlay::path_mtu::Lowered;

/// What a builder knows of a set beside the set itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredBuilder {
    generation: u64,
    /// Which cell counts for whom: tracked flows name them.
    numbers: StoredNumbers<Counted>,
    gone: Gone,
    memories: BTreeMap<String, Memories>,
    /// By service with an open handover: the slots whose flows may be tracked.
    touched: BTreeMap<String, Touched>,
    /// The services that are taken to be as they were on disk.
    restored: Vec<String>,
    /// What routers have said of the ways to endpoints.
    lowered: Vec<StoredMtu>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredMtu {
    endpoint: IpAddr,
    mtu: u32,
    /// For how many nanoseconds more that is believed.
    left: u64,
}

impl Builder {
    /// All that another process needs beside the set, at `now`.
    pub fn store(&self, now: Moment) -> StoredBuilder {
        let touched = self.services.iter().filter_map(|entry| {
            let handover = entry.handover.as_ref()?;
            Some((entry.service.name.clone(), handover.touched.clone()))
        });
        let memories = self.slot_memories.stored().map(|(name, memories)| (name.clone(), memories.into_owned()));
        let lowered = self.path_mtus.iter_with_time_left(now);
        StoredBuilder {
            generation: self.generation.0,
            numbers: self.cell_ids.store(),
            gone: (*self.gone).clone(),
            memories: memories.collect(),
            touched: touched.collect(),
            restored: self.slot_memories.restored().iter().cloned().collect(),
            lowered: lowered.map(|(Lowered { endpoint, mtu }, left)| StoredMtu { endpoint, mtu, left }).collect(),
        }
    }

    /// Begins, at `now`, where another process has stopped: with the set that it had in force, and the same cells. The
    /// next snapshot [published](Self::publish) has the number of the one that was in force there.
    ///
    /// # Errors
    /// What was stored contradicts itself.
    pub fn adopt(&mut self, stored: StoredBuilder, set: &EndpointSet, now: Moment) -> Result<(), &'static str> {
        let StoredBuilder { generation, numbers, gone, memories, mut touched, restored, lowered } = stored;
        if !numbers.is_sound() {
            return Err("two counters have one number");
        }
        self.generation = Generation(generation.saturating_sub(1));
        self.revision = set.revision.clone();
        self.cell_ids = super::Numbers::restore(numbers);
        self.gone = Arc::new(gone);
        self.slot_memories.restore(memories.into_iter().collect::<HashMap<_, _>>());
        self.slot_memories.set_restored(restored.into_iter().collect());
        let mut in_order: Vec<&Arc<Service>> = set.services.iter().collect();
        in_order.sort_by(|a, b| a.name.cmp(&b.name));
        let entries = in_order.into_iter().map(|service| {
            let entry = self.build(service);
            let touched = touched.remove(&service.name);
            Arc::new(self.slot_memories.adopt(entry, touched))
        });
        let services: Vec<_> = entries.collect();
        self.cell_ids.drop_unused();
        self.vips = Arc::new(vip_map(&services));
        self.gue_ports = super::gue_ports(&services).into();
        self.services = services.into();
        self.cells_in_use = self.cell_ids.in_use().into();
        self.resting = self.cell_ids.resting().map(|(counted, cell)| (counted.clone(), cell)).collect();
        self.grow_cells();
        for StoredMtu { endpoint, mtu, left } in lowered {
            self.path_mtus.restore(Lowered { endpoint, mtu }, now, left);
        }
        Ok(())
    }

    /// What has been counted in each cell, by all together.
    pub fn counts(&self) -> Vec<Count> {
        let all = || self.cells.iter().chain([&self.past]);
        (0..self.cell_ids.count() as Cell).map(|cell| Count::of(cell, all())).collect()
    }

    /// Adds what another process has counted in each cell, before anything was counted here for it.
    pub fn put_counts(&mut self, counts: &[Count]) {
        let past: &Cells = &self.past;
        (0..).zip(counts).for_each(|(cell, count)| past.put(cell, *count));
    }

    /// By worker: the cells for which it tracks flows, with their numbers.
    pub fn tracked(&self) -> Vec<Vec<(Cell, u64)>> {
        self.cells.iter().map(|cells| cells.all_tracked()).collect()
    }

    /// The same of another process, where each worker goes on with its flows where they lie.
    pub fn put_tracked(&mut self, tracked: &[Vec<(Cell, u64)>]) {
        for (cells, tracked) in self.cells.iter().zip(tracked) {
            tracked.iter().for_each(|(cell, flows)| cells.put_found(*cell, *flows));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::settings::settings;
    use crate::moment::Now;
    use crate::stats::Report;
    use crate::{config, endpoint_set};

    fn builder() -> Builder {
        let config = config::parse("[interface]\nname = \"eth0\"\n").expect("valid");
        Builder::new(settings(&config, None), 600, 1)
    }

    fn set(names: &[&str]) -> EndpointSet {
        let endpoints: Vec<_> = names.iter().map(|name| json!({ "name": name, "address": "2001:db8::1" })).collect();
        let service = |name: &str, vip| json!({ "name": name, "vip": vip, "endpoints": endpoints });
        let services = [service("web", "203.0.113.1"), service("dns", "203.0.113.2")];
        endpoint_set::read(&json!({ "revision": "7", "services": services }).into()).expect("valid")
    }

    #[test]
    fn another_process_forwards_by_the_same_and_counts_on() {
        let mut first = builder();
        first.update(&set(&["a", "b"]), (0, 0), Now::at(1_000));
        let cells = first.publish().remove(0).cells;
        for entry in first.services().to_vec() {
            cells.add(entry.cell, 100);
            entry.endpoints.iter().for_each(|endpoint| cells.add(endpoint.cell, 50));
        }
        first.update(&set(&["b", "c", "d"]), (1, 0), Now::at(1_001));
        first.publish();
        let endpoint = "2001:db8::1".parse().expect("an address");
        assert!(first.lower_mtu(Lowered { endpoint, mtu: 1_400 }, Moment(5)));
        let stored = serde_json::to_string(&first.store(Moment(7))).expect("plain data");
        let mut second = builder();
        let stored = serde_json::from_str(&stored).expect("its own form");
        second.adopt(stored, &set(&["b", "c", "d"]), Moment(1_000)).expect("sound");
        second.put_counts(&first.counts());
        second.publish();
        assert!(second.store(Moment(1_000)) == first.store(Moment(7)));
        for (is, was) in second.services().iter().zip(first.services()) {
            assert_eq!((is.cell, &is.fingerprint, &is.table), (was.cell, &was.fingerprint, &was.table));
            let remembered = |entry: &crate::snapshot::ServiceEntry| entry.remembered_slots();
            assert_eq!(remembered(is), remembered(was));
            assert!(is.handover.is_some());
            let cells =
                |entry: &crate::snapshot::ServiceEntry| entry.endpoints.iter().map(|e| e.cell).collect::<Vec<_>>();
            assert_eq!(cells(is), cells(was));
        }
        let report = |builder: &Builder| {
            let mut report = Report::default();
            builder.count_into(&mut report);
            report
        };
        assert_eq!(report(&second), report(&first));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mut stored = builder().store(Moment(0));
        let twice =
            json!({ "in_use": [[{ "service": "a" }, 1], [{ "service": "b" }, 1]], "resting": [], "leaving": [] });
        stored.numbers = serde_json::from_value(twice).expect("numbers");
        assert!(builder().adopt(stored, &set(&["a"]), Moment(0)).is_err());
    }
}
