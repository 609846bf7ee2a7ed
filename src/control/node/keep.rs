//! What this node has on disk, and what is wrong with that.

use super::Node;
use crate::control::proposal::Patch;

/// A step of the wall clock that is worth a write, in seconds. A clock that is only a little fast or slow is put right in
/// passing.
const SHORTEST_STEP: i64 = 2;

impl Node {
    /// Puts the set and what its slots remember on disk, or only what a patch has changed of it; answers why not, where it
    /// cannot.
    pub(super) fn keep(&mut self, patch: Option<&Patch>) -> Option<String> {
        let now = self.clock.now();
        self.builder.follow_wall_clock(now);
        if patch.is_some_and(|patch| self.store.keep_change(patch, self.builder.slot_memories())) {
            return None;
        }
        self.written_ahead = now.offset();
        let problem = self.store.keep(&self.set, self.builder.slot_memories()).err().map(|error| error.to_string());
        match &problem {
            Some(problem) if self.store_problem.as_ref() != Some(problem) => self.events.fail(problem.clone()),
            None if self.store_problem.is_some() => tracing::info!("the set is on disk again"),
            _ => {}
        }
        if problem.is_none() {
            self.keep_seed();
        }
        self.store_problem = problem.clone();
        problem
    }

    /// The same where no syncer has pushed anything. What lies on disk and was not used stays there until one does.
    pub(super) fn keep_as_well(&mut self) {
        if self.store_problem.is_none() {
            self.keep(None);
        }
    }

    /// Called about once a second: a disk that was full may have room again, and no syncer need push for that.
    pub(super) fn keep_again(&mut self) {
        if self.store.is_due() {
            self.keep(None);
        }
    }

    /// Called about once a second: where the wall clock has been put forward or back, the deadlines on disk, which are by it,
    /// are written anew.
    pub(super) fn keep_after_step(&mut self) {
        let step = self.clock.now().offset() - self.written_ahead;
        if step.abs() < SHORTEST_STEP {
            return;
        }
        tracing::info!(seconds = step, "the wall clock was put forward or back; deadlines are not by it");
        self.written_ahead += step;
        if self.builder.slot_memories().stored().next().is_some() {
            self.keep_as_well();
        }
    }

    /// Says that something on disk was not used. It is left there until a set is applied.
    pub(super) fn note_store_problem(&mut self, problem: String) {
        self.events.fail(problem.clone());
        self.store_problem = Some(match self.store_problem.take() {
            Some(other) => format!("{other}; {problem}"),
            None => problem,
        });
    }
}
