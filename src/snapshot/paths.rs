//! The ways to endpoints.

use std::collections::HashMap;
use std::sync::Arc;

use super::NextHop;
use crate::prefetch::prefetch;

/// The way to an endpoint's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// Where packets go first; none while it is not known.
    pub next_hop: Option<&'a NextHop>,
    /// The largest outer packet that gets there, in bytes: the underlay's MTU, or what a router on the way has said.
    pub mtu: u32,
}

/// The ways to all endpoints, by number. Few neighbours stand before many endpoints, so a way is no more than its
/// neighbour's number and its MTU: those of 100,000 endpoints lie in the caches.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    ways: Arc<[Packed]>,
    next_hops: Arc<[NextHop]>,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
struct Packed {
    /// Number in `next_hops`, or [`UNKNOWN`].
    next_hop: u32,
    mtu: u32,
}

/// More than there are endpoints.
const UNKNOWN: u32 = u32::MAX;

impl Paths {
    /// The ways to so many addresses, first as they are here; then those change that `changes` names, each with its number.
    #[must_use]
    pub fn changed(&self, count: usize, changes: impl IntoIterator<Item = (u32, Option<NextHop>, u32)>) -> Self {
        let mut ways = self.ways.to_vec();
        ways.resize(count, Packed { next_hop: UNKNOWN, mtu: 0 });
        let mut next_hops = self.next_hops.to_vec();
        let mut numbers: HashMap<NextHop, u32> = next_hops.iter().copied().zip(0..).collect();
        for (number, next_hop, mtu) in changes {
            let next_hop = next_hop.map_or(UNKNOWN, |hop| {
                *numbers.entry(hop).or_insert_with(|| {
                    next_hops.push(hop);
                    next_hops.len() as u32 - 1
                })
            });
            if let Some(way) = ways.get_mut(number as usize) {
                *way = Packed { next_hop, mtu };
            }
        }
        Self { ways: ways.into(), next_hops: next_hops.into() }
    }

    /// A way, by its number.
    #[inline]
    pub fn get(&self, number: u32) -> Option<Path<'_>> {
        let Packed { next_hop, mtu } = *self.ways.get(number as usize)?;
        Some(Path { next_hop: self.next_hops.get(next_hop as usize), mtu })
    }

    /// Has the memory of a way come near, so that [`get`](Self::get) need not wait for it.
    #[inline]
    pub fn approach(&self, number: u32) {
        self.ways.get(number as usize).into_iter().for_each(prefetch);
    }

    fn iter(&self) -> impl Iterator<Item = Option<Path<'_>>> {
        (0..self.ways.len() as u32).map(|number| self.get(number))
    }
}

/// Neighbours may have other numbers.
impl PartialEq for Paths {
    fn eq(&self, other: &Self) -> bool {
        self.ways.len() == other.ways.len() && self.iter().eq(other.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Tag;
    use crate::wire::ethernet::MacAddress;

    fn hop(last: u8) -> NextHop {
        let [destination, source] = [MacAddress([2, 0, 0, 0, 0, last]), MacAddress([2, 0, 0, 0, 0, 1])];
        NextHop { destination, source, tag: Tag::None }
    }

    #[test]
    fn what_is_not_named_stays_as_it_was() {
        let first = Paths::default().changed(3, [(0, Some(hop(7)), 1500), (1, Some(hop(8)), 1400)]);
        assert_eq!(first.get(2).map(|path| path.next_hop), Some(None), "not known yet");
        assert_eq!(first.get(3), None);
        let second = first.changed(4, [(1, None, 1500), (3, Some(hop(7)), 1280)]);
        let all: Vec<_> = second.iter().flatten().map(|path| (path.next_hop.copied(), path.mtu)).collect();
        assert_eq!(all, [(Some(hop(7)), 1500), (None, 1500), (None, 0), (Some(hop(7)), 1280)]);
        assert_eq!(second.next_hops.len(), 2);
    }

    #[test]
    fn equal_ways_are_equal_in_whatever_order_neighbours_came() {
        let ways = [(0, Some(hop(7)), 1500), (1, Some(hop(8)), 1500)];
        let (one, other) = (Paths::default().changed(2, ways), Paths::default().changed(2, [ways[1], ways[0]]));
        assert_eq!(one, other);
        assert_ne!(one, one.changed(2, [(0, Some(hop(8)), 1500)]));
        assert_ne!(one, one.changed(2, [(0, Some(hop(7)), 1400)]));
        assert_ne!(one, one.changed(3, []));
    }
}
