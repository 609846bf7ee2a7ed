//! A table as workers read it.

use std::sync::Arc;

use super::Index;

/// The endpoint of each slot of a table, in one byte where there are no more than 256 endpoints, and in two otherwise: what
/// is read for each packet in an order that nobody can foresee should fill as little of the caches as it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    bytes: Arc<[u8]>,
    size: u32,
    is_wide: bool,
}

impl Slots {
    /// A table of `size` slots, or one without any, for so many endpoints, none of which has a higher number.
    pub fn new(table: &[Index], size: u32, endpoints: usize) -> Self {
        let is_wide = endpoints > 1 << u8::BITS;
        let narrow = || table.iter().map(|index| *index as u8).collect();
        let wide = || table.iter().flat_map(|index| index.to_ne_bytes()).collect();
        Self { bytes: if is_wide { wide() } else { narrow() }, size, is_wide }
    }

    /// How many slots there are, also where the table is empty.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The endpoint of a slot; none where the table is empty.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<Index> {
        let at = slot as usize;
        if !self.is_wide {
            return self.bytes.get(at).map(|index| Index::from(*index));
        }
        self.bytes.get(2 * at..)?.first_chunk().map(|index| Index::from_ne_bytes(*index))
    }

    /// The endpoints of all slots in order; none where the table is empty.
    pub fn iter(&self) -> impl Iterator<Item = Index> {
        (0..self.size).map_while(|slot| self.get(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_and_wide_tables_read_alike() {
        for (endpoints, bytes) in [(2, 5), (256, 5), (257, 10)] {
            let table = [0, 1, (endpoints - 1) as Index, 1, 0];
            let slots = Slots::new(&table, 5, endpoints);
            assert_eq!(slots.iter().collect::<Vec<_>>(), table);
            assert_eq!((slots.get(5), slots.size(), slots.bytes.len()), (None, 5, bytes), "{endpoints}");
        }
        let empty = Slots::new(&[], 5, 0);
        assert_eq!((empty.get(0), empty.iter().count(), empty.size()), (None, 0, 5));
    }
}
