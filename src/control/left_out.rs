//! Which services of a set that was in force do not go with the config, or the node, of today. They are left out, and
//! remembered; all others are forwarded as ever.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::reach::{Surroundings, Vips};
use super::set::{Claimed, not_allowed};
use crate::config::Config;
use crate::model::{EndpointSet, Service};

/// A service of the syncer's that is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub service: String,
    /// What it conflicts with.
    pub reason: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not in force: {}", self.service, self.reason)
    }
}

/// What becomes of a set that was in force before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted {
    /// The config's services, and those of the set that go with them, in the order of names.
    pub joined: EndpointSet,
    /// The others, in the order of the set.
    pub left_out: Vec<LeftOut>,
}

/// Joins the services of a config with those of a set that was in force, as far as they go together. Of two that do not, the
/// config's stays: whoever runs the node has written it.
pub fn part(config: &Config, set: &EndpointSet, surroundings: &Surroundings) -> Parted {
    let conflicts = Conflicts::of(config, set, surroundings);
    let mut left_out = Vec::new();
    let mut services: Vec<Arc<Service>> = config.services.clone();
    for service in &set.services {
        match conflicts.reason(service) {
            None => services.push(service.clone()),
            Some(reason) => left_out.push(LeftOut { service: service.name.clone(), reason }),
        }
    }
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Parted { joined: EndpointSet { revision: set.revision.clone(), services }, left_out }
}

struct Conflicts<'a> {
    config: &'a Config,
    surroundings: &'a Surroundings,
    claimed: Claimed<'a>,
    vips: Vips,
    /// Endpoints of the config that are at a VIP, with the names of their services.
    taken: Vec<(IpAddr, &'a str)>,
}

impl<'a> Conflicts<'a> {
    fn of(config: &'a Config, set: &EndpointSet, surroundings: &'a Surroundings) -> Self {
        let pushed = Vips::of(set.services.iter().map(|service| service.vip));
        let own = config.services.iter();
        let endpoints = own.flat_map(|own| own.endpoints.iter().map(move |e| (e.address, own.name.as_str())));
        Self {
            config,
            surroundings,
            claimed: Claimed::of(config),
            vips: Vips::of(config.services.iter().chain(&set.services).map(|service| service.vip)),
            taken: endpoints.filter(|(address, _)| pushed.hold(*address)).collect(),
        }
    }

    /// Why a service cannot be in force, if it cannot.
    fn reason(&self, service: &Service) -> Option<String> {
        let mut first = None;
        let mut refuse = |_: &str, reason: String| _ = first.get_or_insert(reason);
        if let Some(reason) = not_allowed(self.config, service) {
            refuse("vip", reason);
        }
        self.claimed.check(service, &mut refuse);
        if let Some((address, own)) = self.taken.iter().find(|(address, _)| service.vip.contains(address)) {
            refuse("vip", format!("{} holds {address}, where an endpoint of \"{own}\" of the config is", service.vip));
        }
        self.surroundings.check(service, &self.vips, &mut refuse);
        first
    }
}

/// The set without the services that are left out.
pub fn without(mut set: EndpointSet, left_out: &[LeftOut]) -> EndpointSet {
    if !left_out.is_empty() {
        let names: HashSet<&str> = left_out.iter().map(|left| left.service.as_str()).collect();
        set.services.retain(|service| !names.contains(service.name.as_str()));
    }
    set
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::forward::encap::{Source, Sources};
    use crate::{config, endpoint_set};

    fn parted(own: &str, services: &str) -> (Vec<String>, Vec<String>) {
        let config = format!(
            "[interface]\nname = \"eth0\"\n[control]\nvip_allow = [\"203.0.113.0/24\", \"2001:db8::/32\"]\n{own}"
        );
        let config = config::parse(&config).expect("valid");
        let set = endpoint_set::parse(&format!(r#"{{"services":[{services}]}}"#)).expect("valid");
        let v6 = Source { address: "2001:db8:51b::1".parse().expect("v6"), entropy: std::net::Ipv6Addr::UNSPECIFIED };
        let sources = Sources { v4: None, v6: Some(v6) };
        let surroundings = Surroundings { sources, addresses: BTreeSet::new(), configured_mtu: None };
        let Parted { joined, left_out } = part(&config, &set, &surroundings);
        (
            joined.services.iter().map(|service| service.name.clone()).collect(),
            left_out.iter().map(ToString::to_string).collect(),
        )
    }

    fn service(name: &str, vip: &str, endpoint: &str) -> String {
        format!(r#"{{"name":"{name}","vip":"{vip}","endpoints":[{{"name":"e","address":"{endpoint}"}}]}}"#)
    }

    #[test]
    fn only_what_conflicts_is_left_out_and_each_is_named() {
        let well = service("well", "203.0.113.1", "2001:db8:10::a");
        let own = "[[service]]\nname = \"own\"\nvip = \"203.0.113.53\"\n\
            endpoints = [{ name = \"o\", address = \"2001:db8:9::9\" }]\n";
        for (other, said) in [
            (
                service("own", "203.0.113.2", "2001:db8:10::b"),
                "\"own\" is not in force: \"own\" is a service of the config",
            ),
            (service("x", "203.0.113.53", "2001:db8:10::b"), "\"x\" matches the same packets as \"own\" of the config"),
            (service("x", "198.51.100.1", "2001:db8:10::b"), "198.51.100.1 is not within control.vip_allow"),
            (service("x", "203.0.113.2", "203.0.113.53"), "\"e\" is at 203.0.113.53, which is a VIP"),
            (service("x", "203.0.113.2", "2001:db8:51b::1"), "\"e\" is at 2001:db8:51b::1, which is this node itself"),
            (service("x", "2001:db8:51b::/64", "2001:db8:10::b"), "holds 2001:db8:51b::1, from which this node sends"),
            (service("x", "2001:db8:9::/64", "2001:db8:10::b"), "where an endpoint of \"own\" of the config is"),
        ] {
            let (in_force, left_out) = parted(own, &format!("{well},{other}"));
            assert_eq!(in_force, ["own", "well"], "{other}");
            assert!(left_out.len() == 1 && left_out[0].contains(said), "{left_out:?}\n{said}");
        }
        assert_eq!(parted(own, &well), (vec!["own".to_owned(), "well".to_owned()], Vec::new()));
    }
}
