//! Where a packet to an endpoint goes first, or why nowhere.

use std::net::IpAddr;

use super::neighbours::Gateway;

/// Why there is no way to an endpoint, as a sentence about `target`, the endpoint's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNextHop {
    /// Nobody asked for it with `change_targets`.
    #[error("{target} is not among the endpoints whose routes are followed")]
    NotATarget {
        /// The endpoint.
        target: IpAddr,
    },
    /// The kernel has no route to it, or one that drops.
    #[error("the kernel has no route to {target}")]
    NoRoute {
        /// The endpoint.
        target: IpAddr,
    },
    /// Client traffic and tunnels use one interface ("on a stick"), with or without an 802.1Q tag.
    #[error("the route to {target} leaves by {other}, and tunnels use {interface} and the 802.1Q VLANs on it only")]
    OtherInterface {
        /// The endpoint.
        target: IpAddr,
        /// The interface that carries the tunnels.
        interface: String,
        /// The one the kernel would take.
        other: String,
    },
    /// An endpoint cannot be the node itself.
    #[error("{target} is an address of this node")]
    Local {
        /// The endpoint.
        target: IpAddr,
    },
    /// The neighbour has not answered yet.
    #[error("the neighbour {gateway} on the way to {target} is not resolved yet")]
    Unresolved {
        /// The endpoint.
        target: IpAddr,
        /// The neighbour; the endpoint itself where it is on the link.
        gateway: IpAddr,
    },
    /// The neighbour does not answer.
    #[error("the neighbour {gateway} on the way to {target} does not answer")]
    Failed {
        /// The endpoint.
        target: IpAddr,
        /// The neighbour; the endpoint itself where it is on the link.
        gateway: IpAddr,
    },
    /// The kernel's neighbour table, which all network namespaces share, has no room for the neighbour.
    #[error("the kernel's neighbour table has no room for {gateway} on the way to {target}")]
    TableFull {
        /// The endpoint.
        target: IpAddr,
        /// The neighbour; the endpoint itself where it is on the link.
        gateway: IpAddr,
    },
    /// No frame can leave.
    #[error("the interface {interface} on the way to {target} is down")]
    InterfaceDown {
        /// The endpoint.
        target: IpAddr,
        /// The interface that carries the tunnels, or the VLAN device on top of it.
        interface: String,
    },
}

/// The kernel's answer to "how would you reach this address?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through this neighbour on the interface of this number; the address itself where it is on the link.
    Via {
        /// The kernel's number of the interface.
        interface: u32,
        /// The neighbour, of either family.
        gateway: IpAddr,
    },
    /// It is the node's own address.
    Local,
    /// Not at all.
    None,
}

impl Route {
    /// The neighbour that it leads to.
    pub fn gateway(self) -> Option<Gateway> {
        match self {
            Self::Via { interface, gateway } => Some(Gateway { interface, address: gateway }),
            Self::Local | Self::None => None,
        }
    }
}
