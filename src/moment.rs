//! Time as the pure rooms know it: a number that somebody with a clock gives them.

/// Nanoseconds since some start that is its owner's own. It never means anything to another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

impl Moment {
    /// How many nanoseconds lie between `earlier` and this; 0 where it was no earlier, as times of a capture may be.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// That many nanoseconds later.
    #[must_use]
    pub fn plus(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }
}
