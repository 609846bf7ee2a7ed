//! What there is to be counted for: the services and endpoints of the newest set, and those that have gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cells::{Cells, Count, Counted};
use super::report::Report;
use crate::snapshot::{Cell, ServiceEntry};

/// The label of all that have gone together: endpoints of a service, and services. Counters never fall by somebody's
/// going, and there are no more of them than services and endpoints, one more a service, and one.
pub const GONE: &str = "(gone)";

/// What has been counted for services and endpoints that have gone since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Of services that are still there, by their names.
    endpoints: BTreeMap<String, Count>,
    /// Of services that have gone themselves.
    endpoints_of_gone: Count,
    services: Count,
}

impl Gone {
    /// Takes in the last count of something that has gone, for good or not.
    pub fn add(&mut self, counted: &Counted, count: Count, is_service: impl Fn(&str) -> bool) {
        let sum = match counted {
            Counted::Service(_) => &mut self.services,
            Counted::Endpoint(service, _) if is_service(service) => self.endpoints.entry(service.clone()).or_default(),
            Counted::Endpoint(..) => &mut self.endpoints_of_gone,
        };
        *sum = sum.plus(count);
    }

    /// A service has gone, with the counts of its endpoints that had gone before it.
    pub fn forget_service(&mut self, service: &str) {
        if let Some(count) = self.endpoints.remove(service) {
            self.endpoints_of_gone = self.endpoints_of_gone.plus(count);
        }
    }

    /// A service has another name.
    pub fn rename_service(&mut self, old: &str, new: &str) {
        if let Some(count) = self.endpoints.remove(old) {
            let sum = self.endpoints.entry(new.to_owned()).or_default();
            *sum = sum.plus(count);
        }
    }
}

/// Everything of one moment that counts are read by.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The newest snapshot's number.
    pub generation: u64,
    /// The newest set's services.
    pub services: Arc<[Arc<ServiceEntry>]>,
    /// Of all that count, or have counted.
    pub cells: Vec<Cells>,
    /// What has gone, but may still be counted for.
    pub resting: Arc<[(Counted, Cell)]>,
    /// What has gone for good.
    pub gone: Arc<Gone>,
}

/// The counts of one moment, in the order of the scene's services and their endpoints.
pub struct Counts {
    services: Vec<ServiceCounts>,
    resting: Vec<Count>,
}

struct ServiceCounts {
    own: Count,
    tracked: u64,
    endpoints: Vec<Count>,
}

impl Scene {
    /// Reads all counts, and does no more than that: while this goes on, no number may get another meaning.
    pub fn counts(&self) -> Counts {
        let of = |cell| Count::of(cell, &self.cells);
        let service = |entry: &Arc<ServiceEntry>| ServiceCounts {
            own: of(entry.cell),
            tracked: self.tracked_flows(entry),
            endpoints: entry.endpoints.iter().map(|endpoint| of(endpoint.cell)).collect(),
        };
        Counts {
            services: self.services.iter().map(service).collect(),
            resting: self.resting.iter().map(|(_, cell)| of(*cell)).collect(),
        }
    }

    fn tracked_flows(&self, entry: &ServiceEntry) -> u64 {
        let cells = entry.endpoints.iter().map(|endpoint| endpoint.cell);
        cells.flat_map(|cell| self.cells.iter().map(move |cells| cells.tracked(cell))).sum()
    }

    /// Adds these counts of this scene to a report.
    pub fn report(&self, counts: &Counts, report: &mut Report) {
        self.report_services(counts, report);
        self.report_endpoints(counts, report);
    }

    /// The same without those by endpoint.
    pub fn report_services(&self, counts: &Counts, report: &mut Report) {
        report.pointsman_generation = self.generation;
        for (entry, counts) in self.services.iter().zip(&counts.services) {
            let service = &entry.service;
            let is_open = entry.handover.as_ref().is_some_and(|handover| !handover.remembered.is_empty());
            report.add_service(&service.name, counts.own);
            report.add_table(&service.name, &entry.fingerprint);
            report.add_handover(&service.name, counts.tracked, is_open);
        }
        let gone = self.gone(counts);
        if gone.services != Count::default() {
            report.add_service(GONE, gone.services);
        }
    }

    fn report_endpoints(&self, counts: &Counts, report: &mut Report) {
        for (entry, counts) in self.services.iter().zip(&counts.services) {
            let service = &entry.service;
            for (endpoint, count) in service.endpoints.iter().zip(&counts.endpoints) {
                report.add_endpoint(&service.name, &endpoint.name, *count);
            }
        }
        let gone = self.gone(counts);
        for (service, count) in &gone.endpoints {
            report.add_endpoint(service, GONE, *count);
        }
        if gone.endpoints_of_gone != Count::default() {
            report.add_endpoint(GONE, GONE, gone.endpoints_of_gone);
        }
    }

    /// What has gone, for good or not, with what was counted for it to this moment.
    fn gone(&self, counts: &Counts) -> Gone {
        let there: BTreeSet<&str> = self.services.iter().map(|entry| entry.service.name.as_str()).collect();
        let mut gone = (*self.gone).clone();
        for ((counted, _), count) in self.resting.iter().zip(&counts.resting) {
            gone.add(counted, *count, |service| there.contains(service));
        }
        gone
    }
}
