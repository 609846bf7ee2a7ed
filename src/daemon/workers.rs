//! The workers' threads. A worker that leaves its queue leaves its kit, flows and counters in it, and goes on with it at
//! the next.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::DaemonError;
use super::driver::QueueIo;
use super::{privileges, seccomp};
use crate::config::Config;
use crate::control::node::{Node, WorkerFacts};
use crate::forward::Flows;
use crate::io::PacketIo;
use crate::publish::Inbox;
use crate::stats::Board;
use crate::worker::{Kit, Pace, Worker};

type MakeKit = Box<dyn FnOnce() -> Kit + Send>;

/// Where a worker is.
enum Place {
    /// It has not begun yet.
    New(Inbox),
    /// At its queue.
    AtWork(JoinHandle<Left>),
    /// It has no queue. Boxed, as kits are large.
    Resting(Box<Kit>),
}

/// A worker that has left its queue.
struct Left {
    kit: Box<Kit>,
    /// Whether it was asked to, or has lost it.
    result: io::Result<()>,
}

/// All workers there ever were, by their numbers.
#[derive(Default)]
pub struct Workers(Vec<(Place, Arc<Board>)>);

impl Workers {
    /// How many have a queue.
    pub fn at_work(&self) -> usize {
        self.0.iter().filter(|(place, _)| matches!(place, Place::AtWork(_))).count()
    }

    /// Has the first of them, none of which is at work, work at these queues, each on its core; makes more where there are
    /// too few. Answers what there is to say of each.
    pub fn start(
        &mut self,
        queues: Vec<(u32, QueueIo)>,
        cores: Vec<usize>,
        config: &Config,
        node: &mut Node,
    ) -> io::Result<Vec<WorkerFacts>> {
        let (mut resting, mut facts) = (std::mem::take(&mut self.0).into_iter(), Vec::new());
        for (number, ((queue, io), core)) in queues.into_iter().zip(cores).enumerate() {
            let (place, board) = match resting.next() {
                Some(known) => known,
                None => (Place::New(node.add_worker()?), Arc::default()),
            };
            let (queue, zero_copy) = (Some(queue), io.zero_copy());
            facts.push(WorkerFacts { queue, core: Some(core), zero_copy, board: board.clone() });
            let place = match make_kit(place, &board, config) {
                Ok(make_kit) => Place::AtWork(spawn(number, core, io, make_kit, config)?),
                Err(working) => working,
            };
            self.0.push((place, board));
        }
        for (place, board) in resting {
            facts.push(WorkerFacts { queue: None, core: None, zero_copy: false, board: board.clone() });
            self.0.push((place, board));
        }
        Ok(facts)
    }

    /// Looks for workers that have ended, and answers for what reason one has lost its queue, if any has.
    ///
    /// # Errors
    /// One has panicked.
    pub fn gather_ended(&mut self) -> Result<Option<DaemonError>, DaemonError> {
        self.gather(JoinHandle::is_finished)
    }

    /// Waits for all, which have been asked to stop.
    ///
    /// # Errors
    /// One has panicked; the others are waited for all the same.
    pub fn gather_all(&mut self) -> Result<(), DaemonError> {
        self.gather(|_| true).map(drop)
    }

    fn gather(&mut self, is_due: impl Fn(&JoinHandle<Left>) -> bool) -> Result<Option<DaemonError>, DaemonError> {
        let (mut lost, mut panicked) = (None, None);
        let all = std::mem::take(&mut self.0).into_iter().enumerate();
        for (number, (place, board)) in all {
            let place = match place {
                Place::AtWork(thread) if is_due(&thread) => match thread.join() {
                    Ok(Left { kit, result }) => {
                        lost = lost.or(result.err().map(|error| DaemonError::QueueLost(number, error)));
                        Place::Resting(kit)
                    }
                    Err(_) => {
                        panicked = Some(DaemonError::WorkerPanicked(number));
                        continue;
                    }
                },
                other => other,
            };
            self.0.push((place, board));
        }
        panicked.map_or(Ok(lost), Err)
    }
}

/// How to get the kit of a worker that is not at work; else its place, unchanged.
fn make_kit(place: Place, board: &Arc<Board>, config: &Config) -> Result<MakeKit, Place> {
    let (board, handover) = (board.clone(), &config.handover);
    let (tracked_flows, window) = (handover.tracked_flows as usize, handover.window_seconds());
    match place {
        // A worker's own memory is made by itself, on its own core's side.
        Place::New(inbox) => Ok(Box::new(move || Kit::new(inbox, board, Flows::new(tracked_flows, window)))),
        Place::Resting(mut kit) => {
            kit.inbox.come_back();
            Ok(Box::new(move || *kit))
        }
        Place::AtWork(_) => Err(place),
    }
}

fn spawn(number: usize, core: usize, io: QueueIo, make_kit: MakeKit, config: &Config) -> io::Result<JoinHandle<Left>> {
    let pace = Pace { batch: config.interface.batch, poll: config.interface.poll };
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
            tracing::warn!("worker {number} could not be pinned to core {core}");
        }
        if let Err(error) = privileges::give_up_all() {
            tracing::warn!("worker {number} has capabilities that it does not need: {error}");
        }
        if let Err(error) = seccomp::confine() {
            tracing::warn!("worker {number} may make system calls that it does not need: {error}");
        }
        match io {
            QueueIo::Xsk(io) => work(*io, make_kit(), pace),
            QueueIo::Packet(io) => work(*io, make_kit(), pace),
            #[cfg(test)]
            QueueIo::Test(io) => work(io, make_kit(), pace),
        }
    })
}

fn work<Io: PacketIo>(io: Io, kit: Kit, pace: Pace) -> Left {
    let mut worker = Worker::with(io, kit, pace);
    let result = worker.work();
    let kit = worker.into_kit();
    kit.inbox.leave();
    Left { kit: Box::new(kit), result }
}
