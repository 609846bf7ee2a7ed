//! Which rows of a pane are to be seen, and in which order.

use super::picture::{Drop, Endpoint, Service, Worker};
use super::shown::{Happened, Shown};
use super::view::{Look, Pane, View};

/// What rows are sorted by: a number, downwards; where there is none, as they come: by name, or number, upwards.
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

/// Rows come in the order of names, and those that are equal by another column stay in it.
fn sorted<'a, T>(rows: impl Iterator<Item = &'a T>, keys: &[Key<T>], look: &Look) -> Vec<&'a T> {
    let mut rows: Vec<&T> = rows.collect();
    if let Some((_, Some(key))) = keys.get(look.sort) {
        rows.sort_by(|a, b| key(b).total_cmp(&key(a)));
    }
    if look.is_reversed {
        rows.reverse();
    }
    rows
}

/// Whether one of these texts has the filter in it; letters are alike, large and small.
fn fits(look: &Look, texts: &[&str]) -> bool {
    let wanted = look.filter.to_lowercase();
    wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
}

/// The rows to be seen, of all panes.
#[derive(Debug)]
pub struct Rows<'a> {
    pub services: Vec<&'a Service>,
    /// Which of them is chosen.
    pub chosen: Option<usize>,
    /// Those of the chosen service; none while they are not known.
    pub endpoints: Option<Vec<&'a Endpoint>>,
    pub drops: Vec<&'a Drop>,
    pub workers: Vec<&'a Worker>,
    /// The newest first.
    pub events: Vec<&'a Happened>,
}

impl<'a> Rows<'a> {
    /// Those of `shown` that are to be seen by this view.
    pub fn of(shown: &'a Shown, view: &View) -> Self {
        let picture = &shown.picture;
        let services = services(&picture.services, view.look(Pane::Services));
        let chosen = chosen(&services, view);
        let known = picture.endpoints.as_ref().zip(chosen);
        let known = known.filter(|(known, chosen)| known.service == services[*chosen].name);
        Self {
            endpoints: known.map(|(known, _)| endpoints(&known.all, view.look(Pane::Endpoints))),
            services,
            chosen,
            drops: drops(&picture.drops, view.look(Pane::Drops)),
            workers: sorted(picture.workers.iter(), WORKERS, view.look(Pane::Workers)),
            events: events(shown, view.look(Pane::Events)),
        }
    }

    /// How many there are in a pane.
    pub fn count(&self, pane: Pane) -> usize {
        match pane {
            Pane::Services => self.services.len(),
            Pane::Endpoints => self.endpoints.as_ref().map_or(0, Vec::len),
            Pane::Drops => self.drops.len(),
            Pane::Workers => self.workers.len(),
            Pane::Events => self.events.len(),
        }
    }

    /// Which row of a pane is chosen: of a service that has moved, where it is now.
    pub fn row(&self, pane: Pane, view: &View) -> usize {
        match (pane, self.chosen) {
            (Pane::Services, Some(chosen)) => chosen,
            _ => view.look(pane).row.min(self.count(pane).saturating_sub(1)),
        }
    }

    /// The chosen service.
    pub fn service(&self) -> Option<&'a Service> {
        self.services.get(self.chosen?).copied()
    }
}

/// The one of this name, or the one that is where it was.
fn chosen(services: &[&Service], view: &View) -> Option<usize> {
    let by_name = |name: &String| services.iter().position(|service| service.name == *name);
    let last = services.len().checked_sub(1)?;
    Some(view.service.as_ref().and_then(by_name).unwrap_or(view.look(Pane::Services).row.min(last)))
}

fn services<'a>(all: &'a [Service], look: &Look) -> Vec<&'a Service> {
    sorted(all.iter().filter(|service| fits(look, &[&service.name, &service.vip])), SERVICES, look)
}

fn endpoints<'a>(all: &'a [Endpoint], look: &Look) -> Vec<&'a Endpoint> {
    let fits = |endpoint: &&Endpoint| fits(look, &[&endpoint.is.name, &endpoint.is.address, &endpoint.is.state]);
    sorted(all.iter().filter(fits), ENDPOINTS, look)
}

fn drops<'a>(all: &'a [Drop], look: &Look) -> Vec<&'a Drop> {
    sorted(all.iter().filter(|drop| fits(look, &[&drop.reason])), DROPS, look)
}

fn events<'a>(shown: &'a Shown, look: &Look) -> Vec<&'a Happened> {
    let mut all: Vec<_> = shown.events.iter().filter(|event| fits(look, &[&event.kind, &event.text])).collect();
    if look.is_reversed {
        all.reverse();
    }
    all
}
