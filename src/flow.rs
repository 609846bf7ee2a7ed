//! Flows and their keyed hash. Its definition is part of the contract: the same on every node, CPU and version of the
//! same major number, or two nodes would send one flow to two endpoints.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};

use siphasher::sip::SipHasher13;

use crate::wire::l4::Ports;

/// What makes two packets the same flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Client address; IPv4 as `::ffff:a.b.c.d`.
    pub source: u128,
    /// VIP; IPv4 as `::ffff:a.b.c.d`.
    pub destination: u128,
    /// Ports, 0 where the protocol has none.
    pub ports: Ports,
    /// Protocol number behind all extension headers.
    pub protocol: u8,
}

/// An address of either family as one number: IPv4 as `::ffff:a.b.c.d`.
pub fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address that a number from [`address_bits`] stands for.
pub fn address_of(bits: u128) -> IpAddr {
    let v6 = Ipv6Addr::from(bits);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// Which parts of a flow decide its endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    /// Addresses, protocol, ports.
    #[default]
    Flow,
    /// Addresses only: all that a client sends to a VIP goes to one endpoint.
    Client,
}

/// The 128-bit key of the flow hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

/// A flow's hash: the slot comes from its upper half, the flow label from its lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(pub u64);

impl Seed {
    /// Hashes a flow: SipHash-1-3 over 38 bytes, big endian: source (16), destination (16), source port (2),
    /// destination port (2), protocol (1), affinity (1: 0 flow, 1 client). With affinity `client` ports and protocol
    /// count as 0.
    pub fn hash(&self, key: &FlowKey, affinity: Affinity) -> FlowHash {
        let mut bytes = [0; 38];
        bytes[0..16].copy_from_slice(&key.source.to_be_bytes());
        bytes[16..32].copy_from_slice(&key.destination.to_be_bytes());
        match affinity {
            Affinity::Flow => {
                bytes[32..34].copy_from_slice(&key.ports.source.to_be_bytes());
                bytes[34..36].copy_from_slice(&key.ports.destination.to_be_bytes());
                bytes[36] = key.protocol;
            }
            Affinity::Client => bytes[37] = 1,
        }
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&bytes);
        FlowHash(hasher.finish())
    }
}

impl FlowHash {
    /// The flow's slot in a table of `size` slots, by a multiplication instead of a division.
    pub fn slot(self, size: u32) -> u32 {
        (((self.0 >> 32) * u64::from(size)) >> 32) as u32
    }

    /// A UDP source port for the flow's tunnel, out of the 16,384 dynamic ones (RFC 8085 section 5.1.1).
    pub fn source_port(self) -> u16 {
        0xc000 | (self.0 >> 16) as u16 & 0x3fff
    }

    /// A 20-bit IPv6 flow label that is never 0 (RFC 6437).
    pub fn flow_label(self) -> u32 {
        (self.0 as u32 & 0x000f_ffff).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::l4::protocol;

    const SEED: Seed = Seed([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    fn key() -> FlowKey {
        FlowKey {
            source: address_bits("198.51.100.7".parse().expect("v4")),
            destination: address_bits("203.0.113.10".parse().expect("v4")),
            ports: Ports { source: 40000, destination: 80 },
            protocol: protocol::TCP,
        }
    }

    #[test]
    fn every_part_of_a_flow_counts() {
        let hash = |change: fn(&mut FlowKey)| {
            let mut key = key();
            change(&mut key);
            SEED.hash(&key, Affinity::Flow).0
        };
        let all = [
            hash(|_| ()),
            hash(|k| k.source ^= 1),
            hash(|k| k.destination ^= 1),
            hash(|k| k.ports.source ^= 1),
            hash(|k| k.ports.destination ^= 1),
            hash(|k| k.protocol = protocol::UDP),
            SEED.hash(&key(), Affinity::Client).0,
            Seed([0; 16]).hash(&key(), Affinity::Flow).0,
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_client_is_its_addresses() {
        let other = FlowKey { ports: Ports { source: 1, destination: 2 }, protocol: protocol::UDP, ..key() };
        assert_eq!(SEED.hash(&other, Affinity::Client), SEED.hash(&key(), Affinity::Client));
    }

    #[test]
    fn slots_and_labels_stay_in_range() {
        assert_eq!(FlowHash(u64::MAX).slot(65_537), 65_536);
        assert_eq!(FlowHash(0).slot(65_537), 0);
        assert_eq!(FlowHash(u64::MAX).flow_label(), 0xf_ffff);
        assert_eq!(FlowHash(0xfff0_0000).flow_label(), 1);
        assert_eq!(FlowHash(u64::MAX).source_port(), 65_535);
        assert_eq!(FlowHash(0).source_port(), 49_152);
    }
}
