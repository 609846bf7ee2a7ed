//! Who looks on while a worker works. Nobody mostly, and then it costs nothing.

use crate::capture::Sampling;
use crate::forward::verdict::Verdict;
use crate::moment::Moment;
use crate::snapshot::Snapshot;

/// Sees each frame of a batch, one after the other.
pub trait Observer {
    /// A frame as it came.
    #[inline]
    fn came(&mut self, _frame: &[u8], _at: Moment) {}

    /// What became of it, and what leaves.
    fn went<'f>(&mut self, verdict: Verdict, snapshot: &Snapshot, left: impl FnOnce() -> &'f [u8]);
}

/// One who wants to know the verdicts alone.
impl<F: FnMut(Verdict)> Observer for F {
    #[inline]
    fn went<'f>(&mut self, verdict: Verdict, _: &Snapshot, _: impl FnOnce() -> &'f [u8]) {
        self(verdict);
    }
}

impl Observer for Sampling<'_> {
    fn came(&mut self, frame: &[u8], at: Moment) {
        Sampling::came(self, frame, at);
    }

    fn went<'f>(&mut self, verdict: Verdict, snapshot: &Snapshot, left: impl FnOnce() -> &'f [u8]) {
        Sampling::went(self, verdict, snapshot, left());
    }
}
