//! What happens to two edge nodes while a syncer replaces all endpoints: told once, to real nodes and to those of the
//! simulator.

use std::time::{SystemTime, UNIX_EPOCH};

use pointsman::model::Timestamp;
use serde_json::{Value, json};

use testkit::Topology;
use testkit::ecmp::VIPS;

/// Endpoints before the update, and after it.
pub const ENDPOINTS: usize = 4;

/// What a node knows when it comes back.
#[derive(Clone, Copy, Debug)]
pub enum Disk {
    /// The sets that it has had.
    Kept,
    /// Nothing.
    Lost,
}

/// What happens next. Nodes and endpoints go by their numbers.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// An endpoint drains, and another one takes its place; the nodes that live are told.
    Replace(usize),
    /// Some more connections begin.
    Begin,
    /// A node dies, and the router finds out.
    Die(usize),
    /// A node comes back, is told the set in force, and gets its share of the traffic again.
    Rise(usize, Disk),
    /// A node draws no traffic any more.
    Drain(usize),
}

/// Either node dies once in the middle of it.
pub const STORY: [Event; 13] = [
    Event::Replace(0),
    Event::Begin,
    Event::Replace(1),
    Event::Begin,
    Event::Die(1),
    Event::Replace(2),
    Event::Begin,
    Event::Rise(1, Disk::Kept),
    Event::Die(0),
    Event::Replace(3),
    Event::Begin,
    Event::Rise(0, Disk::Lost),
    Event::Drain(1),
];

/// The endpoints as a syncer knows them: the state of each that is there, and since when.
pub struct Syncer<'a> {
    topology: &'a Topology,
    states: Vec<Option<(&'static str, Option<Timestamp>)>>,
}

impl<'a> Syncer<'a> {
    /// The first ones are there, since ever.
    pub fn new(topology: &'a Topology) -> Self {
        let state = |number| (number < ENDPOINTS).then_some(("active", None));
        Self { topology, states: (0..2 * ENDPOINTS).map(state).collect() }
    }

    /// Has one drain, and another take its place.
    pub fn replace(&mut self, number: usize) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("1970 is over").as_secs();
        let now = Some(Timestamp(now.try_into().expect("a clock that is right")));
        self.states[number] = Some(("draining", now));
        self.states[number + ENDPOINTS] = Some(("active", now));
    }

    /// What it pushes.
    pub fn services(&self) -> Value {
        let there = self.topology.endpoints.iter().zip(&self.states).filter_map(|(endpoint, state)| {
            let (state, since) = (*state)?;
            let mut entry = endpoint.in_state(state);
            if let Some(since) = since {
                entry["since"] = json!(since);
            }
            Some(entry)
        });
        let endpoints: Vec<Value> = there.collect();
        let service = |name: &str, vip| json!({ "name": name, "vip": vip, "protocol": "tcp", "endpoints": endpoints });
        json!([service("v4", VIPS[0]), service("v6", VIPS[1])])
    }
}
