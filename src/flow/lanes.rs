//! The flow hash of several flows at a time, which the processor's vectors make cheaper than one after the other.
#![allow(unsafe_code, reason = "what only some processors have can be called by no other way")]

use super::{Affinity, FlowHash, FlowKey, Seed, SipState, WORDS, words};

/// So many flows are hashed at a time.
pub const LANES: usize = 8;

/// Flows that are to be hashed, each in its lane, by all of its parts (affinity `flow`).
#[derive(Clone, Copy, Debug)]
pub struct Lanes([[u64; LANES]; WORDS]);

impl Default for Lanes {
    fn default() -> Self {
        Self([[0; LANES]; WORDS])
    }
}

impl Lanes {
    /// Puts a flow into a lane; nothing happens where there is no such lane.
    #[inline(always)]
    pub fn set(&mut self, lane: usize, key: &FlowKey) {
        for (lanes, word) in self.0.iter_mut().zip(words(key, Affinity::Flow)) {
            if let Some(own) = lanes.get_mut(lane) {
                *own = word;
            }
        }
    }

    /// The hashes of all lanes, as [`Seed::hash`] makes them. That of a lane that was not set means nothing.
    #[inline]
    pub fn hash(&self, seed: &Seed) -> [FlowHash; LANES] {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function is made for.
            return unsafe { self.hash_by_avx512(seed) };
        } else if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { self.hash_by_avx2(seed) };
        }
        self.hash_each(seed)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn hash_by_avx512(&self, seed: &Seed) -> [FlowHash; LANES] {
        self.hash_each(seed)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn hash_by_avx2(&self, seed: &Seed) -> [FlowHash; LANES] {
        self.hash_each(seed)
    }

    /// The compiler makes vectors of it, as wide as the caller may have them; only of lanes that it sees side by side, so
    /// neither by `map` nor by a copy of the words.
    #[inline(always)]
    fn hash_each(&self, seed: &Seed) -> [FlowHash; LANES] {
        let (empty, mut hashes, [a, b, c, d, e]) = (SipState::new(&seed.0), [FlowHash(0); LANES], &self.0);
        for lane in 0..LANES {
            hashes[lane] = FlowHash(empty.hash([a[lane], b[lane], c[lane], d[lane], e[lane]]));
        }
        hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::l4::Ports;
    use proptest::prelude::*;

    fn flows() -> impl Strategy<Value = Vec<FlowKey>> {
        let flow = (any::<u128>(), any::<u128>(), any::<u16>(), any::<u16>(), any::<u8>());
        let flow = flow.prop_map(|(source, destination, from, to, protocol)| {
            let ports = Ports { source: from, destination: to };
            FlowKey { source, destination, ports, protocol }
        });
        prop::collection::vec(flow, LANES + 1)
    }

    proptest! {
        #[test]
        fn all_lanes_hash_as_one_does(seed in any::<[u8; 16]>(), flows in flows()) {
            let (seed, mut lanes) = (Seed(seed), Lanes::default());
            flows.iter().enumerate().for_each(|(lane, flow)| lanes.set(lane, flow));
            let wanted: Vec<FlowHash> = flows[..LANES].iter().map(|flow| seed.hash(flow, Affinity::Flow)).collect();
            prop_assert_eq!(&lanes.hash(&seed)[..], &wanted[..]);
            prop_assert_eq!(&lanes.hash_each(&seed)[..], &wanted[..]);
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has it.
                prop_assert_eq!(&unsafe { lanes.hash_by_avx2(&seed) }[..], &wanted[..]);
            }
        }
    }
}
