//! A table as workers read it.

use std::sync::Arc;

use super::Index;
use crate::prefetch::prefetch;

/// The endpoint of each slot of a table: what is read for each packet in an order that nobody can foresee should fill as
/// little of the caches as it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    bytes: Arc<[u8]>,
    size: u32,
    width: Width,
}

/// What a slot fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// Half a byte, the lower half first: enough for 16 endpoints.
    Half,
    /// A byte: for 256.
    One,
    /// Two.
    Two,
}

impl Slots {
    /// A table of `size` slots, or one without any, for so many endpoints, none of which has a higher number.
    pub fn new(table: &[Index], size: u32, endpoints: usize) -> Self {
        let (width, bytes) = match endpoints {
            0..=16 => (Width::Half, table.chunks(2).map(half_bytes).collect()),
            17..=256 => (Width::One, table.iter().map(|index| *index as u8).collect()),
            _ => (Width::Two, table.iter().flat_map(|index| index.to_ne_bytes()).collect()),
        };
        Self { bytes, size, width }
    }

    /// How many slots there are, also where the table is empty.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether no slot has an endpoint.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The endpoint of a slot; none where the table is empty.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<Index> {
        let at = slot as usize;
        match self.width {
            Width::Half => self.bytes.get(at / 2).map(|two| Index::from(two >> (slot % 2 * 4) & 0xf)),
            Width::One => self.bytes.get(at).map(|index| Index::from(*index)),
            Width::Two => self.bytes.get(2 * at..)?.first_chunk().map(|index| Index::from_ne_bytes(*index)),
        }
    }

    /// Has the memory of a slot come near, so that [`get`](Self::get) need not wait for it.
    #[inline]
    pub fn approach(&self, slot: u32) {
        let at = match self.width {
            Width::Half => slot as usize / 2,
            Width::One => slot as usize,
            Width::Two => slot as usize * 2,
        };
        self.bytes.get(at).into_iter().for_each(prefetch);
    }

    /// The endpoints of all slots in order; none where the table is empty.
    pub fn iter(&self) -> impl Iterator<Item = Index> {
        let count = if self.bytes.is_empty() { 0 } else { self.size };
        (0..count).map_while(|slot| self.get(slot))
    }
}

/// One slot or two in a byte.
fn half_bytes(slots: &[Index]) -> u8 {
    slots.iter().rev().fold(0, |byte, index| byte << 4 | *index as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_and_wide_tables_read_alike() {
        for (endpoints, bytes) in [(2, 3), (16, 3), (17, 5), (256, 5), (257, 10)] {
            let table = [0, 1, (endpoints - 1) as Index, 1, 0];
            let slots = Slots::new(&table, 5, endpoints);
            assert_eq!(slots.iter().collect::<Vec<_>>(), table);
            assert_eq!((slots.get(6), slots.size(), slots.bytes.len()), (None, 5, bytes), "{endpoints}");
        }
        let empty = Slots::new(&[], 5, 0);
        assert_eq!((empty.get(0), empty.iter().count(), empty.size()), (None, 0, 5));
        assert!(empty.is_empty() && !Slots::new(&[0], 5, 1).is_empty());
    }
}
