//! The VIPs as addresses of `lo`.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::EndpointError;
use super::netlink::Netlink;

/// `lo` is the first interface of every network namespace.
const LO: u32 = 1;

/// Brings `lo` up.
pub fn bring_up_lo(netlink: &mut Netlink) -> Result<(), EndpointError> {
    let mut message = LinkMessage::default();
    message.header.index = LO;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    netlink
        .request(RouteNetlinkMessage::SetLink(message), 0)
        .map_err(|error| EndpointError::kernel("bring up lo", error))
}

/// Gives `lo` this address; answers whether it was new.
pub fn add(netlink: &mut Netlink, vip: IpAddr) -> Result<bool, EndpointError> {
    let answer = netlink.request(RouteNetlinkMessage::NewAddress(on_lo(vip)), NLM_F_CREATE | NLM_F_EXCL);
    changed(answer, libc::EEXIST).map_err(|error| EndpointError::kernel(format!("add {vip} to lo"), error))
}

/// Takes this address from `lo`; answers whether it was there.
pub fn remove(netlink: &mut Netlink, vip: IpAddr) -> Result<bool, EndpointError> {
    let answer = netlink.request(RouteNetlinkMessage::DelAddress(on_lo(vip)), 0);
    changed(answer, libc::EADDRNOTAVAIL).map_err(|error| EndpointError::kernel(format!("remove {vip} from lo"), error))
}

fn changed(answer: io::Result<()>, nothing_to_do: i32) -> io::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(nothing_to_do) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The address alone, without a prefix. No duplicate address detection: every endpoint of a service has the same VIP.
fn on_lo(vip: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = LO;
    message.attributes = vec![AddressAttribute::Local(vip), AddressAttribute::Address(vip)];
    if vip.is_ipv4() {
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 32;
    } else {
        message.header.family = AddressFamily::Inet6;
        message.header.prefix_len = 128;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}
