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

/// A moment in whole seconds, counted from one that its clock says.
pub type Second = u32;

/// What time it is, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// By a clock that nobody can set: what deadlines inside the process are counted by.
    pub steady: Second,
    /// Since 1970, by the wall clock, which may be put forward or back at any time: what others write down.
    pub wall: Second,
}

impl Now {
    /// Both clocks say the same, as the time of a capture is.
    pub fn at(second: Second) -> Self {
        Self { steady: second, wall: second }
    }

    /// How many seconds the wall clock is ahead of the steady one.
    pub fn offset(self) -> i64 {
        i64::from(self.wall) - i64::from(self.steady)
    }

    /// A moment of the wall clock that has been, by the steady one; now, where the wall clock has it in the future.
    pub fn steady_of(self, wall: i64) -> Second {
        let ago = i64::from(self.wall).saturating_sub(wall).max(0);
        self.steady.saturating_sub(Second::try_from(ago).unwrap_or(Second::MAX))
    }
}

/// A moment that many seconds later, or earlier; the first or last that there is, where that is none.
pub fn moved(second: Second, by: i64) -> Second {
    let moved = i64::from(second).saturating_add(by);
    Second::try_from(moved.max(0)).unwrap_or(Second::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_was_written_down_is_as_long_ago_by_either_clock() {
        let now = Now { steady: 1_000, wall: 1_900 };
        assert_eq!((now.offset(), now.steady_of(1_850)), (900, 950));
        assert_eq!((now.steady_of(2_500), now.steady_of(-5), now.steady_of(i64::MIN)), (1_000, 0, 0));
        assert_eq!((moved(7, -8), moved(7, 8), moved(Second::MAX, 1)), (0, 15, Second::MAX));
    }
}
