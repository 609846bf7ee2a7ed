//! First fragments as bytes, for another process on the same machine: those that are still remembered, each with its place.

use super::{BUCKETS, Entry, Fragments, LIFETIME, Shown, WAYS, Whole};
use crate::moment::Moment;
use crate::wire::icmp::Kind;
use crate::wire::l4::Ports;

/// An entry: its bucket (2 bytes), addresses (32), identification (4), both protocols (2), ports (4), what ICMP message it
/// is (1), when it was seen (8); all little-endian.
const RECORD: usize = 53;

/// In the order of the numbers that stand for them, from 1; 0 is none.
const KINDS: [Kind; 5] = [Kind::EchoRequest, Kind::Error, Kind::OtherError, Kind::NeighbourDiscovery, Kind::Other];

impl Fragments {
    /// Appends every entry that is younger than its lifetime at `now`.
    pub fn store(&self, into: &mut Vec<u8>, now: Moment) {
        for (bucket, entries) in self.buckets.iter().enumerate() {
            let fresh = |entry: &&Entry| entry.whole != Whole::default() && now.since(entry.seen) < LIFETIME;
            for Entry { whole, shown, seen } in entries.iter().filter(fresh) {
                into.extend((bucket as u16).to_le_bytes());
                into.extend(whole.source.to_le_bytes());
                into.extend(whole.destination.to_le_bytes());
                into.extend(whole.identification.to_le_bytes());
                into.extend([whole.protocol, shown.protocol]);
                into.extend(shown.ports.source.to_le_bytes());
                into.extend(shown.ports.destination.to_le_bytes());
                into.push(
                    shown.icmp.and_then(|kind| KINDS.iter().position(|k| *k == kind)).map_or(0, |at| at as u8 + 1),
                );
                into.extend(seen.0.to_le_bytes());
            }
        }
    }

    /// Takes in what [`store`](Self::store) has written. What cannot be an entry here is left out.
    pub fn restore(&mut self, bytes: &[u8]) {
        let (records, _) = bytes.as_chunks::<RECORD>();
        for record in records {
            let Some((bucket, entry)) = read(record) else { continue };
            let entries = &mut self.buckets[bucket];
            if let Some(free) = (0..WAYS).find(|way| entries[*way].whole == Whole::default()) {
                entries[free] = entry;
            }
        }
    }
}

fn read(record: &[u8; RECORD]) -> Option<(usize, Entry)> {
    let (bucket, rest) = record.split_first_chunk::<2>()?;
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (identification, rest) = rest.split_first_chunk::<4>()?;
    let ([protocol, shown_protocol, s0, s1, d0, d1, kind], rest) = rest.split_first_chunk::<7>()?;
    let seen = rest.first_chunk::<8>()?;
    let bucket = usize::from(u16::from_le_bytes(*bucket));
    let whole = Whole {
        source: u128::from_le_bytes(*source),
        destination: u128::from_le_bytes(*destination),
        identification: u32::from_le_bytes(*identification),
        protocol: *protocol,
    };
    let ports = Ports { source: u16::from_le_bytes([*s0, *s1]), destination: u16::from_le_bytes([*d0, *d1]) };
    let icmp = usize::from(*kind).checked_sub(1).and_then(|kind| KINDS.get(kind)).copied();
    let shown = Shown { protocol: *shown_protocol, ports, icmp };
    (bucket < BUCKETS).then_some((bucket, Entry { whole, shown, seen: Moment(u64::from_le_bytes(*seen)) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::SECOND;

    #[test]
    fn what_is_remembered_comes_back() {
        let mut fragments = Fragments::default();
        for number in 0..100 {
            let whole = Whole { source: 1 << 100, destination: 7, identification: number, protocol: 17 };
            let ports = Ports { source: number as u16, destination: 53 };
            let icmp = KINDS.get(number as usize % 6).copied();
            let shown = Shown { protocol: 17, ports, icmp };
            fragments.buckets[number as usize * 5][0] =
                Entry { whole, shown, seen: Moment(u64::from(number) * SECOND) };
        }
        let (mut bytes, mut again) = (Vec::new(), Fragments::default());
        fragments.store(&mut bytes, Moment(99 * SECOND));
        assert_eq!(bytes.len(), 10 * RECORD, "the others are forgotten");
        again.restore(&bytes);
        for number in 90..100 {
            let (was, is) = (fragments.buckets[number * 5][0], again.buckets[number * 5][0]);
            assert_eq!(
                (is.whole, is.seen, is.shown.ports, is.shown.icmp),
                (was.whole, was.seen, was.shown.ports, was.shown.icmp)
            );
        }
        again.restore(&[0xff; 4 * RECORD - 1]);
    }
}
