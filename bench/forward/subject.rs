//! A case, ready to be run.

use std::time::{Duration, Instant};

use pointsman::forward::track::Change;
use pointsman::forward::verdict::Verdict;
use pointsman::forward::{Flows, forward};
use pointsman::snapshot::Snapshot;

use crate::cases::{Case, Past};
use testkit::measure::{Sample, Subject};
use testkit::scene::batch::{BATCH, Batch};
use testkit::scene::flows::Order;
use testkit::scene::node::{Endpoints, Node, WINDOW};
use testkit::scene::steps::{NOW, Steps};

/// Batches that are timed for one sample.
const BATCHES: usize = 128;
/// Room for tracked flows: a million fill half of it.
const ROOM: usize = 1 << 21;

/// A case with its node, its worker's memory and its packets.
pub struct Ready {
    snapshot: Snapshot,
    flows: Flows,
    batch: Batch,
    steps: Steps,
    order: Order,
    warm_up: usize,
}

impl Ready {
    /// Builds all that the case needs, and sees that its packets are forwarded. `flows`: how many it tracks, where it does.
    pub fn new(case: &Case, flows: u32) -> Self {
        let mut node = Node::new(case.services);
        let batch = Batch::new(case.services.family, case.kind, case.services.count);
        let room = if case.past == Past::None { BATCH } else { ROOM };
        let (order, warm_up) = (case.order.clone(), case.warm_up);
        if case.past == Past::None {
            let flows = Flows::new(room, WINDOW);
            return Self { snapshot: node.snapshot(), flows, batch, steps: Steps::default(), order, warm_up }.checked();
        }
        node.apply(Endpoints::Replaced, 0);
        let (flow_memory, steps) = (Flows::new(room, WINDOW), Steps::default());
        let mut ready = Self { snapshot: node.snapshot(), flows: flow_memory, batch, steps, order, warm_up };
        ready.track(flows);
        if case.past == Past::Closed {
            node.close_handover(2 * WINDOW);
            ready.snapshot = node.snapshot();
        }
        assert_eq!(ready.snapshot.services[0].handover.is_some(), case.past == Past::Open);
        ready.checked()
    }

    fn checked(mut self) -> Self {
        (0..BATCH).for_each(|at| self.batch.fill(at, self.order.pick()));
        let (mut all, snapshot, flows) = (true, &self.snapshot, &mut self.flows);
        self.batch.each(|mut frame| all &= matches!(forward(&mut frame, snapshot, flows, NOW), Verdict::Forwarded(..)));
        assert!(all, "not all of its packets are forwarded");
        self
    }

    /// Lets each of so many flows speak once, and sees that all of them are tracked from then on.
    fn track(&mut self, count: u32) {
        let mut begun = 0;
        for first in (0..count).step_by(BATCH) {
            (0..BATCH).for_each(|at| self.batch.fill(at, first + at as u32));
            let (snapshot, flows) = (&self.snapshot, &mut self.flows);
            self.batch.each(|mut frame| {
                forward(&mut frame, snapshot, flows, NOW);
                begun += flows.tracked().take_changes().filter(|change| matches!(change, Change::Begun(_))).count();
            });
        }
        assert!(begun >= count as usize, "{begun} of {count} flows are tracked");
    }

    fn forward_batch(&mut self) -> Duration {
        (0..BATCH).for_each(|at| self.batch.fill(at, self.order.pick()));
        let start = Instant::now();
        self.steps.forward(&mut self.batch, &self.snapshot, &mut self.flows);
        start.elapsed()
    }
}

impl Subject for Ready {
    fn warm_up(&mut self) {
        (0..self.warm_up).for_each(|_| _ = self.forward_batch());
    }

    /// Forwards batch after batch, and times what forward() takes of that.
    fn sample(&mut self) -> Sample {
        let elapsed = (0..BATCHES).map(|_| self.forward_batch()).sum();
        Sample { elapsed, count: BATCHES * BATCH }
    }
}
