//! The VIP routes: a blackhole route in the kernel's main table for each VIP that is announced, for a routing daemon
//! (BIRD, FRR) to export.
//!
//! Nothing is ever sent by them. Frames for a VIP never reach the kernel's routing: the gate takes them before. A VIP
//! that the node has as an address of its own (keepalived) stays one too, since the kernel asks its table of local
//! addresses before the main one. What they do change: the node itself cannot connect to a VIP by them, and a node that
//! routes the endpoints' answers must not check their source against routes (`rp_filter`).
//!
//! Routes are known as pointsman's by their protocol number, so that what a crash has left is taken over, or removed,
//! and nobody else's is touched.

use std::collections::BTreeSet;
use std::io;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::UnderlayError;
use super::kernel::Kernel;
use super::message;

/// Pointsman's protocol number for routes (`rtm_protocol`). Neither the kernel, iproute2's `rt_protos` nor FRR uses it.
pub const PROTOCOL: u8 = 112;

/// The routes' metric. Any other route to the same prefix is preferred, by its lower metric: IPv4's usual one is 0,
/// IPv6's 1024, a DHCP client's some hundreds. It is also the highest that FRR reads as one: the byte above is, to FRR, an
/// administrative distance, and 255 there would mean "never use". (IPv6's highest number of all is the kernel's own.)
pub const METRIC: u32 = 0x00ff_ffff;

/// Owns the VIP routes of this network namespace; there must be only one.
pub struct VipRoutes {
    kernel: Kernel,
}

/// A route with pointsman's number. One of another metric is an older pointsman's.
type Held = (IpNet, u32);

impl VipRoutes {
    /// Opens a socket in the network namespace of the calling thread. Routes that are there already stay as they are.
    pub fn open() -> Result<Self, UnderlayError> {
        Ok(Self { kernel: Kernel::open_filtering()? })
    }

    /// Makes these, and no others, the VIP routes: adds what is missing, then removes what is too much.
    ///
    /// # Errors
    /// The first of all that failed; whatever could be done is done.
    pub fn set(&mut self, wanted: &BTreeSet<IpNet>) -> Result<(), UnderlayError> {
        let there = self.held()?;
        let wanted: BTreeSet<Held> = wanted.iter().map(|vip| (vip.trunc(), METRIC)).collect();
        let missing: Vec<Held> = wanted.difference(&there).copied().collect();
        let surplus: Vec<Held> = there.difference(&wanted).copied().collect();
        let added = self.change("added", &missing);
        let removed = self.change("removed", &surplus);
        added.and(removed)
    }

    /// The VIPs that have a route now, whoever made it.
    pub fn list(&mut self) -> Result<BTreeSet<IpNet>, UnderlayError> {
        Ok(self.held()?.into_iter().map(|(vip, _)| vip).collect())
    }

    fn held(&mut self) -> Result<BTreeSet<Held>, UnderlayError> {
        let mut held = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            held.extend(self.kernel.dump("list VIP routes", list_request(family), held_route)?);
        }
        Ok(held)
    }

    fn change(&mut self, what: &'static str, routes: &[Held]) -> Result<(), UnderlayError> {
        let adds = what == "added";
        let creating = if adds { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
        let request = |(vip, metric)| {
            let route = vip_route(vip, metric);
            if adds { RouteNetlinkMessage::NewRoute(route) } else { RouteNetlinkMessage::DelRoute(route) }
        };
        let mut refusal = Ok(());
        let flags = NLM_F_REQUEST | NLM_F_ACK | creating;
        self.kernel.ask_each("change VIP routes", routes, flags, request, |(vip, _), answer| {
            if let Err(error) = answer
                && !is_gone(&error)
                && refusal.is_ok()
            {
                refusal = Err(refused(vip, what, error));
            }
        })?;
        refusal
    }
}

/// Somebody was quicker to remove it.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

fn refused(vip: IpNet, what: &'static str, source: io::Error) -> UnderlayError {
    match source.raw_os_error() {
        Some(libc::EPERM) => UnderlayError::RoutesNotPermitted,
        _ => UnderlayError::VipRoute { vip, what, source },
    }
}

/// "Which routes of pointsman's are there?" The kernel itself leaves out the others, of which a router has a million.
fn list_request(family: AddressFamily) -> RouteNetlinkMessage {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    request.header.protocol = PROTOCOL.into();
    request.header.kind = RouteType::BlackHole;
    RouteNetlinkMessage::GetRoute(request)
}

fn vip_route(vip: IpNet, metric: u32) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = if vip.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    route.header.destination_prefix_length = vip.prefix_len();
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = PROTOCOL.into();
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::BlackHole;
    route.attributes = vec![RouteAttribute::Destination(vip.addr().into()), RouteAttribute::Priority(metric)];
    route
}

/// The route in a message, if it is one of pointsman's.
fn held_route(message: &RouteNetlinkMessage) -> Option<Held> {
    let RouteNetlinkMessage::NewRoute(route) = message else { return None };
    let header = &route.header;
    let ours = u8::from(header.protocol) == PROTOCOL
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::BlackHole;
    let metric = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    ours.then(|| Some((message::prefix(route)?, metric.unwrap_or(0)))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_known_again_by_its_protocol_type_and_table() {
        for vip in ["203.0.113.10/32", "203.0.113.0/24", "0.0.0.0/0", "2001:db8:1::/64", "2001:db8::1/128"] {
            let vip: IpNet = vip.parse().expect("a prefix");
            let route = vip_route(vip, METRIC);
            let read = |change: &dyn Fn(&mut RouteMessage)| {
                let mut route = route.clone();
                change(&mut route);
                held_route(&RouteNetlinkMessage::NewRoute(route))
            };
            assert_eq!(read(&|_| ()), Some((vip, METRIC)));
            assert_eq!(read(&|route| route.attributes.truncate(1)), Some((vip, 0)));
            assert_eq!(read(&|route| route.header.protocol = 12.into()), None);
            assert_eq!(read(&|route| route.header.kind = RouteType::Unreachable), None);
            assert_eq!(read(&|route| route.header.table = 100), None);
        }
    }
}
