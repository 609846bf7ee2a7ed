//! Which VIPs this node draws traffic for: those that have an endpoint, unless it drains or stops.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::Node;
use crate::control::event::Event;
use crate::control::protocol::Fault;
use crate::model::{EndpointSet, State, VipText};
use crate::underlay::UnderlayError;
use crate::underlay::announce::VipRoutes;

/// How often the routes are put right that somebody else has removed. A network manager that starts anew can do that.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// The VIP routes, and why there may be none.
pub(super) struct Announcement {
    /// None: there are none, and none are wanted.
    routes: Option<VipRoutes>,
    /// `announce.routes`.
    wanted: bool,
    /// The VIPs that have an endpoint.
    vips: BTreeSet<IpNet>,
    /// The VIPs that had a route when last looked at.
    announced: BTreeSet<IpNet>,
    draining: bool,
    stopping: bool,
    /// The interface is gone.
    cut_off: bool,
    /// Why the routes are not as they should be.
    problem: Option<String>,
    looked_at: Instant,
}

impl Announcement {
    pub(super) fn new(routes: Option<VipRoutes>) -> Self {
        Self {
            wanted: routes.is_some(),
            routes,
            vips: BTreeSet::new(),
            announced: BTreeSet::new(),
            draining: false,
            stopping: false,
            cut_off: false,
            problem: None,
            looked_at: Instant::now(),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining || self.stopping
    }

    /// Says whether it drains, before any VIP is announced.
    pub(super) fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Whether there may be routes to look after.
    pub(super) fn has_routes(&self) -> bool {
        self.routes.is_some()
    }

    /// Looks after the routes of another process from the next [`follow`](Self::follow) on: where none are wanted any more,
    /// until all are gone.
    pub(super) fn inherit_routes(&mut self) -> Result<(), UnderlayError> {
        if self.routes.is_none() {
            self.routes = Some(VipRoutes::open()?);
        }
        Ok(())
    }

    /// The VIPs that are announced, as a syncer writes them.
    pub(super) fn vips(&self) -> Vec<String> {
        self.announced.iter().map(|vip| VipText(vip).to_string()).collect()
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// From now on VIPs are announced, by these routes, or are not.
    pub(super) fn set_routes(&mut self, announces: bool, opened: Option<VipRoutes>) {
        self.wanted = announces;
        self.routes = opened.or(self.routes.take());
        self.put_right();
    }

    /// From now on the VIPs of this set are announced.
    pub(super) fn follow(&mut self, set: &EndpointSet) {
        self.vips = vips_with_an_endpoint(set);
        self.put_right();
    }

    /// Called about once a second.
    pub(super) fn tick(&mut self) {
        if self.problem.is_some() || self.looked_at.elapsed() >= LOOK_AFTER {
            self.put_right();
        }
    }

    /// Draws no traffic while nothing can be forwarded.
    pub(super) fn set_cut_off(&mut self, cut_off: bool) {
        if self.cut_off != cut_off {
            self.cut_off = cut_off;
            self.put_right();
        }
    }

    /// Makes the kernel's routes what they should be. Where none are wanted any more, they are looked after until all are
    /// gone.
    fn put_right(&mut self) {
        let has_none = !self.wanted || self.is_draining() || self.cut_off;
        let wanted = if has_none { BTreeSet::new() } else { self.vips.clone() };
        let Some(routes) = &mut self.routes else { return };
        self.looked_at = Instant::now();
        let problem = routes.set(&wanted).err().map(|error| error.to_string());
        self.announced = match &problem {
            None => wanted,
            Some(_) => routes.list().unwrap_or(wanted),
        };
        if let Some(problem) = &problem
            && self.problem.as_ref() != Some(problem)
        {
            tracing::error!("{problem}");
        }
        self.problem = problem;
        if !self.wanted && self.problem.is_none() {
            self.routes = None;
        }
    }

    /// The answer to `drain` and `resume`.
    fn answer(&self) -> Value {
        let unused = "announce.routes is false: this node has no routes to announce or withdraw";
        let warnings: Vec<&str> = (!self.wanted).then_some(unused).into_iter().chain(self.problem()).collect();
        json!({ "draining": self.is_draining(), "announced": self.vips(), "warnings": warnings })
    }
}

impl Node {
    /// Withdraws the routes, and keeps forwarding.
    pub(super) fn drain(&mut self) -> Result<Value, Fault> {
        self.announcement.draining = true;
        self.announcement.put_right();
        tracing::info!("draining");
        self.tell_drain();
        match (&self.announcement.problem, self.announcement.announced.is_empty()) {
            (Some(problem), false) => Err(Fault::internal(format!("some VIPs are still announced: {problem}"))),
            _ => Ok(self.announcement.answer()),
        }
    }

    /// Undoes [`drain`](Self::drain).
    pub(super) fn resume(&mut self) -> Result<Value, Fault> {
        if self.announcement.stopping {
            return Err(Fault::internal("the node is stopping"));
        }
        self.announcement.draining = false;
        self.announcement.put_right();
        tracing::info!(announced = self.announcement.announced.len(), "resumed");
        self.tell_drain();
        Ok(self.announcement.answer())
    }

    /// Withdraws the routes for good, since the node is about to stop; answers whether there were any.
    pub fn withdraw(&mut self) -> bool {
        let announced = !self.announcement.announced.is_empty();
        self.announcement.stopping = true;
        self.announcement.put_right();
        self.tell_drain();
        announced
    }

    fn tell_drain(&mut self) {
        let (draining, announced) = (self.announcement.is_draining(), self.announcement.announced.len());
        self.events.tell(Event::Drain { draining, announced });
    }
}

/// Each VIP for which some service has an endpoint that is not down.
fn vips_with_an_endpoint(set: &EndpointSet) -> BTreeSet<IpNet> {
    let served = set.services.iter().filter(|service| {
        let mut endpoints = service.endpoints.iter();
        endpoints.any(|endpoint| endpoint.effective_state() != State::Down)
    });
    served.map(|service| service.vip.trunc()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint_set;

    #[test]
    fn a_vip_is_announced_while_one_of_its_services_has_an_endpoint() {
        let endpoint = |state: &str| json!({ "name": state, "address": "2001:db8:10::a", "state": state });
        let service = |name: &str, vip: &str, port: u16, states: &[&str]| {
            let endpoints: Vec<Value> = states.iter().map(|state| endpoint(state)).collect();
            json!({ "name": name, "vip": vip, "protocol": "tcp", "ports": [port], "endpoints": endpoints })
        };
        let set = json!({ "services": [
            service("web", "203.0.113.10", 80, &["down", "active"]),
            service("empty", "203.0.113.10", 81, &[]),
            service("down", "203.0.113.11", 80, &["down"]),
            service("leaving", "2001:db8:1::/64", 80, &["draining"]),
            service("none", "203.0.113.12", 80, &[]),
        ] });
        let set = endpoint_set::read(&set.into()).expect("valid");
        let vips = vips_with_an_endpoint(&set);
        assert_eq!(vips.iter().map(IpNet::to_string).collect::<Vec<_>>(), ["203.0.113.10/32", "2001:db8:1::/64"]);
    }
}
