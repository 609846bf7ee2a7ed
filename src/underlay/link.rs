//! The one interface that carries client traffic and tunnels.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::wire::ethernet::MacAddress;

/// An interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its own Ethernet address: the source of every frame sent untagged.
    pub mac: MacAddress,
    /// The largest IP packet it takes, in bytes.
    pub mtu: u32,
    /// Whether frames can leave: set up by the administrator, and with a carrier.
    pub up: bool,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<LinkAddress>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// The address, with the length of its prefix.
    pub net: IpNet,
    /// Whether its scope reaches beyond the link.
    pub global: bool,
    /// Whether packets may start with it as source: neither tentative, deprecated, temporary nor a duplicate.
    pub preferred: bool,
}

impl Link {
    /// The default outer source over IPv6: the first preferred address of global scope.
    pub fn source_v6(&self) -> Option<Ipv6Addr> {
        self.sources().find_map(|address| match address {
            IpAddr::V6(v6) if !v6.is_unicast_link_local() => Some(v6),
            _ => None,
        })
    }

    /// The default outer source over IPv4: the first preferred address of global scope.
    pub fn source_v4(&self) -> Option<Ipv4Addr> {
        self.sources().find_map(|address| match address {
            IpAddr::V4(v4) if !v4.is_link_local() => Some(v4),
            _ => None,
        })
    }

    fn sources(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter(|address| address.global && address.preferred).map(|address| address.net.addr())
    }

    /// Adds the address, or replaces what was known of it.
    pub(super) fn set_address(&mut self, address: LinkAddress) {
        match self.addresses.iter_mut().find(|known| known.net == address.net) {
            Some(known) => *known = address,
            None => self.addresses.push(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(net: &str, global: bool, preferred: bool) -> LinkAddress {
        LinkAddress { net: net.parse().expect("a prefix"), global, preferred }
    }

    fn link(addresses: Vec<LinkAddress>) -> Link {
        Link { index: 2, name: "eth0".into(), mac: MacAddress([2, 0, 0, 0, 0, 1]), mtu: 1500, up: true, addresses }
    }

    #[test]
    fn sources_are_the_first_preferred_of_global_scope() {
        let link = link(vec![
            address("169.254.1.1/16", true, true),
            address("198.51.100.1/32", false, true),
            address("192.0.2.1/24", true, true),
            address("192.0.2.2/24", true, true),
            address("fe80::1/64", false, true),
            address("2001:db8::dead/64", true, false),
            address("2001:db8::1/64", true, true),
        ]);
        assert_eq!(link.source_v4(), Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(link.source_v6(), "2001:db8::1".parse().ok());
    }

    #[test]
    fn an_address_becomes_a_source_once_it_is_no_longer_tentative() {
        let mut link = link(vec![address("2001:db8::1/64", true, false)]);
        assert_eq!(link.source_v6(), None);
        link.set_address(address("2001:db8::1/64", true, true));
        assert_eq!(link.addresses.len(), 1);
        assert!(link.source_v6().is_some());
    }
}
