//! Which rows of a pane are to be seen, and in which order.

use std::cmp::Ordering;

use super::picture::{Drop, Endpoint, Service, Worker};
use super::shown::{Happened, Shown};
use super::view::{Look, Pane, View};

/// What rows are sorted by: where a column says `None` it is by name, upwards; else by a number, downwards.
type Key<T> = (&'static str, Option<fn(&T) -> f64>);

/// A rate that is not known comes after those that are.
fn known(rate: Option<f64>) -> f64 {
    rate.unwrap_or(-1.0)
}

const SERVICES: &[Key<Service>] = &[
    ("packets", Some(|service| known(service.packets))),
    ("bits", Some(|service| known(service.bits))),
    ("new flows", Some(|service| known(service.new_flows))),
    ("active", Some(|service| service.states.active as f64)),
    ("tracked", Some(|service| service.tracked as f64)),
    ("name", None),
];

const ENDPOINTS: &[Key<Endpoint>] = &[
    ("packets", Some(|endpoint| known(endpoint.packets))),
    ("bits", Some(|endpoint| known(endpoint.bits))),
    ("share", Some(Endpoint::share)),
    ("weight", Some(|endpoint| endpoint.is.weight as f64)),
    ("tracked", Some(|endpoint| endpoint.is.tracked_flows as f64)),
    ("name", None),
];

const DROPS: &[Key<Drop>] =
    &[("rate", Some(|drop| known(drop.rate))), ("total", Some(|drop| drop.total as f64)), ("reason", None)];

const WORKERS: &[Key<Worker>] = &[
    ("number", None),
    ("busy", Some(|worker| known(worker.busy))),
    ("packets", Some(|worker| known(worker.received))),
    ("latency", Some(|worker| known(worker.slow))),
];

/// What a pane can be sorted by, in words.
pub fn columns(pane: Pane) -> Vec<&'static str> {
    fn names<T>(keys: &[Key<T>]) -> Vec<&'static str> {
        keys.iter().map(|(name, _)| *name).collect()
    }
    match pane {
        Pane::Services => names(SERVICES),
        Pane::Endpoints => names(ENDPOINTS),
        Pane::Drops => names(DROPS),
        Pane::Workers => names(WORKERS),
        Pane::Events => Vec::new(),
    }
}

fn sorted<'a, T>(
    rows: impl Iterator<Item = &'a T>,
    keys: &[Key<T>],
    look: &Look,
    by_name: impl Fn(&T, &T) -> Ordering,
) -> Vec<&'a T> {
    let mut rows: Vec<&T> = rows.collect();
    let key = keys.get(look.sort).and_then(|(_, key)| *key);
    rows.sort_by(|a, b| {
        let order = key.map_or(Ordering::Equal, |key| key(b).total_cmp(&key(a))).then_with(|| by_name(a, b));
        if look.is_reversed { order.reverse() } else { order }
    });
    rows
}

/// Whether one of these texts has the filter in it; letters are alike, large and small.
fn fits(look: &Look, texts: &[&str]) -> bool {
    let wanted = look.filter.to_lowercase();
    wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
}

/// The services to be seen.
pub fn services<'a>(shown: &'a Shown, view: &View) -> Vec<&'a Service> {
    let look = view.look(Pane::Services);
    let all = shown.picture.services.iter().filter(|service| fits(look, &[&service.name, &service.vip]));
    sorted(all, SERVICES, look, |a, b| a.name.cmp(&b.name))
}

/// The endpoints to be seen; none while those of another service are known only.
pub fn endpoints<'a>(shown: &'a Shown, view: &View, service: &str) -> Option<Vec<&'a Endpoint>> {
    let look = view.look(Pane::Endpoints);
    let known = shown.picture.endpoints.as_ref().filter(|known| known.service == service)?;
    let all =
        known.all.iter().filter(|endpoint| fits(look, &[&endpoint.is.name, &endpoint.is.address, &endpoint.is.state]));
    Some(sorted(all, ENDPOINTS, look, |a, b| a.is.name.cmp(&b.is.name)))
}

/// The drop reasons to be seen.
pub fn drops<'a>(shown: &'a Shown, view: &View) -> Vec<&'a Drop> {
    let look = view.look(Pane::Drops);
    let all = shown.picture.drops.iter().filter(|drop| fits(look, &[&drop.reason]));
    sorted(all, DROPS, look, |a, b| a.reason.cmp(&b.reason))
}

/// The workers to be seen.
pub fn workers<'a>(shown: &'a Shown, view: &View) -> Vec<&'a Worker> {
    let look = view.look(Pane::Workers);
    let all = shown.picture.workers.iter().filter(|worker| fits(look, &[&worker.number.to_string()]));
    sorted(all, WORKERS, look, |a, b| a.number.cmp(&b.number))
}

/// The events to be seen, the newest first.
pub fn events<'a>(shown: &'a Shown, view: &View) -> Vec<&'a Happened> {
    let look = view.look(Pane::Events);
    let mut all: Vec<_> = shown.events.iter().filter(|event| fits(look, &[&event.kind, &event.text])).collect();
    if look.is_reversed {
        all.reverse();
    }
    all
}

/// How many rows of a pane there are to be seen.
pub fn rows(shown: &Shown, view: &View, pane: Pane) -> usize {
    match pane {
        Pane::Services => services(shown, view).len(),
        Pane::Endpoints => {
            let chosen = view.chosen_service(shown);
            chosen.and_then(|service| endpoints(shown, view, &service)).map_or(0, |endpoints| endpoints.len())
        }
        Pane::Drops => drops(shown, view).len(),
        Pane::Workers => workers(shown, view).len(),
        Pane::Events => events(shown, view).len(),
    }
}
