//! Whether a set's packets can get where it sends them: not round in circles, and not too big to arrive.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::limits::Lack;
use super::proposal::Proposal;
use super::set::Refusal;
use crate::config::Config;
use crate::document::{Problem, Problems};
use crate::forward::encap::Sources;
use crate::model::{Endpoint, EndpointSet, Service};

/// What is known of the node for this.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Its addresses in outer headers.
    pub sources: Sources,
    /// The addresses that its interfaces have.
    pub addresses: BTreeSet<IpAddr>,
    /// The largest IP packet that the underlay carries, in bytes, where the config says so (`underlay.mtu`). That of an
    /// interface can change at any time, and is no reason to refuse anything.
    pub configured_mtu: Option<u32>,
}

/// Refuses endpoints that are a VIP, or the node itself: what is sent to them comes back (RFC 2473 section 4.1.2). Refuses
/// VIPs that the node's own packets come from. Refuses services that come anew where `underlay.mtu` leaves their tunnels less
/// than the smallest MTU of the VIP's family (RFC 791, RFC 7676 section 5.1); those that were in force are not lost by a
/// change of it. `joined` is what is to be in force of the proposal, and `before` what was.
pub fn check(
    config: &Config,
    proposal: &Proposal,
    joined: &EndpointSet,
    before: &EndpointSet,
    surroundings: &Surroundings,
) -> Result<(), Refusal> {
    let vips = Vips::of(joined.services.iter().map(|service| service.vip));
    let mut problems = Vec::new();
    for service in &proposal.named {
        let mut refuse = |key: &str, reason| problems.push(proposal.problem(service, key, reason));
        surroundings.check(service, &vips, &mut refuse);
        if !was_carried(service, before) {
            surroundings.check_room(service, &mut refuse);
        }
    }
    for (index, service) in config.services.iter().enumerate() {
        let mut refuse =
            |key: &str, reason: String| problems.push(Problem::at(&format!("service[{index}].{key}"), &reason));
        surroundings.check(service, &vips, &mut refuse);
        surroundings.check_room(service, &mut refuse);
    }
    problems.extend(taken_endpoints(proposal, joined, before));
    if problems.is_empty() { Ok(()) } else { Err(Refusal::InvalidSet(Problems(problems))) }
}

/// The new VIPs that are an endpoint of a service which the proposal does not name, and which has none of these problems
/// otherwise.
fn taken_endpoints(proposal: &Proposal, joined: &EndpointSet, before: &EndpointSet) -> Vec<Problem> {
    let new = proposal.new_vips(before);
    if new.is_empty() || proposal.named.len() == proposal.set.services.len() {
        return Vec::new();
    }
    let vips = Vips::of(new.into_iter());
    let named: HashSet<&str> = proposal.named.iter().map(|service| service.name.as_str()).collect();
    let others = joined.services.iter().filter(|service| !named.contains(service.name.as_str()));
    let endpoints = others.flat_map(|service| service.endpoints.iter().map(move |endpoint| (service, endpoint)));
    let taken = endpoints.filter(|(_, endpoint)| vips.hold(endpoint.address)).filter_map(|(other, endpoint)| {
        let service = proposal.named.iter().find(|service| service.vip.contains(&endpoint.address))?;
        let (vip, Endpoint { name, address, .. }) = (service.vip, endpoint);
        let reason =
            format!("{vip} holds {address}, where \"{name}\" of \"{}\" is: packets would come back", other.name);
        Some(proposal.problem(service, "vip", reason))
    });
    taken.collect()
}

/// Whether a service was in force before, with the same headers in front of its packets.
fn was_carried(service: &Service, before: &EndpointSet) -> bool {
    let place = before.services.binary_search_by(|old| old.name.cmp(&service.name));
    place.is_ok_and(|place| {
        let old = &before.services[place];
        (old.vip, old.encap) == (service.vip, service.encap)
    })
}

impl Surroundings {
    /// Refuses what of a service cannot be where these are the VIPs, by key and reason.
    pub(super) fn check(&self, service: &Service, vips: &Vips, refuse: &mut impl FnMut(&str, String)) {
        if let Some(source) = self.source_within(&service.vip) {
            refuse("vip", format!("{} holds {source}, from which this node sends", service.vip));
        }
        for Endpoint { name, address, .. } in &service.endpoints {
            if vips.hold(*address) {
                refuse("endpoints", format!("\"{name}\" is at {address}, which is a VIP: packets would come back"));
            } else if self.is_own(*address) {
                refuse("endpoints", format!("\"{name}\" is at {address}, which is this node itself"));
            }
        }
    }

    /// Refuses a service by the first of its endpoints that the configured MTU leaves too little to.
    fn check_room(&self, service: &Service, refuse: &mut impl FnMut(&str, String)) {
        let Some(mtu) = self.configured_mtu else { return };
        let mut short = service.endpoints.iter().filter_map(|endpoint| {
            let lack = Lack::of(service, endpoint.address, &self.sources, mtu)?;
            Some((endpoint, lack))
        });
        if let Some((Endpoint { name, .. }, lack)) = short.next() {
            let remedy = format!("set underlay.mtu to at least {}, or less in front", lack.needed_mtu());
            refuse("encap", format!("leaves {} of {mtu} bytes to \"{name}\"; {}: {remedy}", lack.room, lack.rule()));
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.sources.hold(address) || self.addresses.contains(&address)
    }

    fn source_within(&self, vip: &IpNet) -> Option<IpAddr> {
        let v4 = self.sources.v4.map(|source| IpAddr::V4(source.address));
        let v6 = self.sources.v6.map(|source| IpAddr::V6(source.address));
        let within = self.sources.hold(vip.network()).then(|| vip.network());
        [v4, v6].into_iter().flatten().find(|source| vip.contains(source)).or(within)
    }
}

/// All VIPs, by the lengths that their prefixes have.
pub(super) struct Vips {
    lengths: BTreeSet<(bool, u8)>,
    prefixes: HashSet<IpNet>,
}

impl Vips {
    pub(super) fn of(vips: impl Iterator<Item = IpNet>) -> Self {
        let prefixes: HashSet<IpNet> = vips.collect();
        let lengths = prefixes.iter().map(|vip| (vip.addr().is_ipv4(), vip.prefix_len())).collect();
        Self { lengths, prefixes }
    }

    pub(super) fn hold(&self, address: IpAddr) -> bool {
        let lengths = self.lengths.iter().filter(|(is_v4, _)| *is_v4 == address.is_ipv4());
        let mut prefixes = lengths.filter_map(|(_, len)| IpNet::new(address, *len).ok());
        prefixes.any(|prefix| self.prefixes.contains(&prefix.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::set::join;
    use crate::forward::encap::Source;
    use crate::{config, endpoint_set};

    fn refusal(services: &str, mtu: u32) -> Option<String> {
        let config = "[interface]\nname = \"eth0\"\n[[service]]\nname = \"own\"\nvip = \"203.0.113.53\"\n";
        let config = config::parse(config).expect("valid");
        let set = format!(r#"{{"revision":"r","services":[{services}]}}"#);
        let proposal = Proposal::whole(endpoint_set::parse(&set).expect("valid"));
        let joined = join(&config, &proposal).expect("no conflict");
        let v6 = Source { address: "2001:db8:51b::".parse().expect("v6"), entropy: 0xffff_ffff_u128.into() };
        let addresses = BTreeSet::from([IpAddr::from([192, 0, 2, 99])]);
        let configured_mtu = Some(mtu);
        let surroundings = Surroundings { sources: Sources { v4: None, v6: Some(v6) }, addresses, configured_mtu };
        check(&config, &proposal, &joined, &EndpointSet::default(), &surroundings).err().map(|refusal| match refusal {
            Refusal::InvalidSet(Problems(all)) => format!("{}: {}", all[0].path, all[0].reason),
            other => panic!("another refusal: {other:?}"),
        })
    }

    fn service(vip: &str, encap: &str, endpoint: &str) -> String {
        let endpoints = format!(r#"[{{"name":"e","address":"{endpoint}"}}]"#);
        format!(r#"{{"name":"{vip}","vip":"{vip}","encap":{encap},"endpoints":{endpoints}}}"#)
    }

    #[test]
    fn no_endpoint_is_a_vip_or_the_node() {
        let to = |endpoint: &str| refusal(&service("203.0.113.0/28", r#"{"type":"gre"}"#, endpoint), 1500);
        assert_eq!(to("192.0.2.1"), None);
        for (endpoint, what) in [
            ("203.0.113.7", "is a VIP"),
            ("203.0.113.53", "is a VIP"),
            ("2001:db8:51b::7:1", "this node itself"),
            ("192.0.2.99", "this node itself"),
        ] {
            let said = to(endpoint).unwrap_or_else(|| panic!("{endpoint} is taken"));
            assert!(said.starts_with("services[0].endpoints: \"e\" is at") && said.contains(what), "{said}");
        }
    }

    #[test]
    fn no_vip_is_what_the_node_sends_from() {
        let said = refusal(&service("2001:db8:51b::/48", r#"{"type":"gre"}"#, "2001:db8::1"), 1500).expect("refused");
        assert!(said.starts_with("services[0].vip: "), "{said}");
        let said = refusal(&service("2001:db8:51b::5", r#"{"type":"gre"}"#, "2001:db8::1"), 1500).expect("refused");
        assert!(said.starts_with("services[0].vip: "), "one of many sources: {said}");
    }

    #[test]
    fn ipv6_tunnels_carry_1280_bytes() {
        let by = |vip: &str, encap: &str, mtu| refusal(&service(vip, encap, "2001:db8::1"), mtu);
        for (encap, overhead) in [
            (r#"{"type":"gre"}"#, 44),
            (r#"{"type":"gre","key":1}"#, 48),
            (r#"{"type":"ipip"}"#, 40),
            (r#"{"type":"gue"}"#, 52),
            (r#"{"type":"mpls","over":"gre"}"#, 48),
            (r#"{"type":"mpls"}"#, 4),
        ] {
            assert_eq!(by("2001:db8:1::1", encap, 1280 + overhead), None, "{encap}");
            let said = by("2001:db8:1::1", encap, 1279 + overhead).unwrap_or_else(|| panic!("{encap} is taken"));
            assert!(said.starts_with("services[0].encap: leaves 1279 of"), "{said}");
            assert_eq!(by("203.0.113.1", encap, 1279 + overhead), None, "IPv4 has no such bound");
        }
    }
}
