//! The seed of the flow hash: whether it is the one that this node forwarded by before.

use super::Node;
use crate::control::sealed_file::SealedFile;
use crate::moment::Second;

/// The form of the seed's fingerprint on disk: a JSON string.
const FORMAT: u32 = 1;

/// What a change of the seed breaks, which is over after a window.
#[derive(Debug)]
pub struct SeedProblem {
    until: Second,
    reason: String,
}

impl Node {
    fn seed_file(&self) -> SealedFile {
        SealedFile { path: self.config.node.state_dir.join("hash-seed.json"), format: FORMAT }
    }

    /// The fingerprint of the seed that what is on disk was forwarded by, where that is known and another one.
    pub(super) fn other_seed_before(&mut self) -> Option<String> {
        let text = self.seed_file().read().ok().flatten()?;
        let before: String = serde_json::from_str(&text).ok()?;
        self.seed_is_kept = before == self.config.seed.fingerprint();
        Some(before).filter(|_| !self.seed_is_kept)
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

    /// Puts the seed's fingerprint on disk, beside the set that is forwarded by it. Where that cannot be done the next start
    /// does not know, and the next write tries again.
    pub(super) fn keep_seed(&mut self) {
        if self.seed_is_kept {
            return;
        }
        match self.seed_file().write(&format!("\"{}\"", self.config.seed.fingerprint())) {
            Ok(()) => self.seed_is_kept = true,
            Err(error) => tracing::warn!("the fingerprint of hash.seed is not on disk: {error}"),
        }
    }
}
