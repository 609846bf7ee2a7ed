//! The endpoints of the one service, as a syncer sees them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use pointsman::endpoint_set;
use pointsman::model::{Endpoint, EndpointSet, State, Timestamp};

/// An endpoint's number; it is never given out again.
pub type Number = u16;

/// What a syncer says at some second.
#[derive(Clone, Debug)]
pub enum Change {
    /// One drains, another takes its place.
    Replace(Number, Number),
    /// These have come.
    Add(std::ops::Range<Number>),
    /// This one is down.
    Down(Number),
    /// This one is gone.
    Remove(Number),
}

/// All endpoints, with the second since which each is in its state; none: since ever.
#[derive(Clone, Debug)]
pub struct Endpoints {
    table_size: Option<u32>,
    states: BTreeMap<Number, (State, Option<u32>)>,
}

impl Endpoints {
    /// So many endpoints, active since ever.
    pub fn new(count: Number, table_size: Option<u32>) -> Self {
        Self { table_size, states: (0..count).map(|number| (number, (State::Active, None))).collect() }
    }

    /// Changes them at this second.
    pub fn change(&mut self, change: &Change, now: u32) {
        let states = &mut self.states;
        let mut set = |number: Number, state| _ = states.insert(number, (state, Some(now)));
        match change {
            Change::Replace(old, new) => {
                set(*old, State::Draining);
                set(*new, State::Active);
            }
            Change::Add(numbers) => numbers.clone().for_each(|number| set(number, State::Active)),
            Change::Down(number) => set(*number, State::Down),
            Change::Remove(number) => _ = states.remove(number),
        }
    }

    /// Whether an endpoint still serves the flows that it has.
    pub fn lives(&self, number: Number) -> bool {
        self.states.get(&number).is_some_and(|(state, _)| *state != State::Down)
    }

    /// The endpoints in the order of the set, which is that of their names.
    pub fn numbers(&self) -> Vec<Number> {
        self.states.keys().copied().collect()
    }

    /// The set that a syncer pushes.
    pub fn set(&self) -> EndpointSet {
        let service = r#"{"services":[{"name":"web","vip":"203.0.113.10"}]}"#;
        let mut set = endpoint_set::parse(service).expect("a valid set");
        let service = Arc::make_mut(&mut set.services[0]);
        service.table_size = self.table_size;
        service.endpoints = self.states.iter().map(|(number, state)| endpoint(*number, *state)).collect();
        set
    }
}

fn endpoint(number: Number, (state, since): (State, Option<u32>)) -> Endpoint {
    let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, number + 1));
    let since = since.map(|second| Timestamp(second.into()));
    Endpoint { name: format!("endpoint-{number:05}"), address, weight: 1, state, since }
}
