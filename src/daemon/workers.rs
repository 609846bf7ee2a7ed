//! The workers' threads. A worker that leaves its queue leaves its kit, flows and counters in it, and goes on with it at
//! the next.

pub mod legacy;

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::DaemonError;
use super::driver::QueueIo;
use super::upgrade::queue::Share;
use super::upgrade::relay::Waiting;
use super::{privileges, seccomp};
use crate::config::Config;
use crate::control::node::{Node, WorkerFacts};
use crate::forward::Flows;
use crate::forward::track::Tracked;
use crate::io::PacketIo;
use crate::moment::Moment;
use crate::publish::Inbox;
use crate::stats::Board;
use crate::worker::table::{Content, TableFile};
use crate::worker::{Kit, Pace, Worker};

/// Readies the queue, and makes what the worker has beside it; none: it does not begin at all.
type MakeKit = Box<dyn FnOnce(&mut QueueIo) -> Option<Kit> + Send>;

/// Where a worker is.
enum Place {
    /// It has not begun yet.
    New(Inbox, Content),
    /// At its queue, which could be shared with another process.
    AtWork(JoinHandle<Option<Left>>, Share),
    /// It has no queue. Boxed, as kits are large.
    Resting(Box<Kit>),
    /// Its queue is on the way to another process.
    Away,
}

/// A worker that has left its queue.
pub struct Left {
    /// The queue.
    pub queue: QueueIo,
    /// What the worker had beside it.
    pub kit: Box<Kit>,
    /// Whether it has told its successor what it had, if that was waiting.
    pub told: Option<io::Result<()>>,
    core: usize,
    number: u32,
    /// Whether it was asked to, or has lost it.
    result: io::Result<()>,
}

/// A worker there is or was.
struct Seat {
    place: Place,
    board: Arc<Board>,
    /// Where its tracked flows lie.
    table: TableFile,
}

/// All workers there ever were, by their numbers.
#[derive(Default)]
pub struct Workers(Vec<Seat>);

impl Workers {
    /// How many have a queue.
    pub fn at_work(&self) -> usize {
        self.0.iter().filter(|seat| matches!(seat.place, Place::AtWork(..))).count()
    }

    /// Has the first of them, none of which is at work, work at these queues, each on its core; makes more where there are
    /// too few. Answers what there is to say of each. After an error none is at work, and each has what it had.
    pub fn start(
        &mut self,
        queues: Vec<(u32, QueueIo)>,
        cores: Vec<usize>,
        config: &Config,
        node: &mut Node,
    ) -> Result<Vec<WorkerFacts>, DaemonError> {
        let mut facts = Vec::new();
        for (number, ((at, io), core)) in queues.into_iter().zip(cores).enumerate() {
            let zero_copy = io.zero_copy();
            match self.start_one((number, core), (at, io), config, node) {
                Ok(board) => facts.push(WorkerFacts { queue: Some(at), core: Some(core), zero_copy, board }),
                Err(error) => {
                    node.stop();
                    self.gather_all()?;
                    return Err(error.into());
                }
            }
        }
        for seat in self.0.iter().skip(facts.len()) {
            facts.push(WorkerFacts { queue: None, core: None, zero_copy: false, board: seat.board.clone() });
        }
        Ok(facts)
    }

    fn start_one(
        &mut self,
        (number, core): (usize, usize),
        queue: (u32, QueueIo),
        config: &Config,
        node: &mut Node,
    ) -> io::Result<Arc<Board>> {
        if number == self.0.len() {
            self.0.push(Seat::new(node, config)?);
        }
        let seat = &mut self.0[number];
        let place = std::mem::replace(&mut seat.place, Place::Away);
        match make_kit(place, &seat.board, config) {
            Ok(make_kit) => match spawn((number, core), queue, make_kit, config) {
                Ok(place) => seat.place = place,
                Err(unstarted) => {
                    let (place, error) = unstarted.into_rest(number);
                    seat.place = place;
                    return Err(error);
                }
            },
            Err(working) => seat.place = working,
        }
        Ok(seat.board.clone())
    }

    /// Has those who have no queue do what has to be done all the same, at `now`.
    pub fn catch_up(&mut self, now: Moment) {
        for seat in &mut self.0 {
            if let Place::Resting(kit) = &mut seat.place {
                kit.catch_up(now);
            }
        }
    }

    /// Whether every worker is at its queue.
    pub fn are_all_at_work(&self) -> bool {
        self.0.iter().all(|seat| matches!(&seat.place, Place::AtWork(thread, _) if !thread.is_finished()))
    }

    /// What another process needs of the queues that are at work, and where their workers' tracked flows lie.
    pub fn shares(&self) -> impl Iterator<Item = (&Share, &TableFile)> {
        self.0.iter().filter_map(|seat| match &seat.place {
            Place::AtWork(_, share) => Some((share, &seat.table)),
            _ => None,
        })
    }

    /// Who waits for what workers had goes on with their tracked flows where they lie.
    pub fn leave_tracked_in_place(&self) {
        self.shares().for_each(|(share, _)| share.relay.leave_tracked_in_place());
    }

    /// Nobody waits any more for what workers had.
    pub fn close_relays(&self) {
        self.shares().for_each(|(share, _)| share.relay.close());
    }

    /// One that is nowhere: it has panicked on its way to another process.
    pub fn missing(&self) -> Option<usize> {
        self.0.iter().position(|seat| matches!(seat.place, Place::Away))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits for one that has been asked to stop, and answers what it had; it is gone then.
    ///
    /// # Errors
    /// It has panicked, or lost its queue.
    pub fn take(&mut self, number: usize) -> Result<Left, DaemonError> {
        let place = self.0.get_mut(number).map(|seat| std::mem::replace(&mut seat.place, Place::Away));
        let Some(Place::AtWork(thread, _)) = place else { return Err(DaemonError::WorkerPanicked(number)) };
        let left = thread.join().ok().flatten().ok_or(DaemonError::WorkerPanicked(number))?;
        if let Err(error) = left.result {
            self.0[number].place = Place::Resting(leave_queue(left.queue, left.kit));
            return Err(DaemonError::QueueLost(number, error));
        }
        Ok(left)
    }

    /// Has one go on with what it had when it was [taken](Self::take).
    ///
    /// # Errors
    /// It cannot be started. It has no queue then.
    pub fn put_back(&mut self, number: usize, left: Left, config: &Config) -> io::Result<()> {
        let Left { queue, mut kit, core, number: at, .. } = left;
        kit.inbox.come_back();
        let started = spawn((number, core), (at, queue), Box::new(move |_| Some(*kit)), config);
        let (place, result) = match started {
            Ok(place) => (place, Ok(())),
            Err(unstarted) => {
                let (place, error) = unstarted.into_rest(number);
                (place, Err(error))
            }
        };
        self.0[number].place = place;
        result
    }

    /// The same without its queue, which is given up.
    pub fn put_to_rest(&mut self, number: usize, left: Left) {
        self.0[number].place = Place::Resting(leave_queue(left.queue, left.kit));
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

    fn gather(
        &mut self,
        is_due: impl Fn(&JoinHandle<Option<Left>>) -> bool,
    ) -> Result<Option<DaemonError>, DaemonError> {
        let (mut lost, mut panicked) = (None, None);
        let all = std::mem::take(&mut self.0).into_iter().enumerate();
        for (number, Seat { place, board, table }) in all {
            let place = match place {
                Place::AtWork(thread, _) if is_due(&thread) => match thread.join() {
                    Ok(Some(Left { queue, kit, result, .. })) => {
                        lost = lost.or(result.err().map(|error| DaemonError::QueueLost(number, error)));
                        Place::Resting(leave_queue(queue, kit))
                    }
                    Ok(None) => Place::Away,
                    Err(_) => {
                        panicked = Some(DaemonError::WorkerPanicked(number));
                        continue;
                    }
                },
                other => other,
            };
            self.0.push(Seat { place, board, table });
        }
        panicked.map_or(Ok(lost), Err)
    }
}

impl Seat {
    fn new(node: &mut Node, config: &Config) -> io::Result<Self> {
        // First what can fail and leaves nothing behind: the node counts its workers.
        let (table, content) = TableFile::new(tracked_flows(config))?;
        let inbox = node.add_worker()?;
        Ok(Self { place: Place::New(inbox, content), board: Arc::default(), table })
    }
}

/// How many flows a worker has room for.
fn tracked_flows(config: &Config) -> usize {
    config.handover.tracked_flows as usize
}

/// How to get the kit of a worker that is not at work; else its place, unchanged.
fn make_kit(place: Place, board: &Arc<Board>, config: &Config) -> Result<MakeKit, Place> {
    let (board, window) = (board.clone(), config.handover.window_seconds());
    match place {
        // A worker's own memory is made present by itself, on its own core's side.
        Place::New(inbox, content) => {
            Ok(Box::new(move |_| Some(Kit::new(inbox, board, Flows::with(Tracked::over(content.look(), window))))))
        }
        Place::Resting(mut kit) => {
            kit.inbox.come_back();
            Ok(Box::new(move |_| Some(*kit)))
        }
        Place::AtWork(..) | Place::Away => Err(place),
    }
}

/// Gives a queue up, with its counts kept.
fn leave_queue(mut queue: QueueIo, mut kit: Box<Kit>) -> Box<Kit> {
    kit.leave_queue(queue.statistics());
    kit
}

/// A worker that could not be started, with all that it was to have.
struct Unstarted {
    error: io::Error,
    queue: QueueIo,
    make_kit: MakeKit,
}

impl Unstarted {
    /// Its queue is given up, and it rests with what it had. Answers why, too.
    fn into_rest(mut self, number: usize) -> (Place, io::Error) {
        let error = io::Error::new(self.error.kind(), format!("worker {number} cannot be started: {}", self.error));
        let Some(kit) = (self.make_kit)(&mut self.queue) else { return (Place::Away, error) };
        kit.inbox.leave();
        (Place::Resting(leave_queue(self.queue, Box::new(kit))), error)
    }
}

/// Starts a worker, by its number and core, at a queue.
fn spawn(
    (number, core): (usize, usize),
    (queue, io): (u32, QueueIo),
    make_kit: MakeKit,
    config: &Config,
) -> Result<Place, Unstarted> {
    let pace = Pace { batch: config.interface.batch, poll: config.interface.poll };
    let share = match io.share(queue) {
        Ok(share) => share,
        Err(error) => return Err(Unstarted { error, queue: io, make_kit }),
    };
    let relay = share.relay.clone();
    // A thread that cannot be started drops what it was to work with, so it is given that when it has.
    let (give, take) = mpsc::sync_channel::<(QueueIo, MakeKit)>(1);
    let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let (mut io, make_kit) = take.recv().ok()?;
        if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
            tracing::warn!("worker {number} could not be pinned to core {core}");
        }
        if let Err(error) = privileges::give_up_all() {
            tracing::warn!("worker {number} has capabilities that it does not need: {error}");
        }
        if let Err(error) = seccomp::confine() {
            tracing::warn!("worker {number} may make system calls that it does not need: {error}");
        }
        let kit = make_kit(&mut io)?;
        let (mut io, mut kit, result) = match io {
            QueueIo::Xsk(io) => work(*io, kit, pace, |io| QueueIo::Xsk(Box::new(io))),
            QueueIo::Packet(io) => work(*io, kit, pace, |io| QueueIo::Packet(Box::new(io))),
            #[cfg(test)]
            QueueIo::Test(io) => work(*io, kit, pace, |io| QueueIo::Test(Box::new(io))),
        };
        let waiting = relay.take().filter(|_| result.is_ok());
        let told = waiting.map(|waiting| tell(&mut io, &mut kit, waiting));
        kit.inbox.leave();
        Some(Left { queue: io, kit: Box::new(kit), told, core, number: queue, result })
    });
    match thread {
        // It waits for nothing else.
        Ok(thread) => {
            _ = give.send((io, make_kit));
            Ok(Place::AtWork(thread, share))
        }
        Err(error) => Err(Unstarted { error, queue: io, make_kit }),
    }
}

/// Tells a worker of another process, which waits for it, what this one had.
fn tell(queue: &mut QueueIo, kit: &mut Kit, waiting: Waiting) -> io::Result<()> {
    let left = queue.now();
    let (ended, live) = queue.settle();
    kit.pass_queue(ended, live);
    waiting.tell(left, queue.leave(), kit)
}

/// Works until the end, and answers with what is left of it.
fn work<Io: PacketIo>(
    io: Io,
    kit: Kit,
    pace: Pace,
    queue: impl FnOnce(Io) -> QueueIo,
) -> (QueueIo, Kit, io::Result<()>) {
    let mut worker = Worker::with(io, kit, pace);
    let result = worker.work();
    let (io, kit) = worker.into_parts();
    (queue(io), kit, result)
}
