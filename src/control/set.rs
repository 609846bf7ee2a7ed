//! Joins the services of the config with those of a syncer.

use super::proposal::Proposal;
use crate::config::Config;
use crate::document::{Problem, Problems};
use crate::endpoint_set::claims_of;
use crate::model::{EndpointSet, Service, VipText};
use crate::vip_map::Claim;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Why a valid set is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A service would lose its last endpoint.
    WouldEmpty(Problems),
    /// A VIP is not within `control.vip_allow`.
    VipNotAllowed(Problems),
    /// A service of the config has this name or matches the same packets.
    OwnedByConfig(Problems),
    /// Packets cannot get where the set sends them.
    InvalidSet(Problems),
}

/// What the services of the config have claimed.
pub(super) struct Claimed<'a> {
    names: HashSet<&'a str>,
    claims: HashMap<Claim, &'a str>,
}

impl<'a> Claimed<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        let claims = config.services.iter();
        let claims = claims.flat_map(|own| claims_of(own).into_iter().map(|claim| (claim, own.name.as_str())));
        Self { names: config.services.iter().map(|own| own.name.as_str()).collect(), claims: claims.collect() }
    }

    /// Refuses what a service has in common with one of the config's, by key and reason.
    pub(super) fn check(&self, service: &Service, refuse: &mut impl FnMut(&str, String)) {
        if self.names.contains(service.name.as_str()) {
            refuse("name", format!("\"{}\" is a service of the config", service.name));
        }
        if let Some(owner) = claims_of(service).iter().find_map(|claim| self.claims.get(claim)) {
            refuse("vip", format!("\"{}\" matches the same packets as \"{owner}\" of the config", service.name));
        }
    }
}

/// Why the VIP of a service is not one that a syncer may claim, if it is not.
pub(super) fn not_allowed(config: &Config, service: &Service) -> Option<String> {
    let allowed = config.control.vip_allow.as_ref()?;
    let is_outside = !allowed.iter().any(|prefix| prefix.contains(&service.vip));
    is_outside.then(|| format!("{} is not within control.vip_allow of this node", VipText(&service.vip)))
}

/// The syncer's set with the config's services beside its own, in the order of names.
pub fn join(config: &Config, proposal: &Proposal) -> Result<EndpointSet, Refusal> {
    let claimed = Claimed::of(config);
    let mut problems = Vec::new();
    for service in &proposal.named {
        claimed.check(service, &mut |key, reason| problems.push(proposal.problem(service, key, reason)));
    }
    if !problems.is_empty() {
        return Err(Refusal::OwnedByConfig(Problems(problems)));
    }
    let set = &proposal.set;
    let mut services: Vec<Arc<Service>> = config.services.iter().chain(&set.services).cloned().collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(EndpointSet { revision: set.revision.clone(), services })
}

/// Refuses VIPs outside `control.vip_allow`.
pub fn check_vips(config: &Config, proposal: &Proposal) -> Result<(), Refusal> {
    let refusal =
        |service: &Arc<Service>| not_allowed(config, service).map(|reason| proposal.problem(service, "vip", reason));
    let problems: Vec<Problem> = proposal.named.iter().filter_map(refusal).collect();
    if problems.is_empty() { Ok(()) } else { Err(Refusal::VipNotAllowed(Problems(problems))) }
}

/// Refuses a change that takes a service from some endpoints to none.
pub fn check_emptied(before: &EndpointSet, proposal: &Proposal) -> Result<(), Refusal> {
    let had = |service: &Service| {
        let place = before.services.binary_search_by(|old| old.name.cmp(&service.name)).ok()?;
        Some(before.services[place].endpoints.len()).filter(|count| *count > 0)
    };
    let empty = proposal.named.iter().filter(|service| service.endpoints.is_empty());
    let mut emptied = empty.filter_map(|service| Some((service, had(service)?)));
    match emptied.next() {
        None => Ok(()),
        Some((service, count)) => {
            let reason = format!("\"{}\" would lose all {count} endpoints; allow_empty: true permits it", service.name);
            Err(Refusal::WouldEmpty(Problems(vec![proposal.problem(service, "endpoints", reason)])))
        }
    }
}

/// A refusal as problems, for commands that print them.
impl From<Refusal> for Problems {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WouldEmpty(problems)
            | Refusal::VipNotAllowed(problems)
            | Refusal::OwnedByConfig(problems)
            | Refusal::InvalidSet(problems) => problems,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, endpoint_set};

    fn parts(services: &str) -> (Config, Proposal) {
        let config = "[interface]\nname = \"eth0\"\n[control]\nvip_allow = [\"203.0.113.0/24\"]\n\
            [[service]]\nname = \"dns\"\nvip = \"203.0.113.53\"\nprotocol = \"udp\"\n";
        let set = format!(r#"{{"revision":"r","services":[{services}]}}"#);
        (config::parse(config).expect("valid"), Proposal::whole(endpoint_set::parse(&set).expect("valid")))
    }

    #[test]
    fn the_config_keeps_what_is_its_own() {
        let (config, set) = parts(r#"{"name":"web","vip":"203.0.113.53","protocol":"tcp"}"#);
        let names = join(&config, &set).map(|set| set.services.into_iter().map(|s| s.name.clone()).collect::<Vec<_>>());
        assert_eq!(names, Ok(vec!["dns".to_owned(), "web".to_owned()]));
        let (config, set) = parts(r#"{"name":"dns","vip":"203.0.113.1"}"#);
        assert!(matches!(join(&config, &set), Err(Refusal::OwnedByConfig(p)) if p.0[0].path == "services[0].name"));
        let (config, set) = parts(r#"{"name":"x","vip":"203.0.113.53","protocol":"udp"}"#);
        assert!(matches!(join(&config, &set), Err(Refusal::OwnedByConfig(p)) if p.0[0].path == "services[0].vip"));
    }

    #[test]
    fn a_syncer_claims_only_what_it_may() {
        let (config, set) = parts(r#"{"name":"a","vip":"203.0.113.1"},{"name":"b","vip":"203.0.112.0/23"}"#);
        assert!(
            matches!(check_vips(&config, &set), Err(Refusal::VipNotAllowed(p)) if p.0[0].path == "services[1].vip")
        );
    }

    #[test]
    fn no_service_loses_all_endpoints_by_accident() {
        let (_, full) = parts(r#"{"name":"a","vip":"203.0.113.1","endpoints":[{"name":"e","address":"192.0.2.1"}]}"#);
        let (_, empty) = parts(r#"{"name":"a","vip":"203.0.113.1"}"#);
        assert!(matches!(check_emptied(&full.set, &empty), Err(Refusal::WouldEmpty(_))));
        assert_eq!(check_emptied(&empty.set, &full), Ok(()));
        assert_eq!(check_emptied(&empty.set, &empty), Ok(()));
        let (_, none) = parts("");
        assert_eq!(check_emptied(&full.set, &none), Ok(()), "a service that goes is not emptied");
    }
}
