//! The VIPs as the programs look them up: a hash map of addresses, a trie of prefixes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, MapError};
use ipnet::IpNet;

use super::error::{SteerError, errno};

/// An address as the programs key it: network byte order, IPv4 as `::ffff:a.b.c.d`.
type Address = [u8; 16];
/// An address and how many of its bits count.
type Prefix = (u32, Address);

const PRESENT: u8 = 1;
const ALL_BITS: u32 = 128;
const IPV4_OFFSET: u32 = 96;

/// The two maps of a loaded program.
#[derive(Debug)]
pub struct VipMaps {
    addresses: HashMap<MapData, Address, u8>,
    prefixes: LpmTrie<MapData, Address, u8>,
}

impl VipMaps {
    /// Takes the maps out of a loaded object.
    pub fn take(object: &mut Ebpf) -> Result<Self, SteerError> {
        let addresses = object.take_map("vips").and_then(|map| HashMap::try_from(map).ok());
        let prefixes = object.take_map("prefixes").and_then(|map| LpmTrie::try_from(map).ok());
        Ok(Self {
            addresses: addresses.ok_or(SteerError::Unexpected("map vips"))?,
            prefixes: prefixes.ok_or(SteerError::Unexpected("map prefixes"))?,
        })
    }

    /// Makes the maps hold these VIPs and no others. What stays is not touched; what is new is there before anything
    /// goes, so that a VIP which moves between an address and a prefix of its own is never uncovered.
    pub fn set(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), SteerError> {
        let (mut addresses, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
        for (bits, address) in vips.iter().map(key) {
            if bits == ALL_BITS {
                addresses.insert(address);
            } else {
                prefixes.insert((bits, address));
            }
        }
        let (old_addresses, old_prefixes) = self.held().map_err(SteerError::while_doing("read the VIP maps"))?;
        self.add(addresses.difference(&old_addresses), prefixes.difference(&old_prefixes)).map_err(why_not_added)?;
        self.remove(old_addresses.difference(&addresses), old_prefixes.difference(&prefixes))
            .map_err(SteerError::while_doing("remove from the VIP maps"))
    }

    fn held(&self) -> Result<(BTreeSet<Address>, BTreeSet<Prefix>), MapError> {
        let addresses = self.addresses.keys().collect::<Result<_, _>>()?;
        let prefixes = self.prefixes.keys().map(|key| key.map(|key| (key.prefix_len(), key.data())));
        Ok((addresses, prefixes.collect::<Result<_, _>>()?))
    }

    fn add<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a Address>,
        mut prefixes: impl Iterator<Item = &'a Prefix>,
    ) -> Result<(), MapError> {
        for address in addresses {
            self.addresses.insert(address, PRESENT, 0)?;
        }
        prefixes.try_for_each(|&(bits, address)| self.prefixes.insert(&Key::new(bits, address), PRESENT, 0))
    }

    fn remove<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a Address>,
        mut prefixes: impl Iterator<Item = &'a Prefix>,
    ) -> Result<(), MapError> {
        for address in addresses {
            self.addresses.remove(address)?;
        }
        prefixes.try_for_each(|&(bits, address)| self.prefixes.remove(&Key::new(bits, address)))
    }
}

/// The hash map says E2BIG when it is full, the trie ENOSPC.
fn why_not_added(error: MapError) -> SteerError {
    match errno(&error) {
        Some(libc::E2BIG | libc::ENOSPC) => SteerError::Full,
        _ => SteerError::while_doing("add to the VIP maps")(error),
    }
}

/// How a VIP is looked up.
fn key(vip: &IpNet) -> Prefix {
    let bits = u32::from(vip.prefix_len());
    match vip.network() {
        IpAddr::V4(address) => (IPV4_OFFSET + bits, address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => (bits, address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn ipv4_is_keyed_as_mapped_ipv6_and_host_bits_do_not_count() {
        let (bits, address) = key(&"192.0.2.77/24".parse().expect("a prefix"));
        assert_eq!(bits, 120);
        assert_eq!(address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 0]);
    }

    #[test]
    fn a_single_address_counts_all_bits() {
        assert_eq!(key(&"192.0.2.1/32".parse().expect("a prefix")).0, 128);
        assert_eq!(key(&"2001:db8::1/128".parse().expect("a prefix")).0, 128);
    }
}
