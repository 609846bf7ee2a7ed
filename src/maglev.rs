//! Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4), with weights: which endpoint each slot of a table has.
//!
//! A table is a pure function of the endpoints' names and weights and of its size; the order in which they are given
//! means nothing. Each endpoint prefers the slots in an order of its own and takes its turns, as many as its weight
//! asks for, so that when one endpoint goes or comes few slots of the others change.

mod batch;
mod filling;
mod modular;
mod slots;
mod turn;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use filling::fill;
pub use slots::Slots;
use turn::{Order, Turn};

/// An endpoint's number in the list that a table was built from.
pub type Index = u16;

/// The most endpoints of one table; the numbers are 16 bits wide so that a table of 65,537 slots fits a core's cache, and
/// two of them stand for something else where slots are remembered (`handover`).
pub const MOST_ENDPOINTS: usize = Index::MAX as usize - 1;

/// The largest table: 1,048,573 slots, 2 MiB.
pub const LARGEST: u32 = 1_048_573;

/// Default table sizes: primes, each about four times the one before. Steps this coarse keep a service's size the same
/// while it grows and shrinks by a few endpoints: a new size moves most flows.
const SIZES: [u32; 5] = [1_021, 4_093, 16_381, 65_537, 262_147];

/// What one endpoint brings to a build.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Tells the endpoint from the others of its table.
    pub name: &'a str,
    /// Its share, relative to the others'. 0: it gets no slot.
    pub weight: u16,
}

/// The size of a table for this many endpoints: the first default with at least 100 slots for each, so that shares
/// differ by at most 1 %.
pub fn default_size(endpoints: usize) -> u32 {
    SIZES.into_iter().find(|size| *size as usize / 100 >= endpoints).unwrap_or(LARGEST)
}

/// Whether `size` can be a table's: a prime, so that every step visits all slots, and not above [`LARGEST`].
pub fn is_valid_size(size: u64) -> bool {
    let is_prime = || (2..).take_while(|d| d * d <= size).all(|d| !size.is_multiple_of(d));
    (2..=u64::from(LARGEST)).contains(&size) && is_prime()
}

/// Builds a table of `size` slots (a prime). Empty where no candidate has a weight.
pub fn build(candidates: &[Candidate<'_>], size: u32) -> Box<[Index]> {
    let mut order: Vec<usize> = (0..candidates.len()).filter(|i| candidates[*i].weight > 0).collect();
    order.sort_by_key(|i| candidates[*i].name);
    let Some(heaviest) = order.iter().map(|i| u32::from(candidates[*i].weight)).max() else {
        return Box::default();
    };
    let quotas = quotas(order.iter().map(|i| u64::from(candidates[*i].weight)), u64::from(size));
    let turns = (order.iter().zip(quotas)).filter(|(_, quota)| *quota > 0);
    let turns = turns.map(|(index, quota)| turn(*index as Index, &candidates[*index], quota, size));
    fill(turns.collect(), heaviest, size)
}

/// How many of `size` slots each weight is due: the whole part of its share, the slots left over to the largest
/// remainders, and none below one while there is room. The sum is `size`, or less than that never.
fn quotas(weights: impl Iterator<Item = u64> + Clone, size: u64) -> Vec<u64> {
    let total: u64 = weights.clone().sum();
    let mut quotas: Vec<u64> = weights.clone().map(|weight| size * weight / total).collect();
    let mut by_remainder: Vec<(u64, usize)> =
        weights.enumerate().map(|(i, weight)| (size * weight % total, i)).collect();
    by_remainder.sort_by_key(|(remainder, i)| (Reverse(*remainder), *i));
    let left = size - quotas.iter().sum::<u64>();
    for (_, i) in by_remainder.into_iter().take(left as usize) {
        quotas[i] += 1;
    }
    if quotas.len() as u64 <= size {
        raise_empty(&mut quotas);
    }
    quotas
}

/// Gives each endpoint without a slot one from the endpoint that has most.
fn raise_empty(quotas: &mut [u64]) {
    let mut most: BinaryHeap<(u64, Reverse<usize>)> = quotas.iter().copied().zip((0..).map(Reverse)).collect();
    for empty in 0..quotas.len() {
        if quotas[empty] == 0
            && let Some(mut richest) = most.peek_mut()
        {
            richest.0 -= 1;
            quotas[richest.1.0] -= 1;
            quotas[empty] = 1;
        }
    }
}

/// What a candidate's name and weight make of its turns, with so many slots due to it.
fn turn(index: Index, candidate: &Candidate<'_>, quota: u64, size: u32) -> Turn {
    let offset = name_hash(candidate.name, b"offset") % u64::from(size);
    let skip = name_hash(candidate.name, b"skip") % u64::from(size - 1) + 1;
    Turn::new(index, candidate.weight, quota as u32, Order { slot: offset as u32, skip: skip as u32 })
}

/// Names are hashed without the secret seed: nobody gains by choosing them, and tables can be compared between nodes.
fn name_hash(name: &str, purpose: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(purpose);
    hasher.write(&[0]);
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("endpoint-{i}")).collect()
    }

    fn table(names: &[String], weights: &[u16], size: u32) -> Vec<String> {
        let candidates: Vec<_> =
            names.iter().zip(weights).map(|(name, weight)| Candidate { name, weight: *weight }).collect();
        build(&candidates, size).iter().map(|index| names[usize::from(*index)].clone()).collect()
    }

    fn one_by_one(candidates: &[Candidate<'_>], size: u32) -> Box<[Index]> {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by_key(|i| candidates[*i].name);
        let mut quotas = quotas(order.iter().map(|i| candidates[*i].weight.into()), size.into());
        let heaviest = candidates.iter().map(|candidate| u32::from(candidate.weight)).max().expect("not empty");
        let mut slots = vec![Index::MAX; size as usize];
        let (mut asked, mut credits) = (vec![0; order.len()], vec![0; order.len()]);
        while quotas.iter().any(|quota| *quota > 0) {
            for (at, i) in order.iter().enumerate() {
                credits[at] += u32::from(candidates[*i].weight);
                if credits[at] < heaviest {
                    continue;
                }
                credits[at] -= heaviest;
                let hash = |purpose| name_hash(candidates[*i].name, purpose);
                let (offset, skip) = (hash(b"offset") % u64::from(size), hash(b"skip") % u64::from(size - 1) + 1);
                while quotas[at] > 0 {
                    let slot = (offset + asked[at] * skip) % u64::from(size);
                    asked[at] += 1;
                    if slots[slot as usize] == Index::MAX {
                        slots[slot as usize] = *i as Index;
                        quotas[at] -= 1;
                        break;
                    }
                }
            }
        }
        slots.into()
    }

    fn count(table: &[String], name: &str) -> f64 {
        table.iter().filter(|owner| *owner == name).count() as f64
    }

    fn primes() -> impl Strategy<Value = u32> {
        (50u64..3_000).prop_map(|n| (n..).find(|n| is_valid_size(*n)).map_or(0, |n| n as u32))
    }

    proptest! {
        #[test]
        fn equal_weights_get_equal_shares_within_one_slot(n in 1usize..50, size in primes(), weight in 1u16..1000) {
            let names = names(n);
            let table = table(&names, &vec![weight; n], size);
            prop_assert_eq!(table.len(), size as usize);
            for name in &names {
                prop_assert!((count(&table, name) - f64::from(size) / n as f64).abs() < 1.0);
            }
        }

        #[test]
        fn shares_follow_weights_within_one_slot(weights in prop::collection::vec(1u16..=30, 1..20)) {
            let names = names(weights.len());
            let table = table(&names, &weights, 4_093);
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            for (name, weight) in names.iter().zip(&weights) {
                let due = 4_093.0 * f64::from(*weight) / total;
                prop_assert!((count(&table, name) - due).abs() < 1.0, "{} slots, due {due}", count(&table, name));
            }
        }

        #[test]
        fn order_means_nothing(
            (given, shuffled) in prop::collection::btree_map("[a-z]{1,8}", 0u16..1000, 1..30)
                .prop_map(|map| map.into_iter().collect::<Vec<_>>())
                .prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
            size in primes(),
        ) {
            let build = |list: Vec<(String, u16)>| {
                let (names, weights): (Vec<_>, Vec<_>) = list.into_iter().unzip();
                table(&names, &weights, size)
            };
            prop_assert_eq!(build(given), build(shuffled));
        }

        /// However turns are sped up: one endpoint after the other, one slot after the other, as the paper has it.
        #[test]
        fn each_endpoint_in_turn_takes_its_next_free_slot(
            weights in prop::collection::vec(prop::sample::select(vec![1u16, 1, 1, 2, 3, 500, 1000]), 1..400),
            size in prop::sample::select(vec![2u32, 3, 5, 1_021, 1_031, 4_093, 16_381]),
        ) {
            let names = names(weights.len());
            let candidates: Vec<_> =
                names.iter().zip(&weights).map(|(name, weight)| Candidate { name, weight: *weight }).collect();
            prop_assert_eq!(build(&candidates, size), one_by_one(&candidates, size));
        }

        /// The paper's figure 12: the fewer the endpoints a slot, the smaller the disruption; with 100 slots and more
        /// for each, the slots that move without need stay a few percent of all.
        #[test]
        fn losing_one_endpoint_moves_little_else(n in 5usize..60, lost in 0usize..60) {
            let all = names(n);
            let lost = lost % n;
            let size = default_size(n);
            let before = table(&all, &vec![1; n], size);
            let mut weights = vec![1; n];
            weights[lost] = 0;
            let after = table(&all, &weights, size);
            let moved = before.iter().zip(&after).filter(|(b, a)| **b != all[lost] && a != b).count();
            prop_assert!(!after.contains(&all[lost]));
            prop_assert!(moved as f64 <= 0.05 * f64::from(size), "{moved} of {size} moved without need");
        }
    }

    #[test]
    fn without_weight_there_is_no_table() {
        assert!(build(&[], 7).is_empty());
        assert!(build(&[Candidate { name: "a", weight: 0 }], 7).is_empty());
    }

    #[test]
    fn the_lightest_endpoint_gets_a_slot_while_there_is_room() {
        let names = names(3);
        let table = table(&names, &[1000, 1000, 1], 101);
        assert_eq!(count(&table, "endpoint-2"), 1.0);
    }

    #[test]
    fn many_light_endpoints_beside_heavy_ones_all_get_a_slot_in_time() {
        let names = names(20_000);
        let weights: Vec<u16> = (0..20_000).map(|i| if i % 2 == 0 { 1000 } else { 1 }).collect();
        let candidates: Vec<_> = names.iter().zip(weights).map(|(name, weight)| Candidate { name, weight }).collect();
        let table = build(&candidates, 262_147);
        assert_eq!(table.iter().collect::<std::collections::BTreeSet<_>>().len(), 20_000);
    }

    #[test]
    fn more_endpoints_than_slots_is_no_trouble() {
        assert_eq!(table(&names(20), &[1; 20], 7).len(), 7);
    }

    #[test]
    fn default_sizes_are_valid_and_grow() {
        assert!(SIZES.iter().chain([&LARGEST]).all(|size| is_valid_size(u64::from(*size))));
        assert_eq!(
            [0, 10, 11, 650, 655, 656, 60_000].map(default_size),
            [1_021, 1_021, 4_093, 65_537, 65_537, 262_147, LARGEST]
        );
        assert!(![0, 1, 4, 65_535, 1 << 40].into_iter().any(is_valid_size));
    }

    /// Tables must not change within a major version: two nodes would disagree in a rolling upgrade.
    #[test]
    fn a_known_table_stays_as_it_is() {
        let names = names(3);
        let table = table(&names, &[1, 2, 3], 11);
        let text: String = table.iter().map(|name| &name[9..]).collect();
        assert_eq!(text, "01102122122");
    }
}
