//! The pod's side: makes a network namespace accept tunnelled packets for VIPs.
//!
//! It is done once and stays: an XDP program on the interface takes packets for the VIPs out of their tunnel, so that
//! the kernel sees them as if they had come untunnelled; `lo` has the VIPs; and the routes announce an MSS that fits
//! the tunnel. Answers leave by the ordinary routes, straight to the client. Nothing runs afterwards.
//!
//! - Reverse-path filter: an inner packet comes in by the interface that its tunnel came by. Where that is also the
//!   interface of the route back to the client, as in a pod with one interface, `rp_filter` may be strict (1). Where it
//!   is not, strict drops the packet: set it to loose (2) there. This room leaves it as it is.
//! - The program does not look at the outer addresses: whoever can send frames to the interface can send to the VIPs.
//! - Every encapsulation is taken at any time: GRE with and without a key, IPIP, GUE, MPLS over GRE or on the link.
//! - The MSS has room for IPv6 and GRE without a key, or for as much as [`EndpointOptions::overhead`] says. Where that
//!   is less than a service's encapsulation takes, its clients get there by the forwarder's Packet Too Big.

mod addresses;
mod attach;
mod commands;
mod error;
mod netlink;
mod program;
mod routes;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use attach::Interface;
use netlink::Netlink;
use program::{Found, Program};
use routes::Changes;

pub use commands::equivalent_commands;
pub use error::EndpointError;

/// Outer IPv6 and GRE without a key, in bytes. Others: 48 with a key or with MPLS over GRE, 40 IPIP, 52 GUE, 4 MPLS on
/// the link; 20 less over IPv4.
pub const DEFAULT_OVERHEAD: u32 = 44;

/// What is to be an endpoint of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOptions {
    /// The interface that tunnelled packets come in by.
    pub interface: String,
    /// The VIPs; at least one.
    pub vips: Vec<IpAddr>,
    /// The network namespace to configure, such as `/run/netns/NAME` or `/proc/PID/ns/net`; else the calling thread's.
    pub netns: Option<PathBuf>,
    /// The UDP port that GUE comes by.
    pub gue_port: u16,
    /// The bytes of the outer headers, for which the announced MSS leaves room; see [`DEFAULT_OVERHEAD`].
    pub overhead: u32,
}

/// Makes the namespace accept tunnelled packets for these VIPs, and for no others; answers what was done, a line each.
/// To be called again at any time. Addresses of VIPs that an earlier call added stay on `lo` until [`remove`].
///
/// The calling thread stays in the namespace given.
pub fn configure(options: &EndpointOptions) -> Result<Vec<String>, EndpointError> {
    let (mut netlink, interface) = enter(options)?;
    if let Some(found) = found(&interface)?.filter(|found| !found.is_ours()) {
        return Err(EndpointError::ForeignProgram { interface: interface.name, program: found.name });
    }
    let mut lines = Vec::new();
    addresses::bring_up_lo(&mut netlink)?;
    for vip in &options.vips {
        let added = addresses::add(&mut netlink, *vip)?;
        lines.push(format!("lo: {} {vip}", if added { "added" } else { "already has" }));
    }
    let changes = routes::set_mss(&mut netlink, &interface, options.overhead)?;
    lines.extend(lines_about_routes("set on", &interface, &changes));
    // Last, as the gate: all behind it is in place.
    let mut program = Program::load(&options.vips, options.gue_port)?;
    let mode = interface.attach(&mut netlink, program.fd()?)?;
    let done = if interface.program.is_some() { "replaced" } else { "attached" };
    lines.push(format!("{}: {done} the XDP program decap ({} mode)", interface.name, mode.name()));
    Ok(lines)
}

/// Undoes [`configure`] for these VIPs; answers what was done, a line each. The program goes from the interface, and
/// the MSS from the routes (given the same overhead), with the last VIP.
///
/// The calling thread stays in the namespace given.
pub fn remove(options: &EndpointOptions) -> Result<Vec<String>, EndpointError> {
    let (mut netlink, interface) = enter(options)?;
    let mut lines = Vec::new();
    let left = match found(&interface)?.filter(Found::is_ours) {
        Some(ours) => Some(ours.forget(&options.vips)?),
        None => None,
    };
    match left {
        Some(0) => {
            interface.detach(&mut netlink)?;
            lines.push(format!("{}: detached the XDP program decap", interface.name));
        }
        Some(others) => lines.push(format!("{}: {others} other VIPs are still accepted", interface.name)),
        None => lines.push(format!("{}: has no XDP program decap", interface.name)),
    }
    if left.unwrap_or(0) == 0 {
        let changes = routes::unset_mss(&mut netlink, &interface, options.overhead)?;
        lines.extend(lines_about_routes("removed from", &interface, &changes));
    }
    for vip in &options.vips {
        let removed = addresses::remove(&mut netlink, *vip)?;
        lines.push(format!("lo: {} {vip}", if removed { "removed" } else { "does not have" }));
    }
    Ok(lines)
}

/// Checks the options and goes where they say.
fn enter(options: &EndpointOptions) -> Result<(Netlink, Interface), EndpointError> {
    if options.vips.is_empty() {
        return Err(EndpointError::NoVip);
    }
    if let Some(vip) = options.vips.iter().find(|vip| vip.is_unspecified() || vip.is_multicast()) {
        return Err(EndpointError::NotUnicast(*vip));
    }
    if let Some(path) = &options.netns {
        join(path).map_err(|source| EndpointError::netns(path.clone(), source))?;
    }
    let mut netlink = Netlink::open().map_err(|error| EndpointError::kernel("open a netlink socket", error))?;
    let interface = Interface::find(&mut netlink, &options.interface)?;
    Ok((netlink, interface))
}

fn join(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// The program that the interface has.
fn found(interface: &Interface) -> Result<Option<Found>, EndpointError> {
    interface.program.map_or(Ok(None), |(id, _)| program::find(id))
}

fn lines_about_routes(done: &str, interface: &Interface, changes: &Changes) -> Vec<String> {
    let name = &interface.name;
    let mut lines = vec![format!("{name}: advmss {done} {} routes", changes.changed)];
    if changes.left > 0 {
        lines.push(format!("{name}: {} routes from router advertisements left as they are", changes.left));
    }
    lines
}
