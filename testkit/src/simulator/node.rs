//! An edge node: the code that forwards in the daemon, over memory, with a clock of the simulator's.

use std::convert::Infallible;
use std::sync::Arc;

use pointsman::config::Poll;
use pointsman::control::update::Builder;
use pointsman::flow::{FlowKey, Seed};
use pointsman::forward::Flows;
use pointsman::forward::encap::{Source, Sources};
use pointsman::forward::select::{Selection, select};
use pointsman::forward::verdict::Verdict;
use pointsman::io::memory::Memory;
use pointsman::moment::{Moment, Now, SECOND};
use pointsman::publish::Publisher;
use pointsman::snapshot::{Dscp, NextHop, ServiceEntry, Settings, Snapshot, Tag};
use pointsman::stats::Board;
use pointsman::upgrade::{Told, ToldFlows, Worker as WorkerState};
use pointsman::wire::ethernet::MacAddress;
use pointsman::worker::{Kit, Pace, Worker};

use super::endpoints::{Endpoints, Number};

/// Frames of a batch.
pub const BATCH: usize = 64;
/// A handover's window, in seconds.
pub const WINDOW: u32 = 600;
/// How often in a second a worker finds nothing to do: at least, since it sleeps for a tenth of a second at most.
const RESTS: usize = 10;

const SETTINGS: Settings = Settings {
    seed: Seed([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
    dscp: Dscp::Copy,
    underlay_mtu: 1_500,
    hop_limit: 64,
    mac: MacAddress([2, 0, 0, 0, 0, 1]),
    sources: Sources { v4: None, v6: None },
};
const NEXT_HOP: NextHop =
    NextHop { destination: MacAddress([2, 0, 0, 0, 0, 9]), source: MacAddress([2, 0, 0, 0, 0, 1]), tag: Tag::None };

/// A builder with an empty set.
fn new_builder() -> Builder {
    let source = Source { address: "2001:db8:51b::1".parse().expect("an address"), entropy: 0.into() };
    let settings = Settings { sources: Sources { v4: None, v6: Some(source) }, ..SETTINGS };
    Builder::new(settings, WINDOW, 1)
}

/// A node with one worker.
pub struct Node {
    builder: Builder,
    publisher: Publisher,
    worker: Worker<Memory>,
    snapshot: Snapshot,
    /// The numbers of the endpoints in force, in the order of the set.
    numbers: Vec<Number>,
    tracked_flows: usize,
}

impl Node {
    /// A node with memory for so many tracked flows, and without any history.
    pub fn new(tracked_flows: usize) -> Self {
        Self::with(new_builder(), tracked_flows, |_| ())
    }

    fn with(mut builder: Builder, tracked_flows: usize, fill: impl FnOnce(&mut Kit)) -> Self {
        let mut publisher = Publisher::new().expect("an event");
        let first = builder.publish().remove(0);
        let inbox = publisher.subscribe(first).expect("an event");
        let mut kit = Kit::new(inbox, Arc::new(Board::default()), Flows::new(tracked_flows, WINDOW));
        fill(&mut kit);
        let pace = Pace { batch: BATCH, poll: Poll::Busy };
        let worker = Worker::with(Memory::new(2 * BATCH, 2 * BATCH), kit, pace);
        let snapshot = builder.snapshot();
        Self { builder, publisher, worker, snapshot, numbers: Vec::new(), tracked_flows }
    }

    /// Another process takes over all that this one has, in the forms in which the one tells it to the other.
    pub fn upgrade(&mut self, endpoints: &Endpoints, now: u32) {
        let moment = Moment(u64::from(now) * SECOND);
        let stored = serde_json::to_string(&self.builder.store(moment)).expect("plain data");
        let stored = serde_json::from_str(&stored).expect("its own form");
        let mut builder = new_builder();
        builder.adopt(stored, &endpoints.set(), moment).expect("it does not contradict itself");
        builder.resolve(|_| Some(NEXT_HOP));
        builder.put_counts(&self.builder.counts());
        let before = std::mem::replace(self, Self::new(0));
        let (_, old) = before.worker.into_parts();
        let tracked = ToldFlows::Follow(old.tracked().stored_len());
        let told = WorkerState::write(&Told { left: moment, carried: old.carry(moment), free: Vec::new(), tracked });
        let told = WorkerState::read(&told[size_of::<u64>()..]).expect("its own form");
        *self = Self::with(builder, before.tracked_flows, |kit| {
            kit.take_over(&told.carried);
            let stored = old.tracked().store(|piece| {
                kit.take_over_tracked(piece);
                Ok::<(), Infallible>(())
            });
            stored.expect("it cannot fail");
        });
        self.numbers = before.numbers;
        self.worker.io().set_now(moment);
    }

    /// Takes a set, as the control side of the daemon does.
    pub fn apply(&mut self, endpoints: &Endpoints, now: u32) {
        let editions = (self.publisher.edition(), self.publisher.forgotten());
        self.builder.update(&endpoints.set(), editions, Now::at(now));
        self.builder.resolve(|_| Some(NEXT_HOP));
        self.numbers = endpoints.numbers();
        self.publish();
    }

    fn publish(&mut self) {
        let publications = self.builder.publish();
        self.publisher.post(publications);
        self.snapshot = self.builder.snapshot();
        self.forward(|_| ());
        self.publisher.sweep();
    }

    /// What the control side and the worker do in a second in which nothing comes.
    pub fn tick(&mut self, now: u32) {
        self.worker.io().set_now(Moment(u64::from(now) * SECOND));
        let settled = self.publisher.adopted() == self.publisher.edition();
        if self.builder.forget_old_memories(Now::at(now), settled) {
            self.publish();
        }
        (0..RESTS).for_each(|_| self.forward(|_| ()));
    }

    /// Lets a frame come in.
    pub fn push(&mut self, frame: Vec<u8>) {
        self.worker.io().push(frame);
    }

    /// Forwards a batch and shows where each of its packets went, in their order.
    pub fn forward(&mut self, mut went: impl FnMut(Option<Number>)) {
        let numbers = &self.numbers;
        let step = self.worker.step(|verdict: Verdict| match verdict {
            Verdict::Forwarded(_, index) => went(numbers.get(usize::from(index)).copied()),
            _ => went(None),
        });
        step.expect("memory does not fail");
        self.worker.io().take_sent();
    }

    fn entry(&self) -> &ServiceEntry {
        &self.snapshot.services[0]
    }

    /// The slot of a flow and the slot's endpoint, and no more: Maglev alone.
    pub fn maglev(&self, key: &FlowKey) -> (Selection, Option<Number>) {
        let selection = select(key, self.entry(), &self.snapshot);
        let index = selection.endpoint.map(usize::from);
        (selection, index.and_then(|index| self.numbers.get(index).copied()))
    }

    /// How many flows it tracks.
    pub fn tracked(&self) -> u64 {
        self.builder.tracked_flows(self.entry())
    }
}
