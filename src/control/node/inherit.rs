//! What a node hands over to the process that succeeds this one, and how that one begins with it.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::Node;
use crate::control::clock::Clock;
use crate::control::event::Event;
use crate::control::proposal::Proposal;
use crate::control::update::StoredBuilder;
use crate::document::Problems;
use crate::endpoint_set;
use crate::model::EndpointSet;
use crate::snapshot::Cell;
use crate::stats::{Count, Recorder, StoredTiming};

/// All that a node knows and its successor could not find out anew. Sets stay text: trees of 100,000 endpoints would leave
/// their memory behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeState {
    /// What the syncer pushed.
    set: Box<RawValue>,
    /// That, and the config's services, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_force: Option<Box<RawValue>>,
    builder: StoredBuilder,
    draining: bool,
    /// It looks after VIP routes, which it may have made.
    #[serde(default)]
    announces: bool,
    store_problem: Option<String>,
    /// What says the moments until which slots remember; none: the wall clock does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clock: Option<Clock>,
}

/// What has been counted and measured, when no worker does so any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// By cell.
    counts: Vec<Count>,
    /// By worker.
    timings: Vec<StoredTiming>,
    /// By worker, where it goes on with its tracked flows where they lie: how many there are of each cell.
    #[serde(default)]
    tracked: Vec<Vec<(Cell, u64)>>,
}

impl Node {
    /// What its successor needs to forward as this one does.
    pub fn state(&mut self) -> Result<NodeState, String> {
        // What is written down is by the wall clock, so that a version that knows no other can read it; its successor goes on
        // with what that clock says at this moment.
        let clock = Clock::start();
        self.builder.follow_wall_clock(self.clock.now());
        let text = |set: &EndpointSet| to_raw_value(set).map_err(|error| error.to_string());
        Ok(NodeState {
            set: text(&self.set)?,
            in_force: (self.in_force != self.set).then(|| text(&self.in_force)).transpose()?,
            builder: self.builder.store(self.now()),
            draining: self.announcement.is_draining(),
            announces: self.announcement.has_routes(),
            store_problem: self.disk_problem(),
            clock: Some(clock),
        })
    }

    /// Begins with what another process has handed over: builds all of it, and posts it for the workers to come. Nothing
    /// outside this process changes.
    ///
    /// # Errors
    /// It cannot be read, or the config of today does not allow it.
    pub fn adopt(&mut self, state: NodeState) -> Result<(), String> {
        let set = read_set(&state.set)?;
        let in_force = state.in_force.as_deref().map_or_else(|| Ok(set.clone()), read_set)?;
        let in_force = Proposal::whole(in_force).set;
        let set = set.sharing(&in_force);
        let now = self.now();
        self.check_stored(&self.config, &Proposal::whole(set.clone())).map_err(|refusal| {
            let problems = Problems::from(refusal).to_string().replace('\n', "; ");
            format!("the config on disk does not go with the set in force: {problems}")
        })?;
        self.clock = state.clock.unwrap_or(self.clock);
        self.written_ahead = self.clock.now().offset();
        self.builder.adopt(state.builder, &in_force, now)?;
        self.set = Proposal::whole(set).set;
        self.in_force = in_force;
        self.store_problem = state.store_problem;
        self.announcement.set_draining(state.draining);
        if state.announces {
            self.announcement.inherit_routes().map_err(|error| error.to_string())?;
        }
        self.follow_ways();
        self.publish();
        Ok(())
    }

    /// What has been counted, and measured by each worker, of which none works any more; `timings`: by worker; `in_place`:
    /// their successors go on with tracked flows where they lie, and so have not counted them.
    pub fn counted(&self, timings: Vec<StoredTiming>, in_place: bool) -> Counted {
        let tracked = if in_place { self.builder.tracked() } else { Vec::new() };
        Counted { counts: self.builder.counts(), timings, tracked }
    }

    /// What one worker has measured, of which `last` was not handed over yet.
    pub fn timing(&self, worker: usize, last: Option<&Recorder>) -> StoredTiming {
        self.workers.get(worker).map(|worker| worker.board.timing().store(last)).unwrap_or_default()
    }

    /// Counts on where another process has stopped.
    pub fn count_on(&mut self, counted: &Counted) {
        self.builder.put_counts(&counted.counts);
        self.builder.put_tracked(&counted.tracked);
        for (worker, timing) in self.workers.iter().zip(&counted.timings) {
            worker.board.timing().restore(timing);
        }
    }

    /// From now on this process looks after the gate and the routes.
    pub fn look_after(&mut self) {
        self.gate_holds = true;
        self.leaving.look(&self.builder, |_| ());
        self.announcement.follow(&self.in_force);
    }

    /// Looks after them again: another process that was to do so has failed, and may have changed the routes.
    pub fn look_after_again(&mut self) {
        self.announcement.follow(&self.in_force);
    }

    /// What the config on disk has changed since the other process read it comes into force.
    pub fn follow_config(&mut self) {
        let joined = self.check_stored(&self.config, &Proposal::whole(self.set.clone()));
        match joined {
            Ok(joined) if joined.services == self.in_force.services => {}
            Ok(joined) => {
                if let Err(fault) = self.put_in_force(joined) {
                    self.events.fail(format!("the config's services are not as on disk: {}", fault.message));
                }
            }
            Err(refusal) => self.events.fail(Problems::from(refusal).to_string()),
        }
        if self.store_problem.is_some() {
            self.disk.try_soon();
        }
    }

    /// Tells subscribers, who are those of the process before.
    pub fn tell_upgraded(&mut self, from: String, workers: usize, longest_pause: f64) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.events.set_heard(true);
        self.events.tell(Event::Upgrade { version, from, process: std::process::id(), workers, longest_pause });
    }

    /// Asks one worker to end.
    pub fn stop_worker(&self, number: usize) {
        self.publisher.stop_one(number);
    }
}

fn read_set(text: &RawValue) -> Result<EndpointSet, String> {
    let wrong = |problems: Problems| format!("the set in force cannot be read: {problems}").replace('\n', "; ");
    endpoint_set::parse(text.get()).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// What the first release hands over. A later one that reads form 1 reads this.
    #[test]
    fn a_node_of_form_1_is_read() {
        let shown = include_str!("upgrade-form-1.json");
        let state: NodeState = serde_json::from_str(shown).expect("form 1");
        let set = read_set(state.in_force.as_deref().expect("it is there")).expect("a set");
        assert_eq!((set.revision.0.as_str(), set.services.len(), state.draining), ("41", 1, true));
        let written: Value = serde_json::to_value(&state).expect("plain data");
        assert_eq!(written, serde_json::from_str::<Value>(shown).expect("JSON"), "nothing of it is passed over");
    }
}
