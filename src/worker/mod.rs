//! The poll loop: receive a batch, [forward](crate::forward::forward) each, send, recycle. Generic over [`PacketIo`], so
//! that all of it is tested with nothing but memory.

mod observer;
mod patience;
pub mod table;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

pub use self::observer::Observer;
use self::patience::Patience;
use crate::capture::Sampling;
use crate::config::Poll;
use crate::forward::ahead::{Ahead, Frames};
use crate::forward::parts::{MOST_PARTS, Parts};
use crate::forward::track::{Change, Tracked};
use crate::forward::verdict::{DropReason, Verdict};
use crate::forward::{Flows, forward_ahead};
use crate::io::{Held, KernelStatistics, PacketIo, sleep_until_ready};
use crate::moment::Moment;
use crate::publish::{Inbox, Publication};
use crate::snapshot::Cell;
use crate::stats::{Board, Recorder, Tally};

/// The longest sleep. Frames and news wake a worker sooner; this bounds how old the kernel's statistics get, and how
/// long an interface can be gone unseen.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// The pause before an interface that is down is asked again.
const DOWN_PAUSE: Duration = Duration::from_millis(100);
/// Batches between two questions for the kernel's statistics.
const BATCHES_A_QUESTION: u32 = 4096;

/// Buckets of tracked flows that are looked through between two batches, and where there was no batch.
const SWEPT_A_BATCH: usize = 16;
const SWEPT_IDLE: usize = 1_024;

/// Copies the parts of a packet that was cut into frames of their own. Answers whether there were frames for all;
/// else none is taken.
fn copy_out<Io: PacketIo>(parts: &Parts, io: &mut Io, into: &mut Vec<Held>) -> bool {
    for part in parts.iter() {
        let Some(held) = io.allocate(part.len()) else {
            into.drain(..).for_each(|held| io.release(held));
            return false;
        };
        io.frame(&held).bytes_mut().copy_from_slice(part);
        into.push(held);
    }
    true
}

/// The frames of a batch, to be looked at.
struct Batch<'a, Io>(&'a mut Io, &'a [Held]);

impl<Io: PacketIo> Frames for Batch<'_, Io> {
    fn count(&self) -> usize {
        self.1.len()
    }

    #[inline]
    fn packet(&mut self, at: usize) -> &[u8] {
        self.0.frame(&self.1[at]).into_bytes()
    }
}

/// Whether an interface is down, and so may come up again.
fn is_down(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NetworkDown
}

/// What a worker has beside its queue, and keeps when it changes to another: its flows and counters above all.
pub struct Kit {
    /// Where it gets snapshots.
    pub inbox: Inbox,
    board: Arc<Board>,
    tally: Tally,
    recorder: Option<Recorder>,
    flows: Flows,
    /// What the kernel has counted on its queues before this one.
    earlier: KernelStatistics,
    /// Where its tracked flows lie, while another process has them.
    left: Option<table::Shared>,
}

impl Kit {
    /// The kit of a worker that has done nothing yet.
    pub fn new(inbox: Inbox, board: Arc<Board>, flows: Flows) -> Self {
        let (tally, recorder) = (Tally::default(), Some(Recorder::default()));
        Self { inbox, board, tally, recorder, flows, earlier: KernelStatistics::default(), left: None }
    }
}

/// What of a worker's kit another process can go on with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// All that the worker has done.
    pub tally: Tally,
    /// What the kernel has counted on its queues before the present one.
    pub earlier: KernelStatistics,
    /// First fragments, as bytes.
    pub fragments: Vec<u8>,
}

impl Kit {
    /// What another process can go on with, at `now`.
    pub fn carry(&self, now: Moment) -> Carried {
        Carried { tally: self.tally, earlier: self.earlier, fragments: self.flows.store_fragments(now) }
    }

    /// Goes on with what another process has carried here.
    pub fn take_over(&mut self, carried: &Carried) {
        (self.tally, self.earlier) = (carried.tally, carried.earlier);
        self.flows.restore_fragments(&carried.fragments);
    }

    /// Its tracked flows.
    pub fn tracked(&self) -> &Tracked {
        self.flows.look_at_tracked()
    }

    /// Takes in tracked flows of another process, as [`Tracked::store`] has written them. The inbox has to have taken what
    /// names their endpoints.
    pub fn take_over_tracked(&mut self, bytes: &[u8]) {
        let cells = &self.inbox.current().cells;
        self.flows.tracked().restore(bytes, |cell| cells.track(Change::Begun(cell)));
    }

    /// Does, of a worker that has no queue, what has to be done all the same: takes what has been posted, and forgets the flows of
    /// endpoints that are gone, whose counters nobody else can have before. Only the control side calls this, since it may free
    /// a table. It costs nothing where nothing has been posted.
    pub fn catch_up(&mut self, now: Moment) {
        let before = self.inbox.edition();
        self.inbox.refresh();
        if self.inbox.edition() == before && self.inbox.has_forgotten() {
            return;
        }
        let Publication { snapshot, cells, .. } = self.inbox.current();
        let wanted = |cell: Cell| snapshot.cells_in_use.get(cell as usize).copied().unwrap_or(false);
        let tracked = self.flows.tracked();
        // To the end of the sweep that the worker was in, and once through all.
        for _ in 0..2 {
            while !(tracked.is_empty()
                || tracked.sweep(SWEPT_IDLE, now, wanted, |cell| cells.track(Change::Ended(cell))))
            {}
        }
        self.inbox.note_forgotten(self.inbox.edition());
    }

    /// Finds out anew which flows are tracked, where another process has used their memory.
    fn count_tracked_anew(&mut self) {
        let cells = &self.inbox.current().cells;
        cells.clear_tracked();
        self.flows.tracked().count_anew(|cell| cells.track(Change::Begun(cell)));
    }

    /// Counts what the kernel has counted on a queue that is left for good.
    pub fn leave_queue(&mut self, statistics: KernelStatistics) {
        self.earlier = self.earlier.plus(statistics);
        self.board.show(&self.tally, &self.earlier);
    }

    /// Shows its last totals at a queue that another process goes on with. What the kernel has counted has either `ended`, and
    /// the worker carries it there, or is `live`: the queue's socket goes on with it.
    pub fn pass_queue(&mut self, ended: KernelStatistics, live: KernelStatistics) {
        self.earlier = self.earlier.plus(ended);
        self.board.show(&self.tally, &self.earlier.plus(live));
    }

    /// What it has measured and not handed over yet.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }
}

/// One worker with its queue.
pub struct Worker<Io> {
    io: Io,
    inbox: Inbox,
    board: Arc<Board>,
    tally: Tally,
    /// None: nothing is timed.
    recorder: Option<Recorder>,
    flows: Flows,
    earlier: KernelStatistics,
    batch: Vec<Held>,
    /// What is known of each frame of the batch.
    ahead: Ahead,
    /// The parts of a packet that was cut, on their way into frames of their own.
    parts: Vec<Held>,
    pace: Pace,
    patience: Patience,
    /// The edition in force when the sweep of tracked flows that goes on began.
    sweeping: u64,
}

/// How a worker goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The most frames taken at once.
    pub batch: usize,
    /// How it waits for them.
    pub poll: Poll,
}

impl<Io: PacketIo> Worker<Io> {
    /// A worker that shows its totals on `board`.
    pub fn new(io: Io, inbox: Inbox, board: Arc<Board>, flows: Flows, pace: Pace) -> Self {
        Self::with(io, Kit::new(inbox, board, flows), pace)
    }

    /// The same worker without a look at the clock more than forwarding needs: for where time is no real one, and to see
    /// what timing costs.
    #[must_use]
    pub fn untimed(self) -> Self {
        Self { recorder: None, ..self }
    }

    /// A worker that goes on with what it had at another queue.
    pub fn with(io: Io, kit: Kit, pace: Pace) -> Self {
        let Kit { inbox, board, tally, recorder, flows, earlier, left: _ } = kit;
        let (batch, ahead) = (Vec::with_capacity(pace.batch), Ahead::new(pace.batch));
        let (parts, sweeping) = (Vec::with_capacity(MOST_PARTS), inbox.edition());
        let patience = Patience::default();
        Self { io, inbox, board, tally, recorder, flows, earlier, batch, ahead, parts, pace, patience, sweeping }
    }

    /// Its queue, and what it has beside that.
    pub fn into_parts(self) -> (Io, Kit) {
        let Self { io, inbox, board, tally, recorder, flows, earlier, .. } = self;
        (io, Kit { inbox, board, tally, recorder, flows, earlier, left: None })
    }

    /// [Works](Self::work), and answers itself.
    pub fn run(mut self) -> io::Result<Self> {
        self.work().map(|()| self)
    }

    /// Works until asked to stop. An interface that goes down is waited for; by any other error the queue is lost.
    pub fn work(&mut self) -> io::Result<()> {
        let mut batches = 0;
        // Another worker, or another process, may have done some of it.
        let kernel = self.kernel_statistics();
        self.board.show(&self.tally, &kernel);
        while !self.inbox.is_stopped() {
            match self.turn(&mut batches) {
                Err(error) if is_down(&error) => self.pause()?,
                other => other?,
            }
        }
        Ok(())
    }

    /// What the kernel has counted, on all queues that it had so far.
    fn kernel_statistics(&mut self) -> KernelStatistics {
        self.earlier.plus(self.io.statistics())
    }

    /// One batch, then whatever is due between batches.
    fn turn(&mut self, batches: &mut u32) -> io::Result<()> {
        self.inbox.refresh();
        // A copy, since the worker's own place may get another tap; it is gone before that happens, so that it is never the
        // last one, to be freed here.
        let now = match self.inbox.current().tap.clone() {
            None => self.handle_batch(|_: Verdict| ())?.1,
            Some(tap) => self.handle_batch(Sampling::new(&tap))?.1,
        };
        *batches += 1;
        let resting = self.pace.poll == Poll::Adaptive && self.patience.is_over(now);
        if !resting && *batches < BATCHES_A_QUESTION {
            return Ok(());
        }
        *batches = 0;
        let kernel = self.kernel_statistics();
        self.board.show(&self.tally, &kernel);
        if resting {
            return self.rest();
        }
        // For no time: only here an interface is seen to be gone.
        self.io.wait(self.inbox.wake(), Duration::ZERO)
    }

    /// Sleeps, unless there are news. The wake of all news until now is forgotten first, so that the first thing that a worker
    /// does which a frame has woken is to receive it.
    fn rest(&mut self) -> io::Result<()> {
        self.inbox.rouse();
        if self.inbox.has_news() {
            return Ok(());
        }
        self.patience.rests();
        if let Some(recorder) = &mut self.recorder {
            recorder.rests();
        }
        self.io.wait(self.inbox.wake(), LONGEST_SLEEP)
    }

    /// Lets an interface that is down come up again; news wake the worker all the same.
    fn pause(&mut self) -> io::Result<()> {
        self.inbox.rouse();
        self.inbox.refresh();
        sleep_until_ready(&mut [PollFd::from_borrowed_fd(self.inbox.wake(), PollFlags::IN)], DOWN_PAUSE)
    }

    /// Handles one batch by the newest snapshot and answers how many frames it had.
    pub fn step(&mut self, observer: impl Observer) -> io::Result<usize> {
        self.inbox.refresh();
        self.handle_batch(observer).map(|(taken, _)| taken)
    }

    /// Answers when it asked for frames, too.
    fn handle_batch(&mut self, mut observer: impl Observer) -> io::Result<(usize, Moment)> {
        self.io.receive(&mut self.batch, self.pace.batch)?;
        let taken = self.batch.len();
        let now = self.io.now();
        self.patience.asked(now, taken > 0);
        let received = self.tally.received.packets;
        if let Some((question, hash)) = self.inbox.question() {
            self.inbox.answer(question, self.flows.tracked().peek(hash, now));
        }
        let Publication { snapshot, cells, .. } = self.inbox.current();
        self.ahead.look(&mut Batch(&mut self.io, &self.batch), snapshot, self.flows.tracked());
        self.ahead.endpoints(snapshot).for_each(|endpoint| cells.approach(endpoint.cell));
        for (held, plain) in self.batch.drain(..).zip(self.ahead.iter()) {
            let mut frame = self.io.frame(&held);
            observer.came(frame.bytes(), now);
            let came = frame.span().len;
            let verdict = forward_ahead(&mut frame, plain, snapshot, (&mut self.flows, now));
            let span = frame.span();
            let verdict = match verdict {
                Verdict::Passed if !Io::TAP => Verdict::Dropped(DropReason::NotAVip, None),
                Verdict::Forwarded(service, _)
                    if !self.flows.parts().is_empty()
                        && !copy_out(self.flows.parts(), &mut self.io, &mut self.parts) =>
                {
                    Verdict::Dropped(DropReason::NoFrame, Some(service))
                }
                verdict => verdict,
            };
            let mut leaves = span.len;
            if !self.parts.is_empty() {
                leaves += self.parts.iter().map(Held::packet_len).sum::<usize>();
                self.tally.parts += self.parts.len() as u64;
            }
            self.tally.count(verdict, came, leaves);
            if let Verdict::Forwarded(service, endpoint) = verdict
                && let Some(entry) = snapshot.services.get(service as usize)
            {
                cells.add(entry.cell, leaves);
                if self.flows.has_opened() {
                    cells.open_flow(entry.cell);
                }
                if let Some(endpoint) = entry.endpoints.get(usize::from(endpoint)) {
                    cells.add(endpoint.cell, leaves);
                }
            }
            let held = held.moved_to(span);
            observer.went(verdict, snapshot, || self.io.frame(&held).into_bytes());
            match verdict {
                Verdict::Forwarded(..) | Verdict::Answered(_) => self.io.send(held),
                Verdict::Dropped(..) | Verdict::Passed => self.io.release(held),
            }
            if !self.parts.is_empty() {
                self.parts.drain(..).for_each(|part| self.io.send(part));
            }
            if self.flows.tracked().has_changed() {
                self.flows.tracked().take_changes().for_each(|change| cells.track(change));
            }
        }
        if taken > 0 {
            self.board.show_tally(&self.tally);
        }
        self.io.flush()?;
        self.record(taken, self.tally.received.packets - received, now);
        self.sweep(if taken > 0 { SWEPT_A_BATCH } else { SWEPT_IDLE }, now);
        Ok((taken, now))
    }

    /// Notes how long a batch took that was taken at `now`: one look at the clock more.
    fn record(&mut self, taken: usize, packets: u64, now: Moment) {
        let Some(recorder) = &mut self.recorder else { return };
        recorder.asked(now, taken > 0);
        if taken > 0 {
            recorder.done(packets, now, self.io.now());
        }
        recorder.hand_over(now, self.board.timing());
    }

    /// Looks through some of the tracked flows for those that are over, or whose endpoint is gone.
    fn sweep(&mut self, most: usize, now: Moment) {
        let Publication { snapshot, cells, .. } = self.inbox.current();
        let tracked = self.flows.tracked();
        let wanted = |cell: Cell| snapshot.cells_in_use.get(cell as usize).copied().unwrap_or(false);
        let done = tracked.is_empty() || tracked.sweep(most, now, wanted, |cell| cells.track(Change::Ended(cell)));
        if done {
            let began = if tracked.is_empty() { self.inbox.edition() } else { self.sweeping };
            self.inbox.note_forgotten(began);
            self.sweeping = self.inbox.edition();
        }
    }

    /// Where its frames come from.
    pub fn io(&mut self) -> &mut Io {
        &mut self.io
    }

    /// What it has done so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Gives back where its frames came from.
    pub fn into_io(self) -> Io {
        self.io
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowHash, Seed};
    use crate::forward::encap::Sources;
    use crate::forward::track::Sign;
    use crate::publish::Publisher;
    use crate::snapshot::{Dscp, Settings, Snapshot};
    use crate::wire::ethernet::MacAddress;

    /// Else their counters would never be another's.
    #[test]
    fn a_worker_without_a_queue_forgets_the_flows_of_endpoints_that_are_gone() {
        let sources = Sources::default();
        let settings = Settings {
            seed: Seed([0; 16]),
            dscp: Dscp::Copy,
            underlay_mtu: 1500,
            hop_limit: 64,
            mac: MacAddress::default(),
            sources,
        };
        let mut cells = crate::stats::Cells::default();
        cells.grow(2);
        let publication = |cells_in_use: [bool; 2]| {
            let snapshot = Snapshot { cells_in_use: Arc::new(cells_in_use), ..Snapshot::empty(settings) };
            Publication { snapshot: Arc::new(snapshot), cells: Arc::new(cells.clone()), tap: None }
        };
        let mut publisher = Publisher::new().expect("eventfd");
        let inbox = publisher.subscribe(publication([true, true])).expect("eventfd");
        let mut kit = Kit::new(inbox, Arc::default(), Flows::new(64, 600));
        let now = Moment(1_000_000_000);
        for (hash, cell) in [(1 << 40, 0), (2 << 40, 1)] {
            kit.flows.tracked().insert(FlowHash(hash), cell, Sign::Opens, now);
            kit.flows.tracked().take_changes().for_each(|change| cells.track(change));
        }
        kit.inbox.leave();
        let edition = publisher.post(vec![publication([true, false])]);
        assert!(publisher.forgotten() < edition);
        kit.catch_up(now);
        assert_eq!((publisher.forgotten(), kit.tracked().len()), (edition, 1));
        assert_eq!((cells.tracked(0), cells.tracked(1)), (1, 0));
    }

    /// Totals never fall, and what a socket goes on counting is not counted twice.
    #[test]
    fn a_queue_that_is_passed_on_keeps_its_counts() {
        let sources = Sources::default();
        let settings = Settings {
            seed: Seed([0; 16]),
            dscp: Dscp::Copy,
            underlay_mtu: 1500,
            hop_limit: 64,
            mac: MacAddress::default(),
            sources,
        };
        let snapshot = Arc::new(Snapshot::empty(settings));
        let mut publisher = Publisher::new().expect("eventfd");
        let inbox = publisher.subscribe(Publication { snapshot, cells: Arc::default(), tap: None }).expect("eventfd");
        let board: Arc<Board> = Arc::default();
        let mut kit = Kit::new(inbox, board.clone(), Flows::new(16, 1));
        let counted = |rx_ring_full| KernelStatistics { rx_ring_full, ..KernelStatistics::default() };
        kit.pass_queue(counted(2), counted(3));
        assert_eq!((board.read().1, kit.carry(Moment(0)).earlier), (counted(5), counted(2)));
    }
}
