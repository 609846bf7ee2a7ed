//! The way to the disk: a thread of its own writes, so that a disk that hangs holds up nobody but who waits for it.
//!
//! Each update that is to outlive the daemon has a number, its ticket. The thread has one job at a time; what comes meanwhile
//! waits, some patches as they are, more of them, or a whole set, as one set to be written whole. So what waits is bounded
//! whatever the disk does, and one write of the newest set serves all who wait for an older one.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::proposal::Patch;
use super::slot_memories::SlotMemories;
use super::state_lock::StateLock;
use super::store::{Kept, Store};
use crate::model::EndpointSet;

/// How long after a failure the next attempt is due.
const RETRY: Duration = Duration::from_secs(10);
/// A disk that has not answered for so long is said to hang.
const HANGS: Duration = Duration::from_secs(3);
/// Patches that wait as they are; with more, the set is written whole.
const MOST_WAITING: usize = 64;
const ENDED: &str = "the thread that writes has ended, which is a defect";

/// The number of an update that is to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// A patch, and what the slots of its services remembered when it came into force.
pub type Change = (Patch, SlotMemories);

/// What the thread is to write.
#[derive(Debug)]
pub enum Job {
    /// The set, and what its slots remember.
    Whole(EndpointSet, SlotMemories),
    /// Patches of the set that is on disk, in their order.
    Changes(Vec<Change>),
}

/// What is to be written next.
#[derive(Debug)]
pub enum Next {
    /// The set that is in force now.
    Whole,
    /// These patches.
    Changes(Vec<Change>),
}

/// What has become of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Kept,
    /// Patches alone will not do: the set is to be written whole.
    NeedsWhole,
    Failed(String),
    /// The thread has panicked.
    Ended,
}

/// A job that the thread has.
#[derive(Clone, Copy, Debug)]
struct Given {
    /// The newest update that it is to put on disk.
    ticket: Ticket,
    since: Instant,
    is_said_to_hang: bool,
}

/// The thread, as those see it who have work for it.
struct Writer {
    jobs: SyncSender<Job>,
    outcomes: Receiver<Outcome>,
}

/// What waits until the thread is free.
#[derive(Default)]
struct Waiting {
    changes: Vec<Change>,
    whole: bool,
}

/// The way to the disk.
pub struct Disk {
    directory: PathBuf,
    /// Keeps other daemons out of it.
    lock: Option<StateLock>,
    /// None where the thread has it.
    store: Option<Store>,
    /// None until there is something to write.
    writer: Option<Writer>,
    /// Wakes whoever waits for what becomes of a job.
    waker: Arc<OnceLock<Waker>>,
    newest: Ticket,
    settled: Ticket,
    waiting: Waiting,
    given: Option<Given>,
    /// Why what was settled last is not on disk.
    problem: Option<String>,
    failed: Option<Instant>,
}

impl Disk {
    /// The disk that this directory is on.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            lock: None,
            store: Some(Store::new(directory)),
            writer: None,
            waker: Arc::default(),
            newest: Ticket(0),
            settled: Ticket(0),
            waiting: Waiting::default(),
            given: None,
            problem: None,
            failed: None,
        }
    }

    /// Reads what was kept last; to be called before anything is written.
    pub fn load(&mut self) -> Kept {
        self.store.as_mut().map(Store::load).unwrap_or_default()
    }

    /// This fingerprint of the hash seed is to be written beside the next set; to be called before anything is written.
    pub fn set_seed(&mut self, fingerprint: String) {
        if let Some(store) = &mut self.store {
            store.set_seed(fingerprint);
        }
    }

    /// From now on nothing is written while another daemon has the directory; to be called before anything is written.
    pub fn set_lock(&mut self, lock: StateLock) {
        if let Some(store) = &mut self.store {
            store.set_lock(lock.clone());
        }
        self.lock = Some(lock);
    }

    /// What keeps other daemons out of the directory, if anything does.
    pub fn lock(&self) -> Option<&StateLock> {
        self.lock.as_ref()
    }

    /// From now on this is woken when there is something to [take in](Self::take_in).
    pub fn set_waker(&mut self, waker: Waker) {
        _ = self.waker.set(waker);
    }

    /// The set in force is to be on disk, whole or by this change of what is to be there already.
    pub fn want(&mut self, change: Option<Change>) -> Ticket {
        self.newest.0 += 1;
        self.failed = None;
        match change {
            Some(change) if !self.waiting.whole && self.waiting.changes.len() < MOST_WAITING => {
                self.waiting.changes.push(change);
            }
            _ => self.want_whole(),
        }
        self.newest
    }

    fn want_whole(&mut self) {
        self.waiting = Waiting { changes: Vec::new(), whole: true };
    }

    /// What another process could not write is to be tried again after a while.
    pub fn try_soon(&mut self) {
        self.failed = Some(Instant::now());
    }

    /// Whether something could not be written, long enough ago to try again.
    pub fn is_due(&self) -> bool {
        self.failed.is_some_and(|failed| failed.elapsed() >= RETRY)
    }

    /// What is to be [given](Self::give) to the thread now, if it is free and there is anything.
    pub fn take_next(&mut self) -> Option<Next> {
        if self.given.is_some() {
            return None;
        }
        let Waiting { changes, whole } = std::mem::take(&mut self.waiting);
        if whole {
            return Some(Next::Whole);
        }
        (!changes.is_empty()).then_some(Next::Changes(changes))
    }

    /// Gives the thread a job that was due [next](Self::take_next), and answers the newest update that it serves: where there is no
    /// thread, that has its [outcome](Self::outcome) already.
    pub fn give(&mut self, job: Job) -> Ticket {
        let given = self.start().and_then(|writer| writer.jobs.try_send(job).map_err(|_| ENDED.to_owned()));
        match given {
            Ok(()) => self.given = Some(Given { ticket: self.newest, since: Instant::now(), is_said_to_hang: false }),
            Err(reason) => self.settle(self.newest, Some(not_on_disk(&reason))),
        }
        self.newest
    }

    /// The thread, which begins with the first job: it has the caller's file system then, and the cores that workers left.
    fn start(&mut self) -> Result<&Writer, String> {
        if self.writer.is_none() {
            let ((jobs, work), (told, outcomes)) = (sync_channel(1), sync_channel(1));
            let (store, waker) = (self.store.take().unwrap_or_else(|| self.new_store()), self.waker.clone());
            let thread = thread::Builder::new().name("disk".to_owned());
            thread
                .spawn(move || write_all(store, &work, &told, &waker))
                .map_err(|error| format!("there is no thread to write it: {error}"))?;
            self.writer = Some(Writer { jobs, outcomes });
        }
        self.writer.as_ref().ok_or_else(|| "nothing writes".to_owned())
    }

    /// The directory as one finds it who does not know what is there.
    fn new_store(&self) -> Store {
        let mut store = Store::new(&self.directory);
        self.lock.iter().for_each(|lock| store.set_lock(lock.clone()));
        store
    }

    /// Takes in what has become of the job that the thread had, if that is known within this time. Then more may be
    /// [due](Self::take_next), and tickets up to the one that is answered may have an [outcome](Self::outcome).
    pub fn take_in(&mut self, limit: Duration) -> Option<Ticket> {
        let (given, writer) = (self.given?, self.writer.as_ref()?);
        let outcome = match writer.outcomes.recv_timeout(limit) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => Outcome::Ended,
        };
        self.note(given, outcome);
        Some(given.ticket)
    }

    fn note(&mut self, given: Given, outcome: Outcome) {
        self.given = None;
        match outcome {
            Outcome::Ended => {
                self.writer = None;
                self.settle(given.ticket, Some(not_on_disk(ENDED)));
            }
            Outcome::Kept => self.settle(given.ticket, None),
            Outcome::NeedsWhole => self.want_whole(),
            Outcome::Failed(reason) => self.settle(given.ticket, Some(reason)),
        }
    }

    fn settle(&mut self, ticket: Ticket, problem: Option<String>) {
        self.failed = problem.is_some().then(Instant::now);
        (self.settled, self.problem) = (self.settled.max(ticket), problem);
    }

    /// Nobody waits any longer: what is not on disk yet counts as not written, though it may come to be. Answers the newest
    /// update of these, if there are any.
    pub fn give_up(&mut self) -> Option<Ticket> {
        let hung = self.given?.since.elapsed();
        self.settle(self.newest, Some(hangs(hung)));
        Some(self.newest)
    }

    /// Whether nothing is to be written, and nothing is being written.
    pub fn is_quiet(&self) -> bool {
        self.given.is_none() && self.waiting.changes.is_empty() && !self.waiting.whole
    }

    /// Whether an update is on disk, or cannot be; then why not.
    pub fn outcome(&self, ticket: Ticket) -> Option<Option<&str>> {
        (ticket <= self.settled).then_some(self.problem.as_deref())
    }

    /// Why what is in force is not on disk, where the disk has not answered for long.
    pub fn hang(&self) -> Option<String> {
        let hung = self.given?.since.elapsed();
        (hung >= HANGS).then(|| hangs(hung))
    }

    /// The same, once for each time that it hangs.
    pub fn new_hang(&mut self) -> Option<String> {
        let hang = self.hang()?;
        let given = self.given.as_mut()?;
        (!std::mem::replace(&mut given.is_said_to_hang, true)).then_some(hang)
    }
}

fn not_on_disk(reason: &str) -> String {
    format!("the set is in force but not on disk: {reason}")
}

fn hangs(hung: Duration) -> String {
    not_on_disk(&format!("the disk has not answered for {} s", hung.as_secs()))
}

/// The thread: writes job after job, until nobody has any more.
fn write_all(mut store: Store, jobs: &Receiver<Job>, outcomes: &SyncSender<Outcome>, waker: &OnceLock<Waker>) {
    let none = CapabilitySet::empty();
    // Files are all that it has to do with.
    if let Err(error) = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }) {
        tracing::warn!("the thread that writes has capabilities that it does not need: {error}");
    }
    for job in jobs {
        let outcome = match &job {
            Job::Whole(set, memories) => match store.keep(set, memories) {
                Ok(()) => Outcome::Kept,
                Err(problem) => Outcome::Failed(problem.to_string()),
            },
            Job::Changes(changes) => {
                let kept = changes.iter().all(|(patch, memories)| store.keep_change(patch, memories));
                if kept { Outcome::Kept } else { Outcome::NeedsWhole }
            }
        };
        if outcomes.send(outcome).is_err() {
            return;
        }
        if let Some(Err(error)) = waker.get().map(Waker::wake) {
            // It is looked for once a second all the same.
            tracing::debug!("nobody is woken by the disk: {error}");
        }
    }
}
