//! Endpoint set → snapshot. Only what has changed is built anew; `replay` and the daemon both come this way.

mod stored;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::renames::{self, Renamed};
use super::slot_memories::SlotMemories;
use crate::endpoint_set::claims_of;
use crate::forward::encap::{Outer, OuterHeaders, SharedHeaders};
use crate::handover::Memories;
use crate::model::{Encap, Endpoint, EndpointSet, Generation, Revision, Service};
use crate::moment::{Moment, Now, Second};
use crate::publish::Publication;
use crate::snapshot::{Cell, EndpointEntry, NextHop, Paths, ServiceEntry, Settings, Snapshot};
use crate::stats::{Cells, Count, Counted, Gone, Numbers, Report, Scene, Traffic};
use crate::underlay::path_mtu::{Lowered, PathMtus};
use crate::vip_map::VipMap;
use crate::wire::Family;

pub use stored::StoredBuilder;

/// Builds snapshots, and remembers what of the last one can be used again.
pub struct Builder {
    settings: Settings,
    revision: Revision,
    generation: Generation,
    /// In the order of their names.
    services: Arc<[Arc<ServiceEntry>]>,
    vips: Arc<VipMap>,
    paths: Paths,
    /// Those that endpoints share.
    headers: SharedHeaders,
    gue_ports: Arc<[u16]>,
    path_mtus: PathMtus,
    slot_memories: SlotMemories,
    cells_in_use: Arc<[bool]>,
    addresses: Numbers<IpAddr>,
    /// Addresses that have come or gone since they were last asked for.
    touched: BTreeSet<IpAddr>,
    cell_ids: Numbers<Counted>,
    /// By worker.
    cells: Vec<Cells>,
    /// What the process before this one has counted.
    past: Cells,
    gone: Arc<Gone>,
    resting: Arc<[(Counted, Cell)]>,
}

impl Builder {
    /// A builder for `workers` workers, with an empty set, and with handovers of `window` seconds.
    pub fn new(settings: Settings, window: Second, workers: usize) -> Self {
        Self {
            settings,
            revision: Revision::default(),
            generation: Generation::default(),
            services: Arc::new([]),
            vips: Arc::default(),
            paths: Paths::default(),
            headers: SharedHeaders::default(),
            gue_ports: Arc::new([]),
            path_mtus: PathMtus::default(),
            slot_memories: SlotMemories::new(window),
            cells_in_use: Arc::new([]),
            addresses: Numbers::default(),
            touched: BTreeSet::new(),
            cell_ids: Numbers::default(),
            cells: vec![Cells::default(); workers],
            past: Cells::default(),
            gone: Arc::default(),
            resting: Arc::new([]),
        }
    }

    /// Counts for one worker more, and answers what it begins with: what was published last.
    pub fn add_worker(&mut self) -> Publication {
        let mut cells = Cells::default();
        cells.grow(self.cell_ids.count());
        self.cells.push(cells.clone());
        Publication { snapshot: Arc::new(self.snapshot()), cells: Arc::new(cells), tap: None }
    }

    /// Undoes [`add_worker`](Self::add_worker): there is no worker after all.
    pub fn drop_last_worker(&mut self) {
        self.cells.pop();
    }

    /// Takes a set in at `now` and answers how many services have changed, come or gone. `edition` is the newest
    /// that has been posted, and `forgotten` the newest whose predecessors every worker has forgotten.
    pub fn update(&mut self, set: &EndpointSet, (edition, forgotten): (u64, u64), now: Now) -> usize {
        self.slot_memories.follow_wall_clock(now);
        self.keep_counts_of_gone(forgotten);
        self.addresses.reclaim(u64::MAX, |_| ());
        self.revision = set.revision.clone();
        let before = self.services.clone();
        let mut known = before.iter().peekable();
        let (mut changed, mut claims_changed) = (0, false);
        let mut services = Vec::with_capacity(set.services.len());
        // The map of VIPs knows services by their numbers, so these come from the names and not from the set's order.
        let mut in_order: Vec<&Arc<Service>> = set.services.iter().collect();
        in_order.sort_by(|a, b| a.name.cmp(&b.name));
        let mut renamed = renames::services(before.iter().map(|entry| &entry.service), in_order.iter().copied());
        for service in in_order {
            if let Some(same) = known.next_if(|old| Arc::ptr_eq(&old.service, service)) {
                services.push(same.clone());
                continue;
            }
            while let Some(gone) = known.next_if(|old| old.service.name < service.name) {
                (changed, claims_changed) = (changed + 1, true);
                if !renamed.has_another_name(&gone.service.name) {
                    self.remove(gone, edition);
                }
            }
            let old = known.next_if(|old| old.service.name == service.name);
            if let Some(same) = old.filter(|old| old.service == *service) {
                services.push(same.clone());
                continue;
            }
            changed += 1;
            claims_changed |= old.is_none_or(|old| !old.service.matches_as(service));
            let earlier = renamed.take(&service.name).and_then(|name| find(&before, &name));
            let old = old.or(earlier).map(|old| self.rename(old, service));
            let entry = self.build(service);
            services.push(Arc::new(self.slot_memories.hand_over(old.as_deref(), entry, now)));
            if let Some(old) = old {
                self.retire(&old, edition);
            }
        }
        for gone in known {
            (changed, claims_changed) = (changed + 1, true);
            if !renamed.has_another_name(&gone.service.name) {
                self.remove(gone, edition);
            }
        }
        self.resting = self.cell_ids.resting().map(|(counted, cell)| (counted.clone(), cell)).collect();
        if claims_changed {
            self.vips = Arc::new(vip_map(&services));
        }
        if changed > 0 {
            self.gue_ports = gue_ports(&services).into();
            self.headers.drop_unused();
        }
        self.services = services.into();
        if changed > 0 {
            self.cells_in_use = self.cell_ids.in_use().into();
        }
        self.grow_cells();
        changed
    }

    fn grow_cells(&mut self) {
        self.cells.iter_mut().chain([&mut self.past]).for_each(|cells| cells.grow(self.cell_ids.count()));
    }

    /// Adds up what was counted in cells that no worker counts in any more. They are given out again when the scene that this
    /// update makes has been shown, so that nobody reads them under their old names.
    fn keep_counts_of_gone(&mut self, forgotten: u64) {
        let all: Vec<&Cells> = self.cells.iter().chain([&self.past]).collect();
        let left = self.cell_ids.reclaim(forgotten, |cell| all.iter().for_each(|cells| cells.clear(cell)));
        if left.is_empty() {
            return;
        }
        let (gone, services) = (Arc::make_mut(&mut self.gone), &self.services);
        let is_there = |name: &str| services.binary_search_by(|entry| entry.service.name.as_str().cmp(name)).is_ok();
        for (counted, cell) in left {
            gone.add(&counted, Count::of(cell, all.iter().copied()), is_there);
        }
    }

    /// Forgets the slot memories that are a window old, and lets services be that have no tracked flow to follow any more
    /// (`settled`: every worker forwards by the newest snapshot). Answers whether there is anything new to publish.
    pub fn forget_old_memories(&mut self, now: Now, settled: bool) -> bool {
        self.slot_memories.follow_wall_clock(now);
        let mut changed = false;
        let services = self.services.clone();
        let entries = services.iter().map(|entry| {
            let is_quiet = settled && entry.handover.is_some() && self.tracked_flows(entry) == 0;
            let next = self.slot_memories.after(entry, now.steady, is_quiet);
            changed |= next.is_some();
            next.map_or_else(|| entry.clone(), Arc::new)
        });
        let entries: Vec<Arc<ServiceEntry>> = entries.collect();
        if changed {
            self.services = entries.into();
        }
        changed
    }

    /// How many of a service's flows are tracked, by all workers together.
    pub fn tracked_flows(&self, entry: &ServiceEntry) -> u64 {
        entry.endpoints.iter().map(|endpoint| self.endpoint_tracked_flows(endpoint)).sum()
    }

    /// How many of an endpoint's flows are tracked, by all workers together.
    pub fn endpoint_tracked_flows(&self, endpoint: &EndpointEntry) -> u64 {
        self.cells.iter().map(|cells| cells.tracked(endpoint.cell)).sum()
    }

    /// What slots remember, to be kept on disk.
    pub fn slot_memories(&self) -> &SlotMemories {
        &self.slot_memories
    }

    /// Takes back what was kept on disk, with deadlines by the wall clock, before the first set.
    pub fn restore_slot_memories(&mut self, kept: HashMap<String, Memories>, now: Now) {
        self.slot_memories.restore_stored(kept, now);
    }

    /// Takes note of what the wall clock says, by which memories are written down.
    pub fn follow_wall_clock(&mut self, now: Now) {
        self.slot_memories.follow_wall_clock(now);
    }

    /// Says that the set in force is the one on disk, of before this process, or that it no longer is.
    pub fn set_restored(&mut self, is_restored: bool) {
        let names = self.services.iter().filter(|_| is_restored).map(|entry| entry.service.name.clone());
        self.slot_memories.set_restored(names.collect());
    }

    fn build(&mut self, service: &Arc<Service>) -> ServiceEntry {
        let cell = self.cell_ids.acquire(Counted::Service(service.name.clone()));
        let endpoints = service.endpoints.iter().map(|endpoint| self.build_endpoint(service, endpoint)).collect();
        ServiceEntry::new(service.clone(), endpoints, cell, &self.settings.seed)
    }

    fn build_endpoint(&mut self, service: &Service, endpoint: &Endpoint) -> EndpointEntry {
        let counted = Counted::Endpoint(service.name.clone(), endpoint.name.clone());
        let (inner, Settings { sources, hop_limit, .. }) = (Family::of(service.vip.addr()), self.settings);
        if !self.addresses.knows(&endpoint.address) {
            self.touched.insert(endpoint.address);
        }
        let headers = OuterHeaders::new(service.encap, inner, Family::of(endpoint.address), &sources, hop_limit);
        EndpointEntry {
            outer: headers.map(|headers| Outer::new(self.headers.share(headers), endpoint.address)),
            path: self.addresses.acquire(endpoint.address),
            cell: self.cell_ids.acquire(counted),
        }
    }

    /// A service's entry as if it had always had the names of its successor: who counts for them, and what slots remember, goes
    /// on under these.
    fn rename(&mut self, old: &Arc<ServiceEntry>, new: &Service) -> Arc<ServiceEntry> {
        let Some(Renamed { service, endpoints }) = renames::between(&old.service, new) else { return old.clone() };
        let counted = |service: &str, name: &str| Counted::Endpoint(service.to_owned(), name.to_owned());
        let names = old.service.endpoints.iter().zip(&service.endpoints);
        let mut pairs: Vec<(Counted, Counted)> = names
            .map(|(old_name, name)| (counted(&old.service.name, &old_name.name), counted(&service.name, &name.name)))
            .collect();
        pairs.push((Counted::Service(old.service.name.clone()), Counted::Service(service.name.clone())));
        self.cell_ids.rename(pairs);
        self.slot_memories.rename(&old.service.name, &service.name, &endpoints);
        if old.service.name != service.name {
            Arc::make_mut(&mut self.gone).rename_service(&old.service.name, &service.name);
        }
        Arc::new(old.with_names(service.into()))
    }

    fn retire(&mut self, entry: &ServiceEntry, edition: u64) {
        self.cell_ids.release(&Counted::Service(entry.service.name.clone()), edition);
        self.retire_endpoints(entry, edition);
    }

    fn retire_endpoints(&mut self, entry: &ServiceEntry, edition: u64) {
        for endpoint in &entry.service.endpoints {
            let counted = Counted::Endpoint(entry.service.name.clone(), endpoint.name.clone());
            self.cell_ids.release(&counted, edition);
            // Paths are numbered anew in each snapshot that needs it, so their numbers need no rest.
            self.addresses.release(&endpoint.address, 0);
            if !self.addresses.knows(&endpoint.address) {
                self.touched.insert(endpoint.address);
            }
        }
    }

    /// A service is no longer there.
    fn remove(&mut self, gone: &ServiceEntry, edition: u64) {
        self.retire(gone, edition);
        self.slot_memories.forget(&gone.service.name);
        Arc::make_mut(&mut self.gone).forget_service(&gone.service.name);
    }

    /// The addresses of endpoints that have come, and those that have gone, since this was last asked.
    pub fn take_moves(&mut self) -> (BTreeSet<IpAddr>, BTreeSet<IpAddr>) {
        std::mem::take(&mut self.touched).into_iter().partition(|address| self.addresses.knows(address))
    }

    /// Takes in what a router has said of the way to an endpoint; answers whether it lowers anything, so that the ways
    /// are to be [resolved](Self::resolve) again.
    pub fn lower_mtu(&mut self, lowered: Lowered, now: Moment) -> bool {
        let concerns = lowered.mtu < self.settings.underlay_mtu && self.addresses.knows(&lowered.endpoint);
        concerns && self.path_mtus.lower(lowered, now)
    }

    /// Forgets what routers have said too long ago; answers as [`lower_mtu`](Self::lower_mtu) does.
    pub fn forget_old_mtus(&mut self, now: Moment) -> bool {
        self.path_mtus.expire(now)
    }

    /// Asks for the next hop on the way to every endpoint. Answers whether any way is another than before.
    pub fn resolve(&mut self, next_hop: impl Fn(IpAddr) -> Option<NextHop>) -> bool {
        let all = self.addresses.iter().map(|(address, id)| self.path(id, *address, &next_hop));
        let paths = Paths::default().changed(self.addresses.count(), all);
        let changed = paths != self.paths;
        if changed {
            self.paths = paths;
        }
        changed
    }

    /// The same for those alone that have just come, while all other ways are as they were.
    pub fn resolve_new(&mut self, come: &BTreeSet<IpAddr>, next_hop: impl Fn(IpAddr) -> Option<NextHop>) {
        if come.is_empty() {
            return;
        }
        let numbered = come.iter().filter_map(|address| Some((self.addresses.number(address)?, *address)));
        let new = numbered.map(|(id, address)| self.path(id, address, &next_hop));
        self.paths = self.paths.changed(self.addresses.count(), new);
    }

    /// A way's number, its next hop and its MTU.
    fn path(
        &self,
        id: u32,
        address: IpAddr,
        next_hop: impl Fn(IpAddr) -> Option<NextHop>,
    ) -> (u32, Option<NextHop>, u32) {
        let underlay_mtu = self.settings.underlay_mtu;
        let lowered = self.path_mtus.of(address).unwrap_or(underlay_mtu);
        (id, next_hop(address), lowered.min(underlay_mtu))
    }

    /// What all services share.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes what all services share; the ways are to be [resolved](Self::resolve) again. `edition` is the newest that
    /// has been posted.
    pub fn set_settings(&mut self, settings: Settings, edition: u64) {
        let before = std::mem::replace(&mut self.settings, settings);
        if (before.sources, before.hop_limit) == (settings.sources, settings.hop_limit) {
            return;
        }
        // Outer headers are made of these; those of earlier settings need not wait for a set. Tables and memories stay.
        self.headers.drop_unused();
        let services = self.services.clone();
        let entries = services.iter().map(|old| {
            let endpoints: Vec<_> =
                old.service.endpoints.iter().map(|e| self.build_endpoint(&old.service, e)).collect();
            self.retire_endpoints(old, edition);
            Arc::new(old.with_endpoints(endpoints.into()))
        });
        self.services = entries.collect();
    }

    /// The next snapshot, one publication a worker.
    pub fn publish(&mut self) -> Vec<Publication> {
        self.generation.0 += 1;
        let snapshot = Arc::new(self.snapshot());
        let publication =
            |cells: &Cells| Publication { snapshot: snapshot.clone(), cells: Arc::new(cells.clone()), tap: None };
        self.cells.iter().map(publication).collect()
    }

    /// What workers forward by, or will once it is published.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            generation: self.generation,
            revision: self.revision.clone(),
            settings: self.settings,
            vips: self.vips.clone(),
            services: self.services.clone(),
            paths: self.paths.clone(),
            gue_ports: self.gue_ports.clone(),
            cells_in_use: self.cells_in_use.clone(),
        }
    }

    /// What was sent to a service or an endpoint, by all workers together.
    pub fn traffic(&self, cell: Cell) -> Traffic {
        Count::of(cell, self.cells.iter().chain([&self.past])).traffic
    }

    /// The number of the newest snapshot.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The ways to endpoints, as [`EndpointEntry::path`] numbers them.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// All services.
    pub fn services(&self) -> &[Arc<ServiceEntry>] {
        &self.services
    }

    /// What counts are read by.
    pub fn scene(&self) -> Scene {
        Scene {
            generation: self.generation.0,
            services: self.services.clone(),
            cells: self.cells.iter().chain([&self.past]).cloned().collect(),
            resting: self.resting.clone(),
            gone: self.gone.clone(),
        }
    }

    /// Adds what services and endpoints were sent, by all workers together, and what is left of their handovers.
    pub fn count_into(&self, report: &mut Report) {
        let scene = self.scene();
        scene.report(&scene.counts(), report);
    }
}

fn find<'a>(services: &'a [Arc<ServiceEntry>], name: &str) -> Option<&'a Arc<ServiceEntry>> {
    let place = services.binary_search_by(|entry| entry.service.name.as_str().cmp(name)).ok()?;
    services.get(place)
}

fn vip_map(services: &[Arc<ServiceEntry>]) -> VipMap {
    let claims = services.iter().zip(0..);
    VipMap::build(claims.flat_map(|(entry, index)| claims_of(&entry.service).into_iter().map(move |c| (c, index))))
}

/// The UDP ports of all services' tunnels.
fn gue_ports(services: &[Arc<ServiceEntry>]) -> Vec<u16> {
    let port = |entry: &Arc<ServiceEntry>| match entry.service.encap {
        Encap::Gue { port, .. } => Some(port),
        _ => None,
    };
    services.iter().filter_map(port).collect::<BTreeSet<u16>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Seed, address_bits};
    use crate::forward::encap::Sources;
    use crate::snapshot::Dscp;
    use crate::vip_map::Found;
    use crate::wire::ethernet::MacAddress;

    /// A node that was away for longer than a window would send flows that began meanwhile where nobody else does.
    #[test]
    fn a_node_that_was_away_takes_a_change_to_be_as_old_as_it_is() {
        let settings = crate::control::settings::settings(
            &crate::config::parse("[interface]\nname = \"eth0\"\n").expect("valid"),
            None,
        );
        let set = |endpoints: &str| {
            let set = format!(r#"{{"services":[{{"name":"a","vip":"203.0.113.1","endpoints":[{endpoints}]}}]}}"#);
            crate::endpoint_set::parse(&set).expect("valid")
        };
        let old = r#"{"name":"x","address":"2001:db8::1"}"#;
        let now = 1_795_000_000;
        let since = |moment: &str| format!(r#"{old},{{"name":"y","address":"2001:db8::2"{moment}}}"#);
        // 2026-11-18T11:06:40Z is `now`.
        for (restored, moment, remembers) in [
            (true, r#","since":"2026-11-18T10:06:40Z""#, false),
            (true, r#","since":"2026-11-18T11:05:00Z""#, true),
            (true, "", true),
            (false, r#","since":"2026-11-18T10:06:40Z""#, true),
        ] {
            let mut builder = Builder::new(settings, 600, 1);
            builder.update(&set(old), (0, 0), Now::at(now - 100_000));
            builder.forget_old_memories(Now::at(now - 50_000), true);
            builder.forget_old_memories(Now::at(now - 50_000), true);
            builder.set_restored(restored);
            builder.update(&set(&since(moment)), (1, 1), Now::at(now));
            assert_eq!(builder.services()[0].handover.is_some(), remembers, "{restored} {moment}");
        }
    }

    /// A service that has gone, one that has come, and one that has another name: what was counted is lost by none.
    #[test]
    fn counts_go_on_under_another_name() {
        let settings = crate::control::settings::settings(
            &crate::config::parse("[interface]\nname = \"eth0\"\n").expect("valid"),
            None,
        );
        let set = |name: &str, endpoints: &[(&str, u8)]| {
            let endpoint = |(name, host): &(&str, u8)| format!(r#"{{"name":"{name}","address":"2001:db8::{host}"}}"#);
            let endpoints: Vec<String> = endpoints.iter().map(endpoint).collect();
            let endpoints = endpoints.join(",");
            let set = format!(r#"{{"services":[{{"name":"{name}","vip":"203.0.113.1","endpoints":[{endpoints}]}}]}}"#);
            crate::endpoint_set::parse(&set).expect("valid")
        };
        let mut builder = Builder::new(settings, 600, 1);
        builder.update(&set("web", &[("a", 1), ("b", 2), ("c", 3)]), (0, 0), Now::at(1_000));
        let cells = builder.publish().remove(0).cells;
        let cell = |builder: &Builder, at: usize| builder.services()[0].endpoints[at].cell;
        (0..3).for_each(|at| cells.add(cell(&builder, at), 100 + at));
        cells.add(builder.services()[0].cell, 303);
        let [_, second, third] = [0, 1, 2].map(|at| cell(&builder, at));
        // The first goes, the others move up, and the service has another name, too.
        builder.update(&set("www", &[("a", 2), ("b", 3)]), (1, 0), Now::at(1_001));
        assert_eq!([0, 1].map(|at| cell(&builder, at)), [second, third]);
        for edition in 2..6 {
            builder.update(&set("www", &[("a", 2), ("b", 3)]), (edition, edition), Now::at(1_002));
        }
        let mut report = Report::default();
        builder.count_into(&mut report);
        let report = serde_json::to_value(&report).expect("numbers");
        assert_eq!(report["pointsman_service_bytes_total"], serde_json::json!({ "www": 303 }));
        let endpoints = &report["pointsman_endpoint_bytes_total"];
        assert_eq!((&endpoints["www"]["a"], &endpoints["www"]["b"]), (&101.into(), &102.into()), "{endpoints}");
        let sum = endpoints.as_object().into_iter().flatten().flat_map(|(_, of)| of.as_object().into_iter().flatten());
        assert_eq!(sum.filter_map(|(_, bytes)| bytes.as_u64()).sum::<u64>(), 303, "{endpoints}");
    }

    /// The map of VIPs and the list of services, which share numbers, may be of different updates.
    #[test]
    fn services_have_the_same_numbers_in_whatever_order_they_come() {
        let sources = Sources::default();
        let settings = Settings {
            seed: Seed([0; 16]),
            dscp: Dscp::Copy,
            underlay_mtu: 1500,
            hop_limit: 64,
            mac: MacAddress::default(),
            sources,
        };
        let mut builder = Builder::new(settings, 600, 1);
        let set = r#"{"services":[{"name":"b","vip":"203.0.113.2"},{"name":"a","vip":"203.0.113.1"}]}"#;
        let mut set = crate::endpoint_set::parse(set).expect("valid");
        assert_eq!(builder.update(&set, (0, 0), Now::at(0)), 2);
        set.services.reverse();
        assert_eq!(builder.update(&set, (1, 1), Now::at(0)), 0, "the same set");
        let snapshot = builder.snapshot();
        for (name, vip) in [("a", [203, 0, 113, 1]), ("b", [203, 0, 113, 2])] {
            let found = snapshot.vips.find(address_bits(vip.into()), 6, 80);
            let Found::Service(number) = found else { panic!("{vip:?} is {found:?}") };
            assert_eq!(snapshot.services[number as usize].service.name, name);
        }
    }
}
