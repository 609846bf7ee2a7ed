//! The seed of the flow hash: whether it is the one that this node forwarded by before.

use super::Node;
use crate::moment::Second;

/// What a change of the seed breaks, which is over after a window.
#[derive(Debug)]
pub struct SeedProblem {
    until: Second,
    reason: String,
}

impl Node {
    /// The fingerprint of the seed that what is on disk was forwarded by, where that is known and another one. The present
    /// one's is written beside the next set.
    pub(super) fn other_seed_before(&mut self, before: Option<String>) -> Option<String> {
        let now = self.config.seed.fingerprint();
        if before.as_ref() == Some(&now) {
            return None;
        }
        self.disk.set_seed(now);
        before
    }

    /// Says what it breaks that flows were hashed by another seed before.
    pub(super) fn tell_other_seed(&mut self, before: &str) {
        let now = self.config.seed.fingerprint();
        let reason = format!(
            "hash.seed is another one than before (fingerprint {now}, it was {before}): every flow is hashed anew, and of those \
             under way only one in as many as a service has endpoints keeps its own; what slots remembered is forgotten; all \
             edge nodes need the same seed"
        );
        self.events.fail(reason.clone());
        let until = self.clock.now().steady.saturating_add(self.config.handover.window_seconds());
        self.seed_problem = Some(SeedProblem { until, reason });
    }

    /// What a change of the seed has broken of late.
    pub(super) fn seed_problem(&self) -> Option<&str> {
        let problem = self.seed_problem.as_ref()?;
        (self.clock.now().steady < problem.until).then_some(problem.reason.as_str())
    }
}
