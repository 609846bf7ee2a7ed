//! Numbers that look random, and are the same in every run.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Another seed, other numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// One of the numbers from 0 up to, not including, `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        ((u128::from(self.any()) * u128::from(end)) >> 64) as u32
    }

    /// From 0 up to, not including, 1.
    pub fn share(&mut self) -> f64 {
        (self.any() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From `least` to `most` with a tail that falls as a power law does (a truncated Pareto distribution): the larger
    /// `exponent`, the fewer large numbers.
    pub fn heavy_tailed(&mut self, (least, most): (f64, f64), exponent: f64) -> f64 {
        let (low, high) = (least.powf(-exponent), most.powf(-exponent));
        (low - self.share() * (low - high)).powf(-1.0 / exponent)
    }
}
