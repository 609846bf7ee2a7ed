//! Whether a set's packets can get where it sends them: not round in circles, and not too big to arrive.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::set::Refusal;
use crate::config::Config;
use crate::document::{Problem, Problems};
use crate::forward::SMALLEST_IPV6_MTU;
use crate::forward::encap::{Outer, Sources};
use crate::model::{Endpoint, EndpointSet, Service};
use crate::wire::Family;

/// What is known of the node for this.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Its addresses in outer headers.
    pub sources: Sources,
    /// The addresses that its interfaces have.
    pub addresses: BTreeSet<IpAddr>,
    /// The largest IP packet that the underlay carries, in bytes.
    pub underlay_mtu: u32,
}

/// Refuses endpoints that are a VIP, or the node itself: what is sent to them comes back (RFC 2473 section 4.1.2). Refuses
/// VIPs that the node's own packets come from. Refuses tunnels that cannot carry the smallest IPv6 MTU (RFC 7676
/// section 5.1). `joined` is what is to be in force, of which `set` is the syncer's part.
pub fn check(
    config: &Config,
    set: &EndpointSet,
    joined: &EndpointSet,
    surroundings: &Surroundings,
) -> Result<(), Refusal> {
    let vips = Vips::of(joined);
    let mut problems = Vec::new();
    for service in &joined.services {
        let mut refuse = |key: &str, reason: String| problems.push(problem(config, set, service, key, reason));
        if let Some(source) = surroundings.source_within(&service.vip) {
            refuse("vip", format!("{} holds {source}, from which this node sends", service.vip));
        }
        for Endpoint { name, address, .. } in &service.endpoints {
            if vips.hold(*address) {
                refuse("endpoints", format!("\"{name}\" is at {address}, which is a VIP: packets would come back"));
            } else if surroundings.is_own(*address) {
                refuse("endpoints", format!("\"{name}\" is at {address}, which is this node itself"));
            } else if let Some(mtu) = surroundings.too_small_for_ipv6(service, *address) {
                let what = format!("leaves {mtu} of {} bytes", surroundings.underlay_mtu);
                refuse("encap", format!("{what} to \"{name}\"; IPv6 needs {SMALLEST_IPV6_MTU} (RFC 7676)"));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal::InvalidSet(Problems(problems))) }
}

impl Surroundings {
    fn is_own(&self, address: IpAddr) -> bool {
        self.sources.hold(address) || self.addresses.contains(&address)
    }

    fn source_within(&self, vip: &IpNet) -> Option<IpAddr> {
        let v4 = self.sources.v4.map(|source| IpAddr::V4(source.address));
        let v6 = self.sources.v6.map(|source| IpAddr::V6(source.address));
        let within = self.sources.hold(vip.network()).then(|| vip.network());
        [v4, v6].into_iter().flatten().find(|source| vip.contains(source)).or(within)
    }

    /// What a tunnel for IPv6 leaves of the underlay's MTU, where that is too little.
    fn too_small_for_ipv6(&self, service: &Service, endpoint: IpAddr) -> Option<usize> {
        let inner = Family::of(service.vip.addr());
        let outer = Outer::new(service.encap, inner, endpoint, &self.sources, u8::MAX)?;
        let left = (self.underlay_mtu as usize).saturating_sub(outer.overhead());
        (inner == Family::V6 && left < SMALLEST_IPV6_MTU).then_some(left)
    }
}

/// All VIPs, by the lengths that their prefixes have.
struct Vips {
    lengths: BTreeSet<(bool, u8)>,
    prefixes: HashSet<IpNet>,
}

impl Vips {
    fn of(set: &EndpointSet) -> Self {
        let prefixes: HashSet<IpNet> = set.services.iter().map(|service| service.vip).collect();
        let lengths = prefixes.iter().map(|vip| (vip.addr().is_ipv4(), vip.prefix_len())).collect();
        Self { lengths, prefixes }
    }

    fn hold(&self, address: IpAddr) -> bool {
        let lengths = self.lengths.iter().filter(|(is_v4, _)| *is_v4 == address.is_ipv4());
        let mut prefixes = lengths.filter_map(|(_, len)| IpNet::new(address, *len).ok());
        prefixes.any(|prefix| self.prefixes.contains(&prefix.trunc()))
    }
}

/// A problem of a service, which is the syncer's or the config's.
fn problem(config: &Config, set: &EndpointSet, service: &Service, key: &str, reason: String) -> Problem {
    let place = |services: &[Service]| services.iter().position(|other| other.name == service.name);
    let path = match (place(&set.services), place(&config.services)) {
        (Some(index), _) => format!("services[{index}].{key}"),
        (None, index) => format!("service[{}].{key}", index.unwrap_or_default()),
    };
    Problem { path, line: None, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::set::join;
    use crate::forward::encap::Source;
    use crate::{config, endpoint_set};

    fn refusal(services: &str, underlay_mtu: u32) -> Option<String> {
        let config = "[interface]\nname = \"eth0\"\n[[service]]\nname = \"own\"\nvip = \"203.0.113.53\"\n";
        let config = config::parse(config).expect("valid");
        let set = format!(r#"{{"revision":"r","services":[{services}]}}"#);
        let set = endpoint_set::parse(&set).expect("valid");
        let joined = join(&config, &set).expect("no conflict");
        let v6 = Source { address: "2001:db8:51b::".parse().expect("v6"), entropy: 0xffff_ffff_u128.into() };
        let addresses = BTreeSet::from([IpAddr::from([192, 0, 2, 99])]);
        let surroundings = Surroundings { sources: Sources { v4: None, v6: Some(v6) }, addresses, underlay_mtu };
        check(&config, &set, &joined, &surroundings).err().map(|refusal| match refusal {
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
