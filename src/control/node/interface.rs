//! The node's side of its interface, which can go away, come back and change while the node runs.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{Facts, Node, WorkerFacts};
use crate::publish::Inbox;

impl Node {
    /// Makes room for one worker more, which begins with what the others forward by.
    ///
    /// # Errors
    /// The process has as many descriptors as it may have.
    pub fn add_worker(&mut self) -> io::Result<Inbox> {
        let first = self.builder.add_worker();
        self.publisher.subscribe(first).inspect_err(|_| self.builder.drop_last_worker())
    }

    /// Has the interface looked after in so much time, if not before.
    pub fn look_soon(&mut self, pause: Duration) {
        self.look_by = Some(Instant::now() + pause);
    }

    /// When the interface is to be looked after, if not before.
    pub fn look_by(&self) -> Option<Instant> {
        self.look_by
    }

    /// Whether it is to be looked after now.
    pub fn is_look_due(&mut self) -> bool {
        self.look_by.take_if(|by| Instant::now() >= *by).is_some()
    }

    /// From now on these are the driver and the workers, of which those it had are still the first. Whoever says so
    /// has let in the [`vips`](Self::vips).
    pub fn set_interface(&mut self, driver: &'static str, mode: Option<String>, workers: Vec<WorkerFacts>) {
        self.facts = Facts { driver, mode, name: std::mem::take(&mut self.facts.name) };
        self.counters.set_boards(workers.iter().map(|worker| (worker.queue, worker.board.clone())).collect());
        self.workers = workers;
    }

    /// The VIPs in force.
    pub fn vips(&self) -> BTreeSet<IpNet> {
        self.builder.services().iter().map(|entry| entry.service.vip).collect()
    }

    /// Says, until told otherwise, what is wrong with the interface. `cut_off`: nothing is forwarded at all, so no traffic
    /// is to be drawn here.
    pub fn set_interface_problem(&mut self, problem: Option<String>, cut_off: bool) {
        if self.interface_problem != problem
            && let Some(problem) = &problem
        {
            self.events.fail(problem.clone());
        }
        self.interface_problem = problem;
        self.announcement.set_cut_off(cut_off);
    }
}
