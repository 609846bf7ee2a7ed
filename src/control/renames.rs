//! Services and endpoints that have only got another name: a connection is at an address, whatever that is called.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::endpoint_set::claims_of;
use crate::model::{Endpoint, Service};
use crate::vip_map::Claim;

/// A service under the names that it and its endpoints have now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// As it was but for the names; its endpoints are in the order of before.
    pub service: Service,
    /// The endpoints that have another name, by the one that they had.
    pub endpoints: HashMap<String, String>,
}

/// What of a service has another name in its next version; none where nothing has.
///
/// An endpoint follows its address: where that has another name now, so has the endpoint. One whose address is gone keeps its
/// name, unless another has got it.
pub fn between(old: &Service, new: &Service) -> Option<Renamed> {
    let endpoints = endpoints(old, new);
    if old.name == new.name && endpoints.is_empty() {
        return None;
    }
    let mut service = Service { name: new.name.clone(), ..old.clone() };
    for endpoint in &mut service.endpoints {
        if let Some(name) = endpoints.get(&endpoint.name) {
            endpoint.name.clone_from(name);
        }
    }
    Some(Renamed { service, endpoints })
}

/// How many endpoints of a service are at the addresses of before under other names.
pub fn count(old: &Service, new: &Service) -> usize {
    pairs(old, new).len()
}

fn named<'a>(service: &'a Service, name: &str) -> Option<&'a Endpoint> {
    let place = service.endpoints.binary_search_by(|endpoint| endpoint.name.as_str().cmp(name)).ok()?;
    service.endpoints.get(place)
}

/// The endpoints of one version that are not in the other by this name at this address.
fn others<'a>(service: &'a Service, other: &Service) -> Vec<&'a Endpoint> {
    let is_other = |endpoint: &&Endpoint| named(other, &endpoint.name).is_none_or(|e| e.address != endpoint.address);
    service.endpoints.iter().filter(is_other).collect()
}

/// The names of before and of now of endpoints that are at the same addresses. Several at one address are taken in order.
fn pairs<'a>(old: &'a Service, new: &'a Service) -> Vec<(&'a str, &'a str)> {
    let (before, now) = (others(old, new), others(new, old));
    if before.is_empty() || now.is_empty() {
        return Vec::new();
    }
    let mut by_address: BTreeMap<IpAddr, VecDeque<&str>> = BTreeMap::new();
    now.iter().for_each(|endpoint| by_address.entry(endpoint.address).or_default().push_back(&endpoint.name));
    let mut next = |endpoint: &Endpoint| by_address.get_mut(&endpoint.address)?.pop_front();
    before.into_iter().filter_map(|endpoint| Some((endpoint.name.as_str(), next(endpoint)?))).collect()
}

fn endpoints(old: &Service, new: &Service) -> HashMap<String, String> {
    let pairs = pairs(old, new);
    let mut names: HashMap<String, String> =
        pairs.iter().map(|(before, now)| ((*before).to_owned(), (*now).to_owned())).collect();
    let taken: HashSet<&str> = pairs.iter().map(|(_, now)| *now).collect();
    for gone in old.endpoints.iter().filter(|endpoint| taken.contains(endpoint.name.as_str())) {
        // Its name is another's now, and its address is nobody's.
        if !names.contains_key(&gone.name) {
            let mut name = format!("{} at {}", gone.name, gone.address);
            while named(old, &name).or(named(new, &name)).is_some() {
                name.push('\'');
            }
            names.insert(gone.name.clone(), name);
        }
    }
    names
}

/// Services that are gone by their names, and whose packets another takes that has come.
#[derive(Debug, Default)]
pub struct Services {
    /// The name of before, by that of now.
    by_name: HashMap<String, String>,
    before: HashSet<String>,
}

impl Services {
    /// Whether a service that was there has another name now.
    pub fn has_another_name(&self, name: &str) -> bool {
        self.before.contains(name)
    }

    /// The name that a service had before.
    pub fn of(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }

    /// The same, asked for the last time.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.by_name.remove(name)
    }
}

/// The services that have another name than before; both lists are in the order of names. Services that are shared cost a look.
pub fn services<'a>(
    before: impl Iterator<Item = &'a Arc<Service>>,
    after: impl Iterator<Item = &'a Arc<Service>>,
) -> Services {
    let (gone, come) = one_sided(before, after);
    if gone.is_empty() || come.is_empty() {
        return Services::default();
    }
    let claims: HashMap<Claim, &Service> =
        gone.into_iter().flat_map(|old| claims_of(old).into_iter().map(move |claim| (claim, old))).collect();
    let mut found = Services::default();
    for new in come {
        let old = claims_of(new).first().and_then(|claim| claims.get(claim).copied());
        if let Some(old) = old.filter(|old| old.matches_as(new)) {
            found.before.insert(old.name.clone());
            found.by_name.insert(new.name.clone(), old.name.clone());
        }
    }
    found
}

/// Those of the first list, and of the second, whose names are not in the other.
fn one_sided<'a>(
    before: impl Iterator<Item = &'a Arc<Service>>,
    after: impl Iterator<Item = &'a Arc<Service>>,
) -> (Vec<&'a Service>, Vec<&'a Service>) {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => Ordering::Equal,
            (Some(old), Some(new)) => old.name.cmp(&new.name),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return (gone, come),
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        gone.extend(old.filter(|_| order.is_lt()).map(|old| &**old));
        come.extend(new.filter(|_| order.is_gt()).map(|new| &**new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint_set;

    fn service(name: &str, endpoints: &[(&str, u8)]) -> Service {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(name, host)| serde_json::json!({ "name": name, "address": format!("192.0.2.{host}") }))
            .collect();
        let set = serde_json::json!({ "services": [{ "name": name, "vip": "203.0.113.1", "endpoints": endpoints }] });
        (*endpoint_set::read(&set.into()).expect("valid").services[0]).clone()
    }

    /// The names that the endpoints of before have, in their order, and how many are said to be renamed.
    fn renamed(old: &[(&str, u8)], new: &[(&str, u8)]) -> (String, usize) {
        let (old, new) = (service("s", old), service("s", new));
        let service = between(&old, &new).map_or(old.clone(), |renamed| renamed.service);
        let names: Vec<String> = service.endpoints.into_iter().map(|endpoint| endpoint.name).collect();
        (names.join(", "), count(&old, &new))
    }

    #[test]
    fn endpoints_follow_their_addresses() {
        let old = [("a", 1), ("b", 2), ("c", 3)];
        for (new, names, count) in [
            (&[("x", 3), ("y", 2), ("z", 1)][..], "z, y, x", 3),
            (&[("b", 1), ("c", 2), ("d", 3)], "b, c, d", 3),
            (&[("b", 1), ("a", 2), ("c", 3)], "b, a, c", 2),
            (&[("a", 1), ("y", 2), ("d", 4)], "a, y, c", 1),
            // An address that is gone, and names that stay.
            (&[("a", 9), ("b", 2), ("c", 3)], "a, b, c", 0),
            (&[("b", 2), ("c", 3), ("d", 4)], "a, b, c", 0),
            (&[("b", 2)], "a, b, c", 0),
            // Numbered by their places: the first has gone, and the others have moved up.
            (&[("a", 2), ("b", 3)], "a at 192.0.2.1, a, b", 2),
        ] {
            assert_eq!(renamed(&old, new), (names.to_owned(), count), "{new:?}");
        }
        assert_eq!(renamed(&[("a", 1), ("b", 1)], &[("c", 1), ("d", 1)]), ("c, d".to_owned(), 2), "two at one address");
        assert_eq!(renamed(&[("a", 1), ("b", 1)], &[("b", 1)]), ("a, b".to_owned(), 0));
    }

    #[test]
    fn a_service_follows_its_match() {
        let (old, new) = (Arc::new(service("old", &[("a", 1)])), Arc::new(service("new", &[("a", 1)])));
        let mut found = services([&old].into_iter(), [&new].into_iter());
        assert!(found.has_another_name("old") && !found.has_another_name("new"));
        assert_eq!((found.of("new"), found.of("old")), (Some("old"), None));
        assert_eq!((found.take("new"), found.take("new")), (Some("old".to_owned()), None));
        assert!(
            services([&old].into_iter(), [&new, &old].into_iter()).by_name.is_empty(),
            "the old one is still there"
        );
        assert!(services([&old].into_iter(), [].into_iter()).by_name.is_empty());
    }
}
