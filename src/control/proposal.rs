//! What a syncer asks for: the set that would be in force, and which of its services it names.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use crate::document::{Collector, Node, Problem, Problems, Tree};
use crate::endpoint_set::{check_limits, claims_of, read_revision, read_services};
use crate::model::{EndpointSet, MOST_SERVICES, Revision, Service};

/// A set that may come into force.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The syncer's whole set, in the order of names.
    pub set: EndpointSet,
    /// Of it, the services that the syncer names, in the order of its document; all others are as they were.
    pub named: Vec<Arc<Service>>,
    /// What makes it of the set before; none: it is whole.
    pub patch: Option<Patch>,
    /// The name of the list of named services in the document.
    list: &'static str,
    /// Their places in it, by name; made when the first is asked for.
    places: OnceCell<HashMap<String, usize>>,
}

fn by_name(a: &Arc<Service>, b: &Arc<Service>) -> Ordering {
    a.name.cmp(&b.name)
}

impl Proposal {
    /// A whole set.
    pub fn whole(mut set: EndpointSet) -> Self {
        let named = set.services.clone();
        set.services.sort_by(by_name);
        Self { set, named, patch: None, list: "services", places: OnceCell::new() }
    }

    /// A problem of a service that the syncer names.
    pub fn problem(&self, service: &Service, key: &str, reason: String) -> Problem {
        let places = || self.named.iter().map(|named| named.name.clone()).zip(0..).collect();
        let index = self.places.get_or_init(places).get(&service.name).copied().unwrap_or_default();
        Problem::at(&format!("{}[{index}].{key}", self.list), &reason)
    }

    /// The VIPs that the syncer names and did not have in `before`.
    pub fn new_vips(&self, before: &EndpointSet) -> HashSet<IpNet> {
        let mut vips: HashSet<IpNet> = self.named.iter().map(|service| service.vip).collect();
        before.services.iter().for_each(|service| _ = vips.remove(&service.vip));
        vips
    }
}

/// What `patch` asks for: services to put in, by name in the place of others, and services to take out.
#[derive(Clone, Debug, Serialize)]
pub struct Patch {
    /// The revision that it is meant for.
    pub base: Revision,
    revision: Revision,
    upsert: Vec<Arc<Service>>,
    remove: Vec<String>,
}

impl Patch {
    /// The names of the services that it names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.upsert.iter().map(|service| &service.name).chain(&self.remove)
    }

    /// Reads it from a JSON tree: `{base, revision, upsert, remove}`.
    pub fn read(tree: &Tree<'_>) -> Result<Self, Problems> {
        let collector = Collector::default();
        let patch = read_patch(&Node::root(tree, &collector));
        collector.finish(patch)
    }

    /// The set that comes of it.
    pub fn of(self, current: &EndpointSet) -> Result<Proposal, Problems> {
        let mut problems = Vec::new();
        let position = |name: &str| current.services.binary_search_by(|service| service.name.as_str().cmp(name));
        let replaced: HashSet<&str> = self.upsert.iter().map(|service| service.name.as_str()).collect();
        let mut leaving: BTreeSet<usize> = replaced.iter().filter_map(|name| position(name).ok()).collect();
        for (index, name) in self.remove.iter().enumerate() {
            let mut refuse = |reason: String| problems.push(Problem::at(&format!("remove[{index}]"), &reason));
            match position(name) {
                Err(_) => refuse(format!("there is no service \"{name}\"")),
                Ok(_) if replaced.contains(name.as_str()) => refuse(format!("\"{name}\" is in upsert, too")),
                Ok(place) if !leaving.insert(place) => refuse(format!("\"{name}\" is there twice")),
                Ok(_) => {}
            }
        }
        let numbered = current.services.iter().enumerate();
        let staying = numbered.filter(|(place, _)| !leaving.contains(place)).map(|(_, service)| service.clone());
        let mut services: Vec<Arc<Service>> = staying.collect();
        problems.extend(conflicts(&self.upsert, &services));
        services.extend(self.upsert.iter().cloned());
        services.sort_by(by_name);
        problems.extend(check_limits(&services).err().map(|reason| Problem::at("upsert", &reason)));
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let set = EndpointSet { revision: self.revision.clone(), services };
        Ok(Proposal { set, named: self.upsert.clone(), patch: Some(self), list: "upsert", places: OnceCell::new() })
    }
}

fn read_patch(root: &Node<'_>) -> Option<Patch> {
    let table = root.table(&["base", "revision", "upsert", "remove"])?;
    let base = table.require("base").and_then(|node| node.text().map(str::to_owned));
    let revision = read_revision(&table);
    let upsert = table.get("upsert").map_or(Some(Vec::new()), |node| read_services(&node));
    let names = |node: Node<'_>| {
        node.list(MOST_SERVICES, "services")?.iter().map(|name| name.text().map(str::to_owned)).collect()
    };
    let remove = table.get("remove").map_or(Some(Vec::new()), names);
    Some(Patch { base: Revision(base?), revision: revision?, upsert: upsert?, remove: remove? })
}

/// Services that match the same packets as others that stay.
fn conflicts(upsert: &[Arc<Service>], staying: &[Arc<Service>]) -> Vec<Problem> {
    let claims: HashMap<_, usize> = upsert
        .iter()
        .zip(0..)
        .flat_map(|(service, index)| claims_of(service).into_iter().map(move |c| (c, index)))
        .collect();
    let vips: HashSet<IpNet> = upsert.iter().map(|service| service.vip).collect();
    let meeting = staying.iter().filter(|service| vips.contains(&service.vip)).filter_map(|other| {
        let index = *claims_of(other).iter().find_map(|claim| claims.get(claim))?;
        let reason = format!("\"{}\" matches the same packets as \"{}\"", upsert[index].name, other.name);
        Some(Problem::at(&format!("upsert[{index}].vip"), &reason))
    });
    meeting.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::endpoint_set;

    fn current() -> EndpointSet {
        let service = |name: &str, vip: &str| json!({ "name": name, "vip": vip, "protocol": "tcp", "ports": [80] });
        let set = json!({ "revision": "r1", "services": [service("a", "203.0.113.1"), service("c", "203.0.113.3")] });
        endpoint_set::read(&set.into()).expect("valid")
    }

    fn patched(patch: Value) -> Result<Proposal, String> {
        let said = |problems: Problems| problems.to_string();
        Patch::read(&patch.into()).map_err(said)?.of(&current()).map_err(said)
    }

    #[test]
    fn services_come_go_and_are_replaced() {
        let upsert = json!([{ "name": "b", "vip": "203.0.113.2" }, { "name": "a", "vip": "203.0.113.9" }]);
        let proposal = patched(json!({ "base": "r1", "revision": "r2", "upsert": upsert, "remove": ["c"] }));
        let proposal = proposal.expect("valid");
        assert_eq!(proposal.set.revision, Revision("r2".to_owned()));
        let services: Vec<String> = proposal.set.services.iter().map(|s| format!("{} {}", s.name, s.vip)).collect();
        assert_eq!(services, ["a 203.0.113.9/32", "b 203.0.113.2/32"]);
        let b = proposal.set.services[1].clone();
        assert_eq!(proposal.problem(&b, "vip", String::new()).path, "upsert[0].vip", "as the syncer wrote it");
        assert_eq!(proposal.new_vips(&current()).len(), 2);
    }

    #[test]
    fn a_patch_frees_what_its_own_services_need() {
        let same = json!({ "name": "d", "vip": "203.0.113.3", "protocol": "tcp", "ports": ["1-100", 80] });
        let clash = patched(json!({ "base": "r1", "upsert": [same.clone()] }));
        assert!(clash.is_err_and(|said| said.starts_with("upsert[0]")));
        let moved = json!({ "name": "d", "vip": "203.0.113.3", "protocol": "tcp", "ports": [80] });
        let clash = patched(json!({ "base": "r1", "upsert": [moved] })).err();
        assert_eq!(clash.as_deref(), Some("upsert[0].vip: \"d\" matches the same packets as \"c\""));
        assert!(patched(json!({ "base": "r1", "upsert": [moved], "remove": ["c"] })).is_ok());
        let swapped = json!({ "name": "c", "vip": "203.0.113.4" });
        assert!(patched(json!({ "base": "r1", "upsert": [moved, swapped] })).is_ok());
    }

    #[test]
    fn what_a_patch_has_wrong_is_named() {
        for (patch, expected) in [
            (json!({ "base": "r1", "remove": ["x"] }), "remove[0]: there is no service \"x\""),
            (json!({ "base": "r1", "remove": ["\u{7f}"] }), "remove[0]: there is no service \"\\u{7f}\""),
            (
                json!({ "base": "r1", "remove": ["a"], "upsert": [{ "name": "a", "vip": "203.0.113.1" }] }),
                "remove[0]: \"a\" is in upsert, too",
            ),
            (json!({ "base": "r1", "remove": ["a", "a"] }), "remove[1]: \"a\" is there twice"),
            (json!({ "upsert": [] }), "base: missing"),
            (json!({ "base": 1 }), "base: 1 is not a string"),
            (json!({ "base": "r1", "upsert": [{ "name": "a" }] }), "upsert[0].vip: missing"),
            (json!({ "base": "r1", "services": [] }), "services: unknown key"),
        ] {
            let said = patched(patch).err().unwrap_or_default();
            assert!(said.starts_with(expected), "{said}\n expected {expected}");
        }
    }
}
