//! Draining endpoints on their way out: when the last of their flows has ended.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::Event;
use super::update::Builder;
use crate::model::State;
use crate::snapshot::ServiceEntry;

/// By service, what was last seen of its draining endpoints.
#[derive(Debug, Default)]
pub struct Leaving {
    services: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Slots remember the same for as long as this stands.
    entry: Arc<ServiceEntry>,
    /// By endpoint, in the order of the service's; nothing of those that do not drain.
    endpoints: Vec<Option<Left>>,
}

/// What is left of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    has_tracked_flows: bool,
    is_remembered: bool,
}

impl Leaving {
    /// Looks at all draining endpoints, and tells of those that have become quiet since the last look.
    pub fn look(&mut self, builder: &Builder, mut tell: impl FnMut(Event)) {
        let mut before = std::mem::take(&mut self.services);
        for entry in builder.services() {
            let mut drains = entry.service.endpoints.iter().map(|endpoint| endpoint.effective_state());
            if !drains.any(|state| state == State::Draining) {
                continue;
            }
            let seen = before.remove(&entry.service.name);
            let now = Seen::now(builder, entry, seen.as_ref());
            now.tell_news(seen.as_ref(), &mut tell);
            self.services.insert(entry.service.name.clone(), now);
        }
    }
}

impl Seen {
    fn now(builder: &Builder, entry: &Arc<ServiceEntry>, before: Option<&Self>) -> Self {
        let slots = match before {
            Some(seen) if Arc::ptr_eq(&seen.entry, entry) => None,
            _ => Some(entry.remembered_slots()),
        };
        let left = |(index, ready): (usize, _)| {
            if entry.service.endpoints[index].effective_state() != State::Draining {
                return None;
            }
            let is_remembered = match &slots {
                Some(slots) => slots[index] > 0,
                // The entry is the same, so its endpoints are.
                None => before.and_then(|seen| seen.endpoints[index]).is_some_and(|left| left.is_remembered),
            };
            Some(Left { has_tracked_flows: builder.endpoint_tracked_flows(ready) > 0, is_remembered })
        };
        Self { entry: entry.clone(), endpoints: entry.endpoints.iter().enumerate().map(left).collect() }
    }

    fn of(&self, endpoint: &str) -> Option<Left> {
        let endpoints = &self.entry.service.endpoints;
        let index = endpoints.binary_search_by(|known| known.name.as_str().cmp(endpoint)).ok()?;
        self.endpoints[index]
    }

    fn tell_news(&self, before: Option<&Self>, tell: &mut impl FnMut(Event)) {
        for (endpoint, left) in self.entry.service.endpoints.iter().zip(&self.endpoints) {
            let Some(left) = left.filter(|left| !left.has_tracked_flows) else { continue };
            let was = before.and_then(|seen| seen.of(&endpoint.name));
            // An endpoint that has only begun to drain has no tracked flow yet: they are tracked as they speak.
            let is_news =
                if left.is_remembered { was.is_some_and(|was| was.has_tracked_flows) } else { was != Some(left) };
            if is_news {
                let (service, endpoint) = (self.entry.service.name.clone(), endpoint.name.clone());
                tell(Event::Drained { service, endpoint, remembered: left.is_remembered });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::settings::settings;
    use crate::forward::track::Change;
    use crate::moment::Now;
    use crate::{config, endpoint_set};

    const WINDOW: u32 = 600;

    fn take(builder: &mut Builder, state: &str, now: u32) {
        let endpoint = |name: &str, state: &str| json!({ "name": name, "address": "2001:db8::1", "state": state });
        let endpoints = json!([endpoint("a", state), endpoint("b", "active")]);
        let set = json!({ "services": [{ "name": "web", "vip": "203.0.113.1", "endpoints": endpoints }] });
        builder.update(&endpoint_set::read(&set.into()).expect("valid"), (0, 0), Now::at(now));
    }

    #[test]
    fn a_draining_endpoint_is_told_of_when_its_last_flow_ends_and_when_no_slot_remembers_it() {
        let config = config::parse("[interface]\nname = \"eth0\"\n").expect("valid");
        let mut builder = Builder::new(settings(&config, None), WINDOW, 1);
        let mut leaving = Leaving::default();
        let mut look = |builder: &Builder| {
            let mut told = Vec::new();
            leaving.look(builder, |event| told.push(event));
            told
        };
        let drained = |remembered| {
            let (service, endpoint) = ("web".to_owned(), "a".to_owned());
            vec![Event::Drained { service, endpoint, remembered }]
        };
        take(&mut builder, "active", 0);
        assert_eq!(look(&builder), []);
        take(&mut builder, "draining", 1_000);
        assert_eq!(look(&builder), [], "its flows have not spoken yet");
        let cells = builder.publish().remove(0).cells;
        let cell = builder.services()[0].endpoints[0].cell;
        cells.track(Change::Begun(cell));
        assert_eq!(look(&builder), []);
        cells.track(Change::Ended(cell));
        assert_eq!(look(&builder), drained(true));
        assert_eq!(look(&builder), [], "told once");
        // One that was silent so far speaks, and is still there when slots forget.
        cells.track(Change::Begun(cell));
        assert!(look(&builder).is_empty() && builder.forget_old_memories(Now::at(1_000 + WINDOW), true));
        assert_eq!(look(&builder), []);
        cells.track(Change::Ended(cell));
        assert_eq!(look(&builder), drained(false));
        assert_eq!(look(&builder), [], "told once");
        take(&mut builder, "active", 2_000);
        assert_eq!(look(&builder), [], "it does not drain any more");
    }
}
