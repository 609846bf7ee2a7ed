//! What this node has on disk, and what is wrong with that. The disk is waited for by those alone whose answers say that
//! something is there.

use std::time::{Duration, Instant};

use mio::Waker;
use serde_json::Value;

use super::{Node, Reply};
use crate::control::disk::{Job, Next, Ticket};
use crate::control::proposal::Patch;
use crate::control::state_lock::StateLock;

/// A step of the wall clock that is worth a write, in seconds. A clock that is only a little fast or slow is put right in
/// passing.
const SHORTEST_STEP: i64 = 2;

impl Node {
    /// Says what keeps other daemons out of `state_dir`.
    pub fn set_state_lock(&mut self, lock: StateLock) {
        self.disk.set_lock(lock);
    }

    /// What keeps other daemons out of `state_dir`, if anything does.
    pub fn state_lock(&self) -> Option<&StateLock> {
        self.disk.lock()
    }

    /// From now on this is woken when the disk has answered, for [`follow_disk`](Self::follow_disk).
    pub fn set_disk_waker(&mut self, waker: Waker) {
        self.disk.set_waker(waker);
    }

    /// Has the set and what its slots remember put on disk, or only what a patch has changed of it; answers by what to ask
    /// whether it is there.
    pub(super) fn keep(&mut self, patch: Option<Patch>) -> Ticket {
        self.builder.follow_wall_clock(self.clock.now());
        let memories = self.builder.slot_memories();
        let change = patch.map(|patch| {
            let remembered = memories.part(patch.names());
            (patch, remembered)
        });
        let ticket = self.disk.want(change);
        self.write_next();
        ticket
    }

    fn write_next(&mut self) {
        let job = match self.disk.take_next() {
            None => return,
            Some(Next::Changes(changes)) => Job::Changes(changes),
            Some(Next::Whole) => {
                let now = self.clock.now();
                self.builder.follow_wall_clock(now);
                self.written_ahead = now.offset();
                Job::Whole(self.set.clone(), self.builder.slot_memories().clone())
            }
        };
        let ticket = self.disk.give(job);
        self.note_outcome(ticket);
    }

    /// Takes in what the disk has answered, and goes on with what waits for it. Answers whether replies may be
    /// [complete](Self::complete) now.
    pub fn follow_disk(&mut self) -> bool {
        let Some(ticket) = self.disk.take_in(Duration::ZERO) else { return false };
        self.note_outcome(ticket);
        self.write_next();
        true
    }

    fn note_outcome(&mut self, ticket: Ticket) {
        let Some(outcome) = self.disk.outcome(ticket) else { return };
        let problem = outcome.map(str::to_owned);
        match &problem {
            Some(problem) if self.store_problem.as_ref() != Some(problem) => self.events.fail(problem.clone()),
            None if self.store_problem.is_some() => tracing::info!("the set is on disk again"),
            _ => {}
        }
        self.store_problem = problem;
    }

    /// The answer of a reply, if it need not wait for the disk any more; else the reply.
    pub fn complete(&self, mut reply: Reply) -> Result<Value, Reply> {
        let Some(outcome) = reply.until.map_or(Some(None), |ticket| self.disk.outcome(ticket)) else {
            return Err(reply);
        };
        if let Some(problem) = outcome
            && let Some(Value::Array(warnings)) = reply.answer.get_mut("warnings")
        {
            warnings.push(problem.into());
        }
        Ok(reply.answer)
    }

    /// Waits until all is on disk, or cannot be, but not for longer than this. Answers whether that is so.
    pub fn wait_for_disk(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.disk.is_quiet() {
            let Some(ticket) = self.disk.take_in(end.saturating_duration_since(Instant::now())) else { return false };
            self.note_outcome(ticket);
            self.write_next();
        }
        true
    }

    /// Waits for the disk no longer: replies are complete, and say that what they are about is not there.
    pub fn give_up_disk(&mut self) {
        if let Some(ticket) = self.disk.give_up() {
            self.note_outcome(ticket);
        }
    }

    /// Puts all on disk where no syncer has pushed anything. What lies on disk and was not used stays there until one does.
    pub(super) fn keep_as_well(&mut self) {
        if self.store_problem.is_none() {
            self.keep(None);
        }
    }

    /// Called about once a second: a disk that was full may have room again, and no syncer need push for that.
    pub(super) fn keep_again(&mut self) {
        if self.disk.is_due() {
            self.keep(None);
        }
        if let Some(problem) = self.disk.new_hang() {
            self.events.fail(problem);
        }
    }

    /// Why what is in force is not on disk, or what was there is not in force.
    pub(super) fn disk_problem(&self) -> Option<String> {
        self.disk.hang().or_else(|| self.store_problem.clone())
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
