//! What there is of each prefix of one length, by the prefix's bits.

use crate::prefetch::prefetch;

/// Open addressing: each prefix lies at the place that its bits ask for, or behind it where that is taken. A third of the
/// places is free at least, so that most are found at once, in the one cache line that has all that is asked of them.
#[derive(Debug)]
pub struct Table<V> {
    /// As many as a power of two.
    places: Box<[Place<V>]>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Place<V>(Option<(u128, V)>);

impl<V> Table<V> {
    /// The table of these prefixes, each of which comes once.
    pub fn new(prefixes: Vec<(u128, V)>) -> Self {
        let mut places: Vec<Place<V>> = Vec::new();
        places.resize_with((prefixes.len() * 3 / 2 + 1).next_power_of_two(), || Place(None));
        let mask = places.len() - 1;
        for (bits, value) in prefixes {
            let mut at = hash(bits) & mask;
            while places[at].0.is_some() {
                at = (at + 1) & mask;
            }
            places[at] = Place(Some((bits, value)));
        }
        Self { places: places.into() }
    }

    /// What there is of a prefix.
    #[inline]
    pub fn get(&self, bits: u128) -> Option<&V> {
        let mask = self.places.len() - 1;
        for at in hash(bits).. {
            match &self.places.get(at & mask)?.0 {
                Some((own, value)) if *own == bits => return Some(value),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// Has the memory of a prefix come near, so that it is in the caches when it is asked for.
    #[inline]
    pub fn approach(&self, bits: u128) {
        if let Some(place) = self.places.get(hash(bits) & (self.places.len() - 1)) {
            prefetch(place);
        }
    }
}

/// VIPs are the operator's choice, not an attacker's, so a multiplication is hash enough. It leaves 63 bits: places behind
/// the last one can be counted.
#[inline]
fn hash(bits: u128) -> usize {
    let folded = (bits >> 64) as u64 ^ (bits as u64).rotate_left(32);
    let product = u128::from(folded) * 0x9e37_79b9_7f4a_7c15_u128;
    (((product >> 64) as u64 ^ product as u64) >> 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn finds_what_is_there_and_nothing_else(
            there in prop::collection::hash_map(prop_oneof![0u128..64, any::<u128>()], any::<u32>(), 0..40),
            others in prop::collection::vec(prop_oneof![0u128..64, any::<u128>()], 20),
        ) {
            let table = Table::new(there.clone().into_iter().collect());
            let known: HashMap<u128, u32> = there;
            for bits in known.keys().copied().chain(others) {
                prop_assert_eq!(table.get(bits), known.get(&bits));
            }
        }
    }
}
