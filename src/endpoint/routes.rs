//! The segment size that the endpoint announces to its peers, as `advmss` of its routes.
//!
//! A peer's segments come through the tunnel, whose outer headers take from the interface's MTU. The forwarder sees
//! only the peers' side of a connection, so it cannot lower what the endpoint's SYN-ACK announces; the endpoint can.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags, RouteProtocol,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::attach::Interface;
use super::error::EndpointError;
use super::netlink::Netlink;

const IPV4_AND_TCP: u32 = 40;
const IPV6_AND_TCP: u32 = 60;

/// The MSS, in bytes, that makes segments of this family fit a tunnel over this MTU whose outer headers have `overhead`
/// bytes.
pub fn mss(mtu: u32, overhead: u32, family: AddressFamily) -> u32 {
    let headers = if family == AddressFamily::Inet6 { IPV6_AND_TCP } else { IPV4_AND_TCP };
    mtu.saturating_sub(overhead + headers)
}

/// What became of the routes.
#[derive(Default)]
pub struct Changes {
    /// Routes that were changed.
    pub changed: usize,
    /// Routes whose lifetime the kernel keeps (from router advertisements), which must be left as they are.
    pub left: usize,
}

/// Sets the MSS on the routes by this interface, where it is not set or greater.
pub fn set_mss(netlink: &mut Netlink, interface: &Interface, overhead: u32) -> Result<Changes, EndpointError> {
    change(netlink, interface, overhead, |metrics, mss| {
        let fits = |metric: &RouteMetric| matches!(metric, RouteMetric::Advmss(set) if *set <= mss);
        if metrics.iter().any(fits) {
            return false;
        }
        metrics.retain(|metric| !matches!(metric, RouteMetric::Advmss(_)));
        metrics.push(RouteMetric::Advmss(mss));
        true
    })
}

/// Takes the MSS back from the routes by this interface, where it is the one that [`set_mss`] would set.
pub fn unset_mss(netlink: &mut Netlink, interface: &Interface, overhead: u32) -> Result<Changes, EndpointError> {
    change(netlink, interface, overhead, |metrics, mss| {
        let before = metrics.len();
        metrics.retain(|metric| *metric != RouteMetric::Advmss(mss));
        metrics.len() != before
    })
}

/// Replaces each route by this interface whose metrics `edit` says it has changed.
fn change(
    netlink: &mut Netlink,
    interface: &Interface,
    overhead: u32,
    edit: impl Fn(&mut Vec<RouteMetric>, u32) -> bool,
) -> Result<Changes, EndpointError> {
    let mut changes = Changes::default();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mss = mss(interface.mtu, overhead, family);
        for mut route in routes(netlink, interface, family)? {
            if !edit(metrics(&mut route), mss) {
                continue;
            }
            if is_kept_by_the_kernel(&route) {
                changes.left += 1;
                continue;
            }
            let request = RouteNetlinkMessage::NewRoute(as_request(route));
            netlink.request(request, NLM_F_CREATE | NLM_F_REPLACE).map_err(|error| {
                EndpointError::kernel(format!("set advmss on the routes by {}", interface.name), error)
            })?;
            changes.changed += 1;
        }
    }
    Ok(changes)
}

/// The unicast routes of the main table that leave by this interface.
fn routes(
    netlink: &mut Netlink,
    interface: &Interface,
    family: AddressFamily,
) -> Result<Vec<RouteMessage>, EndpointError> {
    let mut question = RouteMessage::default();
    question.header.address_family = family;
    let answers = netlink
        .dump(&RouteNetlinkMessage::GetRoute(question))
        .map_err(|error| EndpointError::kernel("list routes", error))?;
    let routes = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    });
    Ok(routes.filter(|route| is_concerned(route, interface.index, family)).collect())
}

fn is_concerned(route: &RouteMessage, interface: u32, family: AddressFamily) -> bool {
    let header = &route.header;
    let leaves = route.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Oif(index) => *index == interface,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| hop.interface_index == interface),
        _ => false,
    });
    leaves
        // A kernel without IPv6 answers with what it has.
        && header.address_family == family
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
        && !header.flags.contains(RouteFlags::Cloned)
}

fn is_kept_by_the_kernel(route: &RouteMessage) -> bool {
    let expires =
        |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::CacheInfo(info) if info.expires != 0);
    route.header.protocol == RouteProtocol::Ra || route.attributes.iter().any(expires)
}

/// The metrics of a route; where there were none, an empty list is added.
fn metrics(route: &mut RouteMessage) -> &mut Vec<RouteMetric> {
    let is_metrics = |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Metrics(_));
    if !route.attributes.iter().any(is_metrics) {
        route.attributes.push(RouteAttribute::Metrics(Vec::new()));
    }
    let found = route.attributes.iter_mut().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => Some(metrics),
        _ => None,
    });
    found.expect("the list was just added")
}

/// A route as the kernel takes it, from one as the kernel tells it.
fn as_request(mut route: RouteMessage) -> RouteMessage {
    route.header.flags &= RouteFlags::Onlink;
    let by_object = route.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::NhId(_)));
    route.attributes.retain(|attribute| match attribute {
        RouteAttribute::CacheInfo(_) => false,
        RouteAttribute::Metrics(metrics) => !metrics.is_empty(),
        // Told beside the object's id, but not taken beside it.
        RouteAttribute::Oif(_) | RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_) => {
            !by_object
        }
        _ => true,
    });
    for attribute in &mut route.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            hops.iter_mut().for_each(clear_state);
        }
    }
    route
}

fn clear_state(hop: &mut RouteNextHop) {
    hop.flags &= RouteNextHopFlags::Onlink;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_fit_the_tunnel() {
        assert_eq!(mss(1500, 44, AddressFamily::Inet), 1416);
        assert_eq!(mss(1500, 44, AddressFamily::Inet6), 1396);
        assert_eq!(mss(60, 44, AddressFamily::Inet6), 0);
    }

    #[test]
    fn a_told_route_becomes_a_request() {
        let mut route = RouteMessage::default();
        route.header.flags = RouteFlags::Linkdown | RouteFlags::Onlink;
        route.attributes = vec![RouteAttribute::Oif(2), RouteAttribute::NhId(7)];
        metrics(&mut route).push(RouteMetric::Mtu(1400));
        let request = as_request(route);
        assert_eq!(request.header.flags, RouteFlags::Onlink);
        let expected = [RouteAttribute::NhId(7), RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)])];
        assert_eq!(request.attributes, expected);
    }
}
