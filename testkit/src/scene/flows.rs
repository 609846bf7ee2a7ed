//! Which flow comes next.

/// Well mixed numbers (SplitMix64), the same in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Another sequence for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u64::from((mixed ^ mixed >> 31) as u32) * u64::from(end)) >> 32) as u32
    }
}

/// Numbers of flows, in the order in which their packets come.
#[derive(Clone, Debug)]
pub enum Order {
    /// One and the same.
    One,
    /// Any of so many.
    Random(Random, u32),
    /// Never the same twice (within a thousand million), from this one on.
    New(u32),
}

impl Order {
    /// Any of so many flows.
    pub fn random(flows: u32) -> Self {
        Self::Random(Random::new(u64::from(flows)), flows)
    }

    /// The next flow's number, below 2^30.
    pub fn pick(&mut self) -> u32 {
        match self {
            Self::One => 0,
            Self::Random(random, flows) => random.below(*flows),
            Self::New(next) => {
                *next = (*next + 1) % (1 << 30);
                *next
            }
        }
    }
}
