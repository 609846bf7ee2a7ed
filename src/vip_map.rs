//! Which service a packet is for: the most specific match of VIP, protocol and port.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use table::Table;

use crate::flow::address_bits;
use crate::wire::l4::WITH_PORTS;

/// A service's number in its snapshot.
pub type ServiceIndex = u32;

/// What one service claims of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// An address (a prefix of full length) or a prefix.
    pub vip: IpNet,
    /// A protocol; none: every one.
    pub protocol: Option<u8>,
    /// Destination ports; none: every one, and protocols without ports too.
    pub ports: Option<(u16, u16)>,
}

/// What there is for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its destination is no VIP.
    NotAVip,
    /// Its destination is a VIP, but no service takes its protocol and port.
    NoService,
    /// The service that takes it.
    Service(ServiceIndex),
}

/// All VIPs and what is claimed of them.
#[derive(Debug, Default)]
pub struct VipMap {
    /// By prefix length in the 128-bit space, longest first; whole addresses are the first level.
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    mask: u128,
    vips: Table<Vip>,
}

/// One VIP's claims, made disjoint.
#[derive(Debug, Default)]
struct Vip {
    /// The first of the segments, where there is one. Mostly it is the only one, and no other memory need be asked.
    head: Option<Segment>,
    /// Sorted by protocol and first port.
    segments: Box<[Segment]>,
    /// The service that takes every protocol.
    every: Option<ServiceIndex>,
    /// The service that a ping of the VIP belongs to where none takes ICMP.
    first: Option<ServiceIndex>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Protocol and port as one number, as in [`point`].
    first: u32,
    last: u32,
    service: ServiceIndex,
}

fn point(protocol: u8, port: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(port)
}

impl VipMap {
    /// Builds the map from every service's claims. The order of claims means nothing but for `first`: a ping of a VIP
    /// whose services take no ICMP belongs to the lowest service number.
    pub fn build(claims: impl IntoIterator<Item = (Claim, ServiceIndex)>) -> Self {
        let mut by_prefix: BTreeMap<(u8, u128), Vec<(Claim, ServiceIndex)>> = BTreeMap::new();
        for (claim, service) in claims {
            let (len, bits) = mapped(&claim.vip);
            by_prefix.entry((len, bits)).or_default().push((claim, service));
        }
        let mut by_len: BTreeMap<u8, Vec<(u128, Vip)>> = BTreeMap::new();
        for ((len, bits), claims) in by_prefix {
            by_len.entry(len).or_default().push((bits, Vip::build(&claims)));
        }
        let levels = by_len.into_iter().rev();
        Self { levels: levels.map(|(len, vips)| Level { mask: mask(len), vips: Table::new(vips) }).collect() }
    }

    /// Whether the address is a VIP.
    pub fn holds(&self, destination: u128) -> bool {
        self.levels.iter().any(|level| level.vips.get(destination & level.mask).is_some())
    }

    /// The service for a packet. `port` is 0 where the protocol has none.
    #[inline]
    pub fn find(&self, destination: u128, protocol: u8, port: u16) -> Found {
        let mut found = Found::NotAVip;
        for level in &self.levels {
            if let Some(vip) = level.vips.get(destination & level.mask) {
                match vip.find(protocol, port) {
                    Some(service) => return Found::Service(service),
                    None => found = Found::NoService,
                }
            }
        }
        found
    }

    /// Has the memory of a VIP that is a whole address come near, so that [`find`](Self::find) need not wait for it.
    #[inline]
    pub fn approach(&self, destination: u128) {
        if let Some(level) = self.levels.first() {
            level.vips.approach(destination & level.mask);
        }
    }

    /// The service for packets whose port is not known, nor perhaps their protocol, if there is only one that can take them.
    pub fn only_service(&self, destination: u128, protocol: Option<u8>) -> Option<ServiceIndex> {
        let mut only = None;
        for vip in self.levels.iter().filter_map(|level| level.vips.get(destination & level.mask)) {
            for service in vip.services(protocol) {
                if only.is_some_and(|only| only != service) {
                    return None;
                }
                only = Some(service);
            }
            // What is less specific gets nothing of it.
            if vip.every.is_some() || protocol.is_some_and(|number| vip.takes_all(number)) {
                break;
            }
        }
        only
    }

    /// The service that a ping of the VIP belongs to where none takes ICMP: the first of the most specific VIP.
    pub fn first_service(&self, destination: u128) -> Option<ServiceIndex> {
        self.levels.iter().find_map(|level| level.vips.get(destination & level.mask)?.first)
    }
}

/// A prefix in the 128-bit space: its length and its bits; IPv4 as `::ffff:a.b.c.d`.
fn mapped(prefix: &IpNet) -> (u8, u128) {
    let len = match prefix {
        IpNet::V4(v4) => v4.prefix_len() + 96,
        IpNet::V6(v6) => v6.prefix_len(),
    };
    (len, address_bits(prefix.addr()) & mask(len))
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

impl Vip {
    fn build(claims: &[(Claim, ServiceIndex)]) -> Self {
        let every = claims.iter().find(|(claim, _)| claim.protocol.is_none() && claim.ports.is_none());
        let protocols: BTreeSet<u8> = claims.iter().flat_map(|(claim, _)| claimed_protocols(claim)).collect();
        let segments: Box<[Segment]> = protocols.into_iter().flat_map(|protocol| segments(protocol, claims)).collect();
        Self {
            head: segments.first().copied(),
            segments,
            every: every.map(|(_, service)| *service),
            first: claims.iter().map(|(_, service)| *service).min(),
        }
    }

    /// The services that take some of a protocol's packets, or of any one's.
    fn services(&self, protocol: Option<u8>) -> impl Iterator<Item = ServiceIndex> {
        let (first, last) = protocol.map_or((0, u32::MAX), |number| (point(number, 0), point(number, u16::MAX)));
        let before = self.segments.partition_point(|segment| segment.last < first);
        let own = self.segments.iter().skip(before).take_while(move |segment| segment.first <= last);
        let left = self.every.filter(|_| protocol.is_none_or(|number| !self.takes_all(number)));
        own.map(|segment| segment.service).chain(left)
    }

    /// Whether the segments of a protocol leave none of its ports over.
    fn takes_all(&self, protocol: u8) -> bool {
        let (first, last) = (point(protocol, 0), point(protocol, u16::MAX));
        let before = self.segments.partition_point(|segment| segment.last < first);
        let own = self.segments.iter().skip(before).take_while(|segment| segment.first <= last);
        own.map(|segment| segment.last - segment.first + 1).sum::<u32>() == last - first + 1
    }

    #[inline]
    fn find(&self, protocol: u8, port: u16) -> Option<ServiceIndex> {
        let point = point(protocol, port);
        match &self.head {
            Some(head) if (head.first..=head.last).contains(&point) => Some(head.service),
            Some(head) if point > head.last && self.segments.len() > 1 => self.find_further(point),
            _ => self.every,
        }
    }

    fn find_further(&self, point: u32) -> Option<ServiceIndex> {
        let after = self.segments.partition_point(|segment| segment.first <= point);
        let segment = after.checked_sub(1).and_then(|before| self.segments.get(before));
        segment.filter(|segment| segment.last >= point).map(|segment| segment.service).or(self.every)
    }
}

/// The protocols for which a claim needs segments of its own.
fn claimed_protocols(claim: &Claim) -> Vec<u8> {
    match (claim.protocol, claim.ports) {
        (Some(protocol), _) => vec![protocol],
        (None, Some(_)) => WITH_PORTS.to_vec(),
        (None, None) => Vec::new(),
    }
}

/// How specific a claim is among those of one VIP and protocol, smallest first: the narrower range of ports, then the
/// one that names the protocol, then the lower range (so that order means nothing).
type Rank = (u32, bool, u16, ServiceIndex);

/// Sweeps over the ports of one protocol and gives each stretch to the most specific claim that covers it.
fn segments(protocol: u8, claims: &[(Claim, ServiceIndex)]) -> Vec<Segment> {
    let mut opens: BTreeMap<u32, Vec<Rank>> = BTreeMap::new();
    let mut closes: BTreeMap<u32, Vec<Rank>> = BTreeMap::new();
    for (claim, service) in claims.iter().filter(|(claim, _)| claimed_protocols(claim).contains(&protocol)) {
        let ports: RangeInclusive<u16> = claim.ports.map_or(0..=u16::MAX, |(first, last)| first..=last);
        let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
        let rank = (last - first, claim.protocol.is_none(), *ports.start(), *service);
        opens.entry(first).or_default().push(rank);
        closes.entry(last + 1).or_default().push(rank);
    }
    let edges: BTreeSet<u32> = opens.keys().chain(closes.keys()).copied().collect();
    let mut open: BTreeSet<Rank> = BTreeSet::new();
    let mut segments: Vec<Segment> = Vec::new();
    let base = point(protocol, 0);
    for (edge, next) in edges.iter().zip(edges.iter().skip(1)) {
        closes.get(edge).into_iter().flatten().for_each(|rank| _ = open.remove(rank));
        open.extend(opens.get(edge).into_iter().flatten());
        let Some((.., service)) = open.first() else { continue };
        let (first, last) = (base + edge, base + next - 1);
        match segments.last_mut() {
            Some(before) if before.service == *service && before.last + 1 == first => before.last = last,
            _ => segments.push(Segment { first, last, service: *service }),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::l4::protocol::{ICMP, TCP, UDP};
    use Found::{NoService, NotAVip, Service};

    fn claim(vip: &str, protocol: Option<u8>, ports: Option<(u16, u16)>) -> Claim {
        Claim { vip: vip.parse().expect("a prefix"), protocol, ports }
    }

    fn address(text: &str) -> u128 {
        address_bits(text.parse().expect("an address"))
    }

    fn numbered(claims: Vec<Claim>) -> VipMap {
        VipMap::build(claims.into_iter().zip(0..))
    }

    #[test]
    fn the_most_specific_service_wins() {
        let map = numbered(vec![
            claim("203.0.113.0/24", None, None),
            claim("203.0.113.0/28", Some(TCP), None),
            claim("203.0.113.10/32", Some(TCP), None),
            claim("203.0.113.10/32", Some(TCP), Some((8000, 8099))),
            claim("203.0.113.10/32", Some(TCP), Some((8080, 8080))),
            claim("203.0.113.10/32", None, Some((53, 53))),
        ]);
        let find = |to: &str, protocol, port| map.find(address(to), protocol, port);
        assert_eq!(find("203.0.113.10", TCP, 8080), Service(4), "a port over a range");
        assert_eq!(find("203.0.113.10", TCP, 8081), Service(3), "a range over the protocol");
        assert_eq!(find("203.0.113.10", TCP, 8079), Service(3));
        assert_eq!(find("203.0.113.10", TCP, 8100), Service(2));
        assert_eq!(find("203.0.113.10", UDP, 53), Service(5), "a port of every protocol");
        assert_eq!(find("203.0.113.10", TCP, 53), Service(5), "port before protocol");
        assert_eq!(find("203.0.113.10", UDP, 54), Service(0), "else the shorter prefix");
        assert_eq!(find("203.0.113.11", TCP, 1), Service(1));
        assert_eq!(find("203.0.113.11", ICMP, 0), Service(0));
        assert_eq!(find("203.0.114.1", TCP, 80), NotAVip);
        assert_eq!(find("2001:db8::1", TCP, 80), NotAVip);
    }

    #[test]
    fn a_vip_without_a_match_is_still_a_vip() {
        let map = numbered(vec![claim("2001:db8::1/128", Some(TCP), Some((80, 80)))]);
        assert_eq!(map.find(address("2001:db8::1"), TCP, 81), NoService);
        assert_eq!(map.find(address("2001:db8::1"), UDP, 80), NoService);
        assert!(map.holds(address("2001:db8::1")) && !map.holds(address("2001:db8::2")));
        assert_eq!(map.first_service(address("2001:db8::1")), Some(0));
    }

    #[test]
    fn ranges_reach_from_the_first_to_the_last_port() {
        let map = numbered(vec![
            claim("192.0.2.1/32", Some(UDP), Some((0, 9))),
            claim("192.0.2.1/32", Some(UDP), Some((65535, 65535))),
        ]);
        let find = |port| map.find(address("192.0.2.1"), UDP, port);
        assert_eq!([0, 9, 10, 65534, 65535].map(find), [Service(0), Service(0), NoService, NoService, Service(1)]);
    }

    #[test]
    fn the_only_service_is_that_of_a_protocol_or_of_all() {
        let map =
            numbered(vec![claim("192.0.2.1/32", Some(TCP), None), claim("192.0.2.1/32", Some(UDP), Some((1, 9)))]);
        let only = |protocol| map.only_service(address("192.0.2.1"), protocol);
        assert_eq!((only(Some(TCP)), only(Some(UDP)), only(Some(ICMP)), only(None)), (Some(0), Some(1), None, None));
        let map = numbered(vec![claim("192.0.2.0/24", Some(UDP), Some((53, 53)))]);
        assert_eq!(map.only_service(address("192.0.2.1"), None), Some(0));
        let every = ("192.0.2.1/32", None, None);
        let map = numbered(vec![claim(every.0, every.1, every.2), claim("192.0.2.0/24", None, None)]);
        assert_eq!(map.only_service(address("192.0.2.1"), Some(UDP)), Some(0), "the address hides the prefix");
        let map = numbered(vec![claim(every.0, Some(UDP), None), claim(every.0, every.1, every.2)]);
        assert_eq!(map.only_service(address("192.0.2.1"), Some(UDP)), Some(0), "all of UDP hides the rest");
    }

    proptest::proptest! {
        /// Against the plain reading of the rule: of all claims that match, the most specific.
        #[test]
        fn agrees_with_a_linear_search(
            claims in proptest::collection::btree_set(
                (24u8..=32, 0u32..4, proptest::option::of(0u8..3), proptest::option::of((0u16..20, 0u16..6))), 1..12),
            (host, protocol, port) in (0u32..4, 0u8..3, 0u16..30),
        ) {
            let protocols = [TCP, UDP, ICMP];
            let claims: Vec<Claim> = claims.into_iter().map(|(len, host, protocol, ports)| Claim {
                vip: IpNet::from(ipnet::Ipv4Net::new_assert((0xc000_0200 + host).into(), len)).trunc(),
                protocol: protocol.map(|i| protocols[usize::from(i)]),
                ports: ports.map(|(first, more)| (first, first + more)),
            }).collect::<BTreeSet<_>>().into_iter().collect();
            let (destination, protocol) = (std::net::Ipv4Addr::from(0xc000_0200 + host), protocols[usize::from(protocol)]);
            let port = if protocol == ICMP { 0 } else { port };
            let matching = claims.iter().zip(0..).filter(|(claim, _)| {
                claim.vip.contains(&std::net::IpAddr::from(destination))
                    && claim.protocol.is_none_or(|p| p == protocol)
                    && claim.ports.is_none_or(|(first, last)| {
                        (claim.protocol.is_some() || protocol != ICMP) && (first..=last).contains(&port)
                    })
            });
            let best = matching.min_by_key(|(claim, service)| (
                std::cmp::Reverse(claim.vip.prefix_len()),
                claim.ports.map_or(1 << 16, |(first, last)| u32::from(last - first)),
                claim.protocol.is_none(),
                claim.ports.map_or(0, |(first, _)| first),
                *service,
            ));
            let holds = claims.iter().any(|claim| claim.vip.contains(&std::net::IpAddr::from(destination)));
            let expected = match best {
                Some((_, service)) => Service(service),
                None if holds => NoService,
                None => NotAVip,
            };
            let found = VipMap::build(claims.iter().cloned().zip(0..)).find(address_bits(destination.into()), protocol, port);
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
