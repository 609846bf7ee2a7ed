//! Joins the services of the config with those of a syncer.

use crate::config::Config;
use crate::document::{Problem, Problems};
use crate::endpoint_set::claims_of;
use crate::model::{EndpointSet, Service, VipText};
use std::collections::HashMap;

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

fn problem(index: usize, key: &str, reason: String) -> Problem {
    Problem { path: format!("services[{index}].{key}"), line: None, reason }
}

/// The syncer's set with the config's services beside its own, in the order of names.
pub fn join(config: &Config, set: &EndpointSet) -> Result<EndpointSet, Refusal> {
    let names: HashMap<&str, &Service> = config.services.iter().map(|own| (own.name.as_str(), own)).collect();
    let claims: HashMap<_, &str> = config
        .services
        .iter()
        .flat_map(|own| claims_of(own).into_iter().map(|claim| (claim, own.name.as_str())))
        .collect();
    let mut problems = Vec::new();
    for (index, service) in set.services.iter().enumerate() {
        if names.contains_key(service.name.as_str()) {
            let reason = format!("\"{}\" is a service of the config", service.name);
            problems.push(problem(index, "name", reason));
        }
        if let Some(owner) = claims_of(service).iter().find_map(|claim| claims.get(claim)) {
            let reason = format!("\"{}\" matches the same packets as \"{owner}\" of the config", service.name);
            problems.push(problem(index, "vip", reason));
        }
    }
    if !problems.is_empty() {
        return Err(Refusal::OwnedByConfig(Problems(problems)));
    }
    let mut services: Vec<Service> = config.services.iter().chain(&set.services).cloned().collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(EndpointSet { revision: set.revision.clone(), services })
}

/// Refuses VIPs outside `control.vip_allow`.
pub fn check_vips(config: &Config, set: &EndpointSet) -> Result<(), Refusal> {
    let Some(allowed) = &config.control.vip_allow else { return Ok(()) };
    let outside = |service: &Service| !allowed.iter().any(|prefix| prefix.contains(&service.vip));
    let services = set.services.iter().enumerate().filter(|(_, service)| outside(service));
    let problems = services.map(|(index, service)| {
        problem(index, "vip", format!("{} is not within control.vip_allow of this node", VipText(&service.vip)))
    });
    let problems: Vec<Problem> = problems.collect();
    if problems.is_empty() { Ok(()) } else { Err(Refusal::VipNotAllowed(Problems(problems))) }
}

/// Refuses a set that takes a service from some endpoints to none.
pub fn check_emptied(before: &EndpointSet, set: &EndpointSet) -> Result<(), Refusal> {
    let had: HashMap<&str, usize> =
        before.services.iter().map(|service| (service.name.as_str(), service.endpoints.len())).collect();
    let emptied = |service: &Service| {
        service.endpoints.is_empty() && had.get(service.name.as_str()).is_some_and(|count| *count > 0)
    };
    match set.services.iter().position(emptied) {
        None => Ok(()),
        Some(index) => {
            let name = &set.services[index].name;
            let reason =
                format!("\"{name}\" would lose all {} endpoints; allow_empty: true permits it", had[name.as_str()]);
            Err(Refusal::WouldEmpty(Problems(vec![problem(index, "endpoints", reason)])))
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

    fn parts(services: &str) -> (Config, EndpointSet) {
        let config = "[interface]\nname = \"eth0\"\n[control]\nvip_allow = [\"203.0.113.0/24\"]\n\
            [[service]]\nname = \"dns\"\nvip = \"203.0.113.53\"\nprotocol = \"udp\"\n";
        let set = format!(r#"{{"revision":"r","services":[{services}]}}"#);
        (config::parse(config).expect("valid"), endpoint_set::parse(&set).expect("valid"))
    }

    #[test]
    fn the_config_keeps_what_is_its_own() {
        let (config, set) = parts(r#"{"name":"web","vip":"203.0.113.53","protocol":"tcp"}"#);
        let names = join(&config, &set).map(|set| set.services.into_iter().map(|s| s.name).collect::<Vec<_>>());
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
        assert!(matches!(check_emptied(&full, &empty), Err(Refusal::WouldEmpty(_))));
        assert_eq!(check_emptied(&empty, &full), Ok(()));
        assert_eq!(check_emptied(&empty, &empty), Ok(()));
        let (_, none) = parts("");
        assert_eq!(check_emptied(&full, &none), Ok(()), "a service that goes is not emptied");
    }
}
