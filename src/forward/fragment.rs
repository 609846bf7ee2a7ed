//! Fragments: the first one of a packet shows its flow, and the later ones follow it.
//!
//! A later fragment that comes before its first is dropped: fragments of one packet leave their sender in one burst, and
//! a receive queue keeps the order of what one network path delivers (docs/decisions/0005-fragments.md has the measure).

mod stored;

use super::parse::Packet;
use crate::flow::{Affinity, FlowKey, Seed};
use crate::moment::{Moment, SECOND};
use crate::wire::Family;
use crate::wire::icmp::Kind;
use crate::wire::l4::Ports;

/// How long a first fragment is remembered, in nanoseconds. Its followers come within milliseconds; the 16-bit
/// identification of IPv4 comes again after 65,536 packets.
const LIFETIME: u64 = 10 * SECOND;
/// Entries of a bucket, and buckets: 4,096 packets in 320 KiB.
const WAYS: usize = 8;
const BUCKETS: usize = 512;

/// Which packet a fragment is of (RFC 791, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Whole {
    source: u128,
    destination: u128,
    identification: u32,
    /// 0 with IPv6, where a later fragment need not show the first one's.
    protocol: u8,
}

/// What only the first fragment shows.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    protocol: u8,
    ports: Ports,
    icmp: Option<Kind>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    whole: Whole,
    shown: Shown,
    seen: Moment,
}

/// First fragments seen of late: a fixed number, the oldest of a bucket making room.
#[derive(Debug)]
pub struct Fragments {
    buckets: Box<[[Entry; WAYS]]>,
}

impl Default for Fragments {
    fn default() -> Self {
        Self { buckets: vec![[Entry::default(); WAYS]; BUCKETS].into() }
    }
}

impl Whole {
    fn of(packet: &Packet) -> Option<Self> {
        let protocol = match packet.family {
            Family::V4 => packet.flow.protocol,
            Family::V6 => 0,
        };
        let identification = packet.fragment?.identification;
        let FlowKey { source, destination, .. } = packet.flow;
        Some(Self { source, destination, identification, protocol })
    }

    /// Keyed, so that nobody can aim at a bucket.
    fn bucket(&self, seed: &Seed) -> usize {
        let &Self { source, destination, identification, protocol } = self;
        let ports = Ports { source: (identification >> 16) as u16, destination: identification as u16 };
        let hash = seed.hash(&FlowKey { source, destination, ports, protocol }, Affinity::Flow);
        hash.slot(BUCKETS as u32) as usize
    }
}

impl Fragments {
    /// Remembers what a first fragment shows.
    pub fn remember(&mut self, packet: &Packet, seed: &Seed, now: Moment) {
        let Some(whole) = Whole::of(packet) else { return };
        let entries = &mut self.buckets[whole.bucket(seed)];
        let known = entries.iter().position(|entry| entry.whole == whole);
        let oldest = || (0..WAYS).min_by_key(|at| entries[*at].seen).unwrap_or(0);
        let FlowKey { protocol, ports, .. } = packet.flow;
        let shown = Shown { protocol, ports, icmp: packet.icmp };
        entries[known.unwrap_or_else(oldest)] = Entry { whole, shown, seen: now };
    }

    /// Completes the flow of a later fragment by what its first one showed, if that was seen.
    pub fn recall(&self, packet: &mut Packet, seed: &Seed, now: Moment) {
        let Some(whole) = Whole::of(packet) else { return };
        let entries = &self.buckets[whole.bucket(seed)];
        let fresh = |entry: &&Entry| entry.whole == whole && now.since(entry.seen) < LIFETIME;
        if let Some(Entry { shown, .. }) = entries.iter().find(fresh) {
            (packet.flow.protocol, packet.flow.ports, packet.icmp) = (shown.protocol, shown.ports, shown.icmp);
            packet.is_flow_known = true;
        }
    }
}
