//! News from the kernel, in this room's own words.

use ipnet::IpNet;

use super::link::LinkAddress;
use super::neighbours::{Gateway, Neighbour};
use crate::wire::ethernet::MacAddress;

/// One piece of news from the kernel, or one entry of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface is there, or changed.
    Link(LinkNews),
    /// An interface is gone.
    LinkGone(u32),
    /// An interface has this address.
    Address(u32, LinkAddress),
    /// An interface no longer has this address.
    AddressGone(u32, IpNet),
    /// A neighbour on an interface; `None` where the kernel forgot it.
    Neighbour(Gateway, Option<Neighbour>),
    /// A route to this prefix came, went or changed, in any table.
    Route(IpNet),
    /// Something that may move every route: a rule, a next-hop object.
    Routing,
}

/// An interface, as told in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkNews {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<MacAddress>,
    /// In bytes.
    pub mtu: u32,
    /// Set up, and with a carrier.
    pub up: bool,
    /// What it is, where it is a VLAN device.
    pub vlan: Option<Vlan>,
}

/// A device that tags what leaves by it (IEEE 802.1Q, of the customer's EtherType 0x8100) and hands it on to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The kernel's number for the interface beneath.
    pub parent: u32,
    /// The VLAN's number, 0..4094.
    pub id: u16,
}
