//! Flows and their keyed hash. Its definition is part of the contract: the same on every node, CPU and version of the
//! same major number, or two nodes would send one flow to two endpoints.

mod lanes;

use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};

pub use lanes::{LANES, Lanes};

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
#[inline]
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
    #[inline]
    pub fn hash(&self, key: &FlowKey, affinity: Affinity) -> FlowHash {
        FlowHash(SipState::new(&self.0).hash(words(key, affinity)))
    }

    /// What tells whether two nodes have the same seed: 16 hexadecimal digits that nobody can make the seed of.
    pub fn fingerprint(&self) -> String {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(b"the fingerprint of hash.seed");
        format!("{:016x}", hasher.finish())
    }
}

/// What is hashed of a flow, in words of eight bytes as SipHash reads them.
#[inline(always)]
fn words(key: &FlowKey, affinity: Affinity) -> [u64; WORDS] {
    let (source, destination) = (key.source.to_be_bytes(), key.destination.to_be_bytes());
    let (ports, protocol) = match affinity {
        Affinity::Flow => (key.ports, key.protocol),
        Affinity::Client => (Ports::default(), 0),
    };
    let ([s0, s1], [d0, d1]) = (ports.source.to_be_bytes(), ports.destination.to_be_bytes());
    let last = [s0, s1, d0, d1, protocol, u8::from(affinity == Affinity::Client), 0, HASHED];
    let last = u64::from_le_bytes(last);
    [half(&source, 0), half(&source, 8), half(&destination, 0), half(&destination, 8), last]
}

/// How many there are.
const WORDS: usize = 5;

/// How many bytes of a flow are hashed; SipHash ends with their number.
const HASHED: u8 = 38;

/// Eight bytes of an address, as SipHash reads them.
#[inline]
fn half(address: &[u8; 16], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&address[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// SipHash-1-3 (Aumasson and Bernstein, INDOCRYPT 2012) over whole words. It is written out here because the length is
/// always the same, so that the compiler can lay all of it out without a branch.
#[derive(Clone, Copy, Debug)]
struct SipState([u64; 4]);

impl SipState {
    #[inline]
    fn new(seed: &[u8; 16]) -> Self {
        let (k0, k1) = (half(seed, 0), half(seed, 8));
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// The hash of these words behind what it has taken so far.
    #[inline(always)]
    fn hash(mut self, words: [u64; WORDS]) -> u64 {
        for word in words {
            self.0[3] ^= word;
            self.round();
            self.0[0] ^= word;
        }
        self.0[2] ^= 0xff;
        (0..3).for_each(|_| self.round());
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        d = d.rotate_left(21) ^ a;
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

impl FlowHash {
    /// The flow's slot in a table of `size` slots, by a multiplication instead of a division.
    #[inline]
    pub fn slot(self, size: u32) -> u32 {
        (((self.0 >> 32) * u64::from(size)) >> 32) as u32
    }

    /// A UDP source port for the flow's tunnel, out of the 16,384 dynamic ones (RFC 8085 section 5.1.1).
    #[inline]
    pub fn source_port(self) -> u16 {
        0xc000 | (self.0 >> 16) as u16 & 0x3fff
    }

    /// A 20-bit IPv6 flow label that is never 0 (RFC 6437).
    #[inline]
    pub fn flow_label(self) -> u32 {
        (self.0 as u32 & 0x000f_ffff).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::l4::protocol;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;
    use std::hash::Hasher;

    const SEED: Seed = Seed([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    fn key() -> FlowKey {
        FlowKey {
            source: address_bits("198.51.100.7".parse().expect("v4")),
            destination: address_bits("203.0.113.10".parse().expect("v4")),
            ports: Ports { source: 40000, destination: 80 },
            protocol: protocol::TCP,
        }
    }

    fn addresses() -> impl Strategy<Value = u128> {
        prop_oneof![any::<u128>(), any::<u32>().prop_map(|v4| 0xffff << 32 | u128::from(v4))]
    }

    proptest! {
        #[test]
        fn is_siphash_as_others_have_it(
            (seed, source, destination) in (any::<[u8; 16]>(), addresses(), addresses()),
            (from, to, protocol, is_client) in (any::<u16>(), any::<u16>(), any::<u8>(), any::<bool>()),
        ) {
            let key = FlowKey { source, destination, ports: Ports { source: from, destination: to }, protocol };
            let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
            if is_client {
                bytes.extend([0, 0, 0, 0, 0, 1]);
            } else {
                bytes.extend([from.to_be_bytes(), to.to_be_bytes()].concat());
                bytes.extend([protocol, 0]);
            }
            let mut hasher = SipHasher13::new_with_key(&seed);
            hasher.write(&bytes);
            let affinity = if is_client { Affinity::Client } else { Affinity::Flow };
            prop_assert_eq!(Seed(seed).hash(&key, affinity).0, hasher.finish());
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
