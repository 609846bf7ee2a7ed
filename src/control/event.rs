//! What subscribers are told, and what an update changes.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::model::{Endpoint, EndpointSet, Generation, Revision, Service, State, VipText};

/// Events kept until the next chance to send them. The first set of 100,000 endpoints need not be told one by one.
const MOST_EVENTS: usize = 10_000;

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A set is in force.
    Applied {
        /// Its label.
        revision: Revision,
        /// The number of its snapshot.
        generation: Generation,
        /// How many services it has.
        services: usize,
        /// How many endpoints they have.
        endpoints: usize,
        /// How many services have changed, come or gone.
        changed: usize,
    },
    /// A service has come, gone or changed in itself.
    Service {
        /// Its name.
        service: String,
        /// As a syncer writes it.
        vip: String,
        /// What has become of it.
        change: Change,
    },
    /// An endpoint has come, gone or changed.
    Endpoint {
        /// Its service.
        service: String,
        /// Its name.
        endpoint: String,
        /// Where its tunnel ends.
        address: IpAddr,
        /// Its share, relative to the others'.
        weight: u16,
        /// What it is now; none: it has gone.
        state: Option<State>,
        /// What it was; none: it has come.
        was: Option<State>,
    },
    /// A draining endpoint has no tracked flow any more.
    Drained {
        /// Its service.
        service: String,
        /// Its name.
        endpoint: String,
        /// Whether slots still remember it, so that a flow that was silent so far would go there. When none does, it is
        /// told again, and removing the endpoint breaks nothing.
        remembered: bool,
    },
    /// The node withdraws its routes, or announces them again.
    Drain {
        /// Whether it drains.
        draining: bool,
        /// How many VIPs are announced.
        announced: usize,
    },
    /// Another process is the daemon now, and has gone on with everything.
    Upgrade {
        /// Its version.
        version: String,
        /// The version of the process before it.
        from: String,
        /// Its number.
        process: u32,
        /// How many workers have been handed over.
        workers: usize,
        /// The longest time, in seconds, for which one of them stood still.
        longest_pause: f64,
    },
    /// The config was read again.
    Reloaded {
        /// The keys that have changed.
        changed: Vec<String>,
    },
    /// Something went wrong; the node goes on.
    Error {
        /// One sentence.
        message: String,
    },
    /// Of those who capture, and only to them: the service or endpoint whose packets they want has gone, or is there again.
    Capture {
        /// Whether it is there.
        present: bool,
    },
    /// Events that the subscriber was too slow for, or that were too many.
    Missed {
        /// How many.
        count: usize,
    },
}

/// What has become of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is no longer there.
    Removed,
    /// Something other than its endpoints has changed.
    Changed,
}

/// Events on their way to subscribers. While nobody listens none is made.
#[derive(Debug, Default)]
pub struct Events {
    is_heard: bool,
    waiting: Vec<Event>,
    missed: usize,
}

impl Events {
    /// Says whether anybody listens.
    pub fn set_heard(&mut self, is_heard: bool) {
        self.is_heard = is_heard;
    }

    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// Tells an event to those who listen.
    pub fn tell(&mut self, event: Event) {
        if !self.is_heard {
        } else if self.waiting.len() < MOST_EVENTS {
            self.waiting.push(event);
        } else {
            self.missed += 1;
        }
    }

    /// Says in the log that something went wrong, and tells those who listen.
    pub fn fail(&mut self, message: String) {
        tracing::error!("{message}");
        self.tell(Event::Error { message });
    }

    /// What is to be sent now.
    pub fn take(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.waiting);
        let count = std::mem::take(&mut self.missed);
        events.extend((count > 0).then_some(Event::Missed { count }));
        events
    }
}

/// Visits the items of two lists in the order of their names, those of the same name together.
fn pairs<'a, T>(
    before: &'a [T],
    after: &'a [T],
    name: impl Fn(&T) -> &str,
    mut visit: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => name(a).cmp(name(b)),
        };
        let a = order.is_le().then(|| before.next()).flatten();
        let b = order.is_ge().then(|| after.next()).flatten();
        visit(a, b);
    }
}

/// What is different between two sets whose services are in the order of their names.
pub fn differences(before: &EndpointSet, after: &EndpointSet, mut tell: impl FnMut(Event)) {
    pairs(
        &before.services,
        &after.services,
        |service| &service.name,
        |before, after| {
            if let (Some(before), Some(after)) = (before, after)
                && Arc::ptr_eq(before, after)
            {
                return;
            }
            service_differences(before.map(|s| &**s), after.map(|s| &**s), &mut tell);
        },
    );
}

fn service_differences(before: Option<&Service>, after: Option<&Service>, tell: &mut impl FnMut(Event)) {
    let Some(shown) = after.or(before) else { return };
    let change = match (before, after) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (Some(before), Some(after)) => (!differs_in_endpoints_only(before, after)).then_some(Change::Changed),
    };
    if let Some(change) = change {
        tell(Event::Service { service: shown.name.clone(), vip: VipText(&shown.vip).to_string(), change });
    }
    pairs(
        endpoints_of(before),
        endpoints_of(after),
        |endpoint| &endpoint.name,
        |before, after| {
            let Some(endpoint) = after.or(before) else { return };
            if before.map(seen) != after.map(seen) {
                tell(Event::Endpoint {
                    service: shown.name.clone(),
                    endpoint: endpoint.name.clone(),
                    address: endpoint.address,
                    weight: endpoint.weight,
                    state: after.map(Endpoint::effective_state),
                    was: before.map(Endpoint::effective_state),
                });
            }
        },
    );
}

fn endpoints_of(service: Option<&Service>) -> &[Endpoint] {
    service.map_or(&[], |service| &service.endpoints)
}

/// Of an endpoint, what a change of is told.
fn seen(endpoint: &Endpoint) -> (IpAddr, u16, State) {
    (endpoint.address, endpoint.weight, endpoint.effective_state())
}

fn differs_in_endpoints_only(before: &Service, after: &Service) -> bool {
    let Service { name: _, vip, protocol, ports, encap, affinity, echo, udp_drain, allow, table_size, endpoints: _ } =
        before;
    (vip, protocol, ports, encap) == (&after.vip, &after.protocol, &after.ports, &after.encap)
        && (affinity, echo, udp_drain) == (&after.affinity, &after.echo, &after.udp_drain)
        && (allow, table_size) == (&after.allow, &after.table_size)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::endpoint_set;

    fn set(services: Value) -> EndpointSet {
        endpoint_set::read(&json!({ "services": services }).into()).expect("valid")
    }

    #[test]
    fn each_difference_is_told_once_and_nothing_else() {
        let endpoint = |name: &str, weight: u16| json!({ "name": name, "address": "2001:db8::1", "weight": weight });
        let before = set(json!([
            { "name": "gone", "vip": "203.0.113.1", "endpoints": [endpoint("x", 1)] },
            { "name": "same", "vip": "203.0.113.2", "endpoints": [endpoint("x", 1)] },
            { "name": "web", "vip": "203.0.113.3", "endpoints": [endpoint("a", 1), endpoint("b", 1), endpoint("c", 1)] },
        ]));
        let after = set(json!([
            { "name": "new", "vip": "203.0.113.1" },
            { "name": "same", "vip": "203.0.113.2", "endpoints": [endpoint("x", 1)] },
            { "name": "web", "vip": "203.0.113.3", "echo": "reply",
              "endpoints": [endpoint("b", 0), endpoint("c", 1), endpoint("d", 2)] },
        ]));
        let mut told = Vec::new();
        differences(&before, &after, |event| told.push(event));
        let told: Vec<String> = told.iter().map(|event| serde_json::to_string(event).expect("an object")).collect();
        let endpoint = |service: &str, name: &str, weight: u16, state: &str, was: &str| {
            format!(
                r#"{{"type":"endpoint","service":"{service}","endpoint":"{name}","address":"2001:db8::1","weight":{weight},"state":{state},"was":{was}}}"#
            )
        };
        let expected = [
            r#"{"type":"service","service":"gone","vip":"203.0.113.1","change":"removed"}"#.to_owned(),
            endpoint("gone", "x", 1, "null", "\"active\""),
            r#"{"type":"service","service":"new","vip":"203.0.113.1","change":"added"}"#.to_owned(),
            r#"{"type":"service","service":"web","vip":"203.0.113.3","change":"changed"}"#.to_owned(),
            endpoint("web", "a", 1, "null", "\"active\""),
            endpoint("web", "b", 0, "\"draining\"", "\"active\""),
            endpoint("web", "d", 2, "\"active\"", "null"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn without_listeners_nothing_is_kept_and_with_them_not_all() {
        let mut events = Events::default();
        let error = || Event::Error { message: String::new() };
        events.tell(error());
        assert!(events.take().is_empty());
        events.set_heard(true);
        (0..MOST_EVENTS + 3).for_each(|_| events.tell(error()));
        let told = events.take();
        assert_eq!((told.len(), told.last()), (MOST_EVENTS + 1, Some(&Event::Missed { count: 3 })));
        assert!(events.take().is_empty());
    }
}
