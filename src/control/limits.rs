//! What a node lacks for a set to work, though nothing is wrong with the set: room in its tunnels, and addresses to send from.
//! It is said, with what to do about it, and nothing is refused for it.

use std::net::IpAddr;

use crate::forward::encap::{OuterHeaders, Sources};
use crate::forward::smallest_mtu;
use crate::model::{Endpoint, EndpointSet, Service};
use crate::snapshot::Settings;
use crate::wire::Family;

/// Warnings of one answer of each kind; a set with more is broken as a whole.
pub const MOST_WARNINGS: usize = 20;

/// What a tunnel lacks to be of use to a VIP's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The VIP's family.
    family: Family,
    /// How large a packet fits, in bytes.
    pub room: usize,
    /// How many bytes the headers in front take.
    overhead: usize,
}

impl Lack {
    /// What the tunnel to an endpoint lacks over a way of this MTU, in bytes; `None`: nothing, or nothing can be sent there.
    pub fn of(service: &Service, endpoint: IpAddr, sources: &Sources, mtu: u32) -> Option<Self> {
        Self::over(vip_family(service), headers(service, endpoint, sources)?.overhead(), mtu)
    }

    /// The same by the VIP's family and the length of the headers in front, in bytes. IPv4 needs what every link carries (RFC
    /// 791 section 3.2): what is larger can be cut. IPv6 cannot, and needs its smallest MTU (RFC 7676 section 5.1).
    pub fn over(family: Family, overhead: usize, mtu: u32) -> Option<Self> {
        let room = (mtu as usize).saturating_sub(overhead);
        (room < smallest_mtu(family)).then_some(Self { family, room, overhead })
    }

    /// The smallest MTU of the way that would do, in bytes.
    pub fn needed_mtu(self) -> usize {
        smallest_mtu(self.family) + self.overhead
    }

    /// What the family asks for, as half a sentence.
    pub fn rule(self) -> String {
        let (family, rfc) = match self.family {
            Family::V4 => ("IPv4", "RFC 791"),
            Family::V6 => ("IPv6", "RFC 7676"),
        };
        format!("{family} needs {} ({rfc})", smallest_mtu(self.family))
    }
}

/// The family of a service's packets.
pub fn vip_family(service: &Service) -> Family {
    Family::of(service.vip.addr())
}

/// The headers in front of a service's packets to an endpoint; `None` where the node has no address to send from.
fn headers(service: &Service, endpoint: IpAddr, sources: &Sources) -> Option<OuterHeaders> {
    OuterHeaders::new(service.encap, vip_family(service), Family::of(endpoint), sources, u8::MAX)
}

/// A sentence for each endpoint that nothing can be sent to, and for each service that an underlay of this node leaves too
/// little room; of each kind up to some.
pub fn warnings(set: &EndpointSet, settings: &Settings) -> Vec<String> {
    let mut warnings = unsendable(set, &settings.sources);
    let short = set.services.iter().filter_map(|service| {
        let lack = |endpoint: &Endpoint| Lack::of(service, endpoint.address, &settings.sources, settings.underlay_mtu);
        let (endpoint, lack) = service.endpoints.iter().find_map(|endpoint| Some((endpoint, lack(endpoint)?)))?;
        Some(format!(
            "{}: an underlay MTU of {} leaves {} bytes to {}, and {}: raise it to at least {}",
            service.name,
            settings.underlay_mtu,
            lack.room,
            endpoint.name,
            lack.rule(),
            lack.needed_mtu()
        ))
    });
    warnings.extend(short.take(MOST_WARNINGS));
    warnings
}

/// A sentence for each endpoint, up to some, that nothing can be sent to.
fn unsendable(set: &EndpointSet, sources: &Sources) -> Vec<String> {
    if sources.v4.is_some() && sources.v6.is_some() {
        return Vec::new();
    }
    let all = set.services.iter().flat_map(|service| service.endpoints.iter().map(move |endpoint| (service, endpoint)));
    let without = all.filter(|(service, endpoint)| headers(service, endpoint.address, sources).is_none());
    let without = without.map(|(service, Endpoint { name, address, .. })| {
        let key = source_key(Family::of(*address));
        format!(
            "{}: {name} ({address}) cannot be sent to: the node has no outer source address of its family; set {key}",
            service.name
        )
    });
    without.take(MOST_WARNINGS).collect()
}

/// The key of the config that an outer source can be given by.
pub fn source_key(family: Family) -> &'static str {
    match family {
        Family::V4 => "underlay.source_v4",
        Family::V6 => "underlay.source_v6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Seed;
    use crate::forward::encap::Source;
    use crate::snapshot::Dscp;
    use crate::wire::ethernet::MacAddress;

    fn said(vip: &str, encap: &str, endpoint: &str, (has_v6, underlay_mtu): (bool, u32)) -> Vec<String> {
        let set = format!(
            r#"{{"services":[{{"name":"web","vip":"{vip}","encap":{{{encap}}},
            "endpoints":[{{"name":"web-0","address":"{endpoint}"}}]}}]}}"#
        );
        let v6 = Source { address: "2001:db8:51b::1".parse().expect("v6"), entropy: 0.into() };
        let sources = Sources { v4: None, v6: has_v6.then_some(v6) };
        let settings = Settings {
            seed: Seed([0; 16]),
            dscp: Dscp::Copy,
            underlay_mtu,
            hop_limit: 64,
            sources,
            mac: MacAddress::default(),
        };
        warnings(&crate::endpoint_set::parse(&set).expect("valid"), &settings)
    }

    #[test]
    fn each_family_of_vips_has_its_own_floor() {
        let gre = r#""type":"gre""#;
        let by = |vip, mtu| said(vip, gre, "2001:db8:10::a", (true, mtu));
        assert_eq!(by("2001:db8:1::1", 1324), Vec::<String>::new());
        assert_eq!(
            by("2001:db8:1::1", 1323),
            ["web: an underlay MTU of 1323 leaves 1279 bytes to web-0, and IPv6 needs 1280 (RFC 7676): \
              raise it to at least 1324"]
        );
        assert_eq!(by("203.0.113.1", 112), Vec::<String>::new());
        assert_eq!(
            by("203.0.113.1", 40),
            [
                "web: an underlay MTU of 40 leaves 0 bytes to web-0, and IPv4 needs 68 (RFC 791): raise it to at least 112"
            ]
        );
    }

    #[test]
    fn an_endpoint_without_an_outer_source_is_named_and_a_label_needs_none() {
        let gre = r#""type":"gre""#;
        let without = said("203.0.113.1", gre, "2001:db8:10::a", (false, 1500));
        assert_eq!(
            without,
            ["web: web-0 (2001:db8:10::a) cannot be sent to: the node has no outer source address of its family; \
              set underlay.source_v6"]
        );
        assert_eq!(said("203.0.113.1", gre, "192.0.2.7", (true, 1500)).len(), 1);
        assert_eq!(said("203.0.113.1", r#""type":"mpls""#, "192.0.2.7", (true, 1500)), Vec::<String>::new());
    }
}
