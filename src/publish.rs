//! Hands snapshots to workers without locks, tells when all have them, and frees old ones on the control side.
//!
//! Each worker has a mailbox of one slot and two counters. A worker looks at one counter a batch; when it has moved,
//! the worker takes what is in the slot. The control side keeps its own `Arc` of everything posted until all workers
//! have taken something newer, so a worker never drops the last one: it never frees a table.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::Timespec;

use crate::capture::Tap;
use crate::flow::FlowHash;
use crate::snapshot::{Cell, Snapshot};
use crate::stats::Cells;

/// What one worker forwards by and counts in.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The same for all workers.
    pub snapshot: Arc<Snapshot>,
    /// The worker's own.
    pub cells: Arc<Cells>,
    /// Who wants to see the worker's packets, if anybody does.
    pub tap: Option<Arc<Tap>>,
}

struct Mailbox {
    slot: ArrayQueue<Publication>,
    news: CachePadded<News>,
    answers: ArrayQueue<(u64, Option<Cell>)>,
    taken: CachePadded<AtomicU64>,
    /// The newest edition of whose endpoints alone the worker remembers anything.
    swept: AtomicU64,
    stop: AtomicBool,
    /// The worker has no queue, and so takes nothing.
    absent: AtomicBool,
    /// Wakes the worker when it sleeps.
    wake: OwnedFd,
    /// Tells the control side that the worker has taken something.
    told: Arc<OwnedFd>,
}

/// What a worker looks at once a batch.
struct News {
    posted: AtomicU64,
    /// Counts questions.
    asked: AtomicU64,
    /// The flow that is asked about.
    hash: AtomicU64,
}

fn event() -> std::io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Makes an event readable. It cannot fail but by overflow, and then it is readable anyway.
fn signal(event: &OwnedFd) {
    _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

fn clear(event: &OwnedFd) {
    _ = rustix::io::read(event, &mut [0u8; 8]);
}

/// The control side.
pub struct Publisher {
    mailboxes: Vec<Arc<Mailbox>>,
    /// How many times something was posted.
    edition: u64,
    /// How many times workers were asked about a flow.
    questions: u64,
    /// What workers may still be reading, with the edition in which it was posted; the newest is last.
    kept: VecDeque<(u64, Vec<Publication>)>,
    told: Arc<OwnedFd>,
}

impl Publisher {
    /// A publisher without workers.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { mailboxes: Vec::new(), edition: 0, questions: 0, kept: VecDeque::new(), told: Arc::new(event()?) })
    }

    /// Adds a worker, which begins with `first`.
    pub fn subscribe(&mut self, first: Publication) -> std::io::Result<Inbox> {
        let mailbox = Arc::new(Mailbox {
            slot: ArrayQueue::new(1),
            news: News { posted: AtomicU64::new(self.edition), asked: AtomicU64::new(0), hash: AtomicU64::new(0) }
                .into(),
            answers: ArrayQueue::new(1),
            taken: AtomicU64::new(self.edition).into(),
            swept: AtomicU64::new(self.edition),
            stop: AtomicBool::new(false),
            absent: AtomicBool::new(false),
            wake: event()?,
            told: self.told.clone(),
        });
        self.kept.push_back((self.edition, vec![first.clone()]));
        self.mailboxes.push(mailbox.clone());
        Ok(Inbox { mailbox, seen: self.edition, heard: 0, current: first })
    }

    /// Posts one publication for each worker, in the order in which they subscribed, and answers the edition.
    pub fn post(&mut self, publications: Vec<Publication>) -> u64 {
        debug_assert_eq!(publications.len(), self.mailboxes.len());
        self.edition += 1;
        for (mailbox, publication) in self.mailboxes.iter().zip(&publications) {
            mailbox.slot.force_push(publication.clone());
            mailbox.news.posted.store(self.edition, Ordering::Release);
            signal(&mailbox.wake);
        }
        self.kept.push_back((self.edition, publications));
        self.edition
    }

    /// The newest edition.
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// The newest edition that every worker which has a queue has taken.
    pub fn adopted(&self) -> u64 {
        let present = self.mailboxes.iter().filter(|mailbox| !mailbox.absent.load(Ordering::Acquire));
        present.map(|mailbox| mailbox.taken.load(Ordering::Acquire)).min().unwrap_or(self.edition)
    }

    /// The newest edition whose predecessors every worker has forgotten: none still counts for an endpoint that it does not
    /// name.
    pub fn forgotten(&self) -> u64 {
        let swept = self.mailboxes.iter().map(|mailbox| mailbox.swept.load(Ordering::Acquire)).min();
        swept.unwrap_or(self.edition).min(self.edition)
    }

    /// Asks every worker that has a queue which endpoint it keeps for a flow, and answers those that are kept; none where some
    /// worker does not answer within `limit`.
    pub fn find_tracked(&mut self, hash: FlowHash, limit: Duration) -> Option<Vec<Cell>> {
        self.questions += 1;
        for mailbox in &self.mailboxes {
            mailbox.news.hash.store(hash.0, Ordering::Relaxed);
            mailbox.news.asked.store(self.questions, Ordering::Release);
            signal(&mailbox.wake);
        }
        let end = Instant::now() + limit;
        let mut found = vec![None; self.mailboxes.len()];
        loop {
            for (mailbox, found) in self.mailboxes.iter().zip(&mut found) {
                // An answer that came too late is to an older question.
                while let Some((question, cell)) = mailbox.answers.pop() {
                    *found = (question == self.questions).then_some(cell);
                }
                // By what it remembers nobody forwards.
                if mailbox.absent.load(Ordering::Acquire) {
                    found.get_or_insert(None);
                }
            }
            if found.iter().all(Option::is_some) {
                return Some(found.into_iter().flatten().flatten().collect());
            }
            if !self.wait_told(end) {
                return None;
            }
        }
    }

    /// Waits for a word of some worker; answers whether there was time.
    fn wait_told(&self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        _ = poll(&mut [PollFd::new(&*self.told, PollFlags::IN)], timeout.as_ref());
        clear(&self.told);
        !left.is_zero()
    }

    /// Frees what no worker can be reading any more.
    pub fn sweep(&mut self) {
        let adopted = self.adopted();
        while self.kept.len() > 1 && self.kept.front().is_some_and(|(edition, _)| *edition < adopted) {
            self.kept.pop_front();
        }
    }

    /// Waits until every worker has taken the newest edition; answers whether they did in time.
    pub fn wait_adopted(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.adopted() < self.edition {
            if !self.wait_told(end) {
                return false;
            }
        }
        true
    }

    /// Asks every worker to end.
    pub fn stop(&self) {
        (0..self.mailboxes.len()).for_each(|number| self.stop_one(number));
    }

    /// Asks one worker to end, by its place in the order in which they subscribed.
    pub fn stop_one(&self, number: usize) {
        if let Some(mailbox) = self.mailboxes.get(number) {
            mailbox.stop.store(true, Ordering::Release);
            signal(&mailbox.wake);
        }
    }
}

/// A worker's side.
pub struct Inbox {
    mailbox: Arc<Mailbox>,
    seen: u64,
    /// The last question that was answered.
    heard: u64,
    current: Publication,
}

impl Inbox {
    /// Takes what has been posted, if anything has. Costs one load of a cache line that stays put otherwise.
    pub fn refresh(&mut self) {
        let posted = self.mailbox.news.posted.load(Ordering::Acquire);
        if posted == self.seen {
            return;
        }
        if let Some(publication) = self.mailbox.slot.pop() {
            self.current = publication;
        }
        self.seen = posted;
        self.mailbox.taken.store(posted, Ordering::Release);
        signal(&self.mailbox.told);
    }

    /// The number of a question of the control side, and the flow it is about. Costs a load of the line that [`refresh`](Self::refresh) looks at.
    pub fn question(&self) -> Option<(u64, FlowHash)> {
        let asked = self.mailbox.news.asked.load(Ordering::Acquire);
        (asked != self.heard).then(|| (asked, FlowHash(self.mailbox.news.hash.load(Ordering::Relaxed))))
    }

    /// Answers the question with this number: the endpoint that is kept for the flow.
    pub fn answer(&mut self, question: u64, cell: Option<Cell>) {
        self.heard = question;
        self.mailbox.answers.force_push((question, cell));
        signal(&self.mailbox.told);
    }

    /// The edition taken last.
    pub fn edition(&self) -> u64 {
        self.seen
    }

    /// Says that nothing is remembered any more of endpoints that this edition does not name.
    pub fn note_forgotten(&self, edition: u64) {
        self.mailbox.swept.store(edition, Ordering::Release);
    }

    /// Whether that has been said of the edition taken last.
    pub fn has_forgotten(&self) -> bool {
        self.mailbox.swept.load(Ordering::Relaxed) >= self.seen
    }

    /// What to forward by.
    pub fn current(&self) -> &Publication {
        &self.current
    }

    /// Says that nothing is forwarded by what this inbox holds until [`come_back`](Self::come_back): nobody need wait for
    /// it. To be called by whoever holds the inbox of a worker that has lost its queue.
    pub fn leave(&self) {
        self.mailbox.absent.store(true, Ordering::Release);
        signal(&self.mailbox.told);
    }

    /// Undoes [`leave`](Self::leave) and [`Publisher::stop`], with the newest edition taken. Only the control side calls
    /// this, since it may free a table.
    pub fn come_back(&mut self) {
        self.mailbox.stop.store(false, Ordering::Release);
        self.arrive();
    }

    /// Undoes [`leave`](Self::leave) alone: a worker that has been asked to end meanwhile ends.
    pub fn arrive(&mut self) {
        self.refresh();
        self.mailbox.absent.store(false, Ordering::Release);
    }

    /// Whether the worker is asked to end.
    pub fn is_stopped(&self) -> bool {
        self.mailbox.stop.load(Ordering::Relaxed)
    }

    /// Whether anything is to be taken, to be answered, or to be ended for.
    pub fn has_news(&self) -> bool {
        let posted = self.mailbox.news.posted.load(Ordering::Acquire) != self.seen;
        posted || self.question().is_some() || self.is_stopped()
    }

    /// To be called before a sleep, and before a last look for [news](Self::has_news): the sleep is to be ended by what comes
    /// from now on. What has come so far is posted already, since posting comes before waking.
    pub fn rouse(&self) {
        clear(&self.mailbox.wake);
    }

    /// Readable when something has been posted, or the worker is to end.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.mailbox.wake.as_fd()
    }
}

/// One that has ended, however, takes nothing any more, and nothing is remembered by it.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.note_forgotten(u64::MAX);
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Seed;
    use crate::forward::encap::Sources;
    use crate::model::Generation;
    use crate::snapshot::{Dscp, Settings};
    use crate::wire::ethernet::MacAddress;

    fn publication(generation: u64) -> Publication {
        let sources = Sources::default();
        let settings = Settings {
            seed: Seed([0; 16]),
            dscp: Dscp::Copy,
            underlay_mtu: 1500,
            hop_limit: 64,
            mac: MacAddress::default(),
            sources,
        };
        let snapshot = Snapshot { generation: Generation(generation), ..Snapshot::empty(settings) };
        Publication { snapshot: Arc::new(snapshot), cells: Arc::default(), tap: None }
    }

    #[test]
    fn a_worker_sees_the_newest_and_the_control_side_frees_the_old() {
        let mut publisher = Publisher::new().expect("eventfd");
        let mut inbox = publisher.subscribe(publication(0)).expect("eventfd");
        let (first, second) = (publication(1), publication(2));
        let watched = Arc::downgrade(&first.snapshot);
        publisher.post(vec![first]);
        publisher.post(vec![second]);
        assert!(!publisher.wait_adopted(Duration::from_millis(1)));
        publisher.sweep();
        assert!(watched.upgrade().is_some(), "the worker may still take it");
        inbox.refresh();
        assert_eq!(inbox.current().snapshot.generation, Generation(2));
        assert!(publisher.wait_adopted(Duration::ZERO));
        publisher.sweep();
        assert!(watched.upgrade().is_none());
    }

    #[test]
    fn a_worker_that_moves_on_frees_nothing() {
        let mut publisher = Publisher::new().expect("eventfd");
        let first = publication(0);
        let watched = Arc::downgrade(&first.snapshot);
        let mut inbox = publisher.subscribe(first).expect("eventfd");
        publisher.post(vec![publication(1)]);
        inbox.refresh();
        assert!(watched.upgrade().is_some(), "the control side still keeps it");
        publisher.sweep();
        assert!(watched.upgrade().is_none());
    }

    #[test]
    fn nobody_waits_for_a_worker_without_a_queue() {
        let mut publisher = Publisher::new().expect("eventfd");
        let mut inboxes = [0, 1].map(|_| publisher.subscribe(publication(0)).expect("eventfd"));
        publisher.stop();
        inboxes[1].leave();
        publisher.post(vec![publication(1), publication(1)]);
        assert!(!publisher.wait_adopted(Duration::from_millis(1)), "the other has a queue");
        inboxes[0].refresh();
        assert!(publisher.wait_adopted(Duration::ZERO));
        inboxes[1].come_back();
        assert_eq!(inboxes[1].current().snapshot.generation, Generation(1));
        assert!(!inboxes[1].is_stopped() && publisher.adopted() == publisher.edition());
        publisher.post(vec![publication(2), publication(2)]);
        inboxes[0].refresh();
        assert!(!publisher.wait_adopted(Duration::from_millis(1)), "it is waited for again");
    }

    #[test]
    fn nobody_asks_a_worker_without_a_queue_and_one_that_has_ended_remembers_nothing() {
        let mut publisher = Publisher::new().expect("eventfd");
        let mut inboxes = [0, 1].map(|_| publisher.subscribe(publication(0)).expect("eventfd"));
        inboxes.iter().for_each(Inbox::leave);
        let begin = Instant::now();
        let limit = Duration::from_secs(60);
        assert_eq!(publisher.find_tracked(FlowHash(7), limit), Some(Vec::new()));
        assert!(begin.elapsed() < limit, "it is not waited for");
        publisher.post(vec![publication(1), publication(1)]);
        inboxes[0].refresh();
        inboxes[0].note_forgotten(1);
        assert_eq!(publisher.forgotten(), 0, "the other has not forgotten");
        let [first, second] = inboxes;
        drop(second);
        assert_eq!(publisher.forgotten(), 1);
        drop(first);
        assert_eq!(publisher.forgotten(), 1, "no more than was ever posted");
    }

    #[test]
    fn a_worker_that_was_awake_can_sleep_again() {
        let mut publisher = Publisher::new().expect("eventfd");
        let mut inbox = publisher.subscribe(publication(0)).expect("eventfd");
        let is_readable = |inbox: &Inbox| {
            let mut waiting = [PollFd::from_borrowed_fd(inbox.wake(), PollFlags::IN)];
            poll(&mut waiting, Some(&Timespec::default())).expect("poll") == 1
        };
        publisher.post(vec![publication(1)]);
        inbox.refresh();
        assert!(is_readable(&inbox), "taken without a sleep");
        inbox.rouse();
        assert!(!is_readable(&inbox));
        publisher.post(vec![publication(2)]);
        assert!(is_readable(&inbox));
    }

    #[test]
    fn every_worker_gets_to_every_newest_edition() {
        let mut publisher = Publisher::new().expect("eventfd");
        let mut inboxes: Vec<Inbox> = (0..3).map(|_| publisher.subscribe(publication(0)).expect("eventfd")).collect();
        std::thread::scope(|scope| {
            for inbox in &mut inboxes {
                scope.spawn(move || {
                    let mut last = Generation(0);
                    while !inbox.is_stopped() {
                        inbox.refresh();
                        let current = inbox.current().snapshot.generation;
                        assert!(current >= last, "never back");
                        last = current;
                        std::thread::yield_now();
                    }
                });
            }
            let all_came = (1..=200).all(|generation| {
                let one = publication(generation);
                publisher.post(vec![one.clone(), one.clone(), one]);
                let came = publisher.wait_adopted(Duration::from_secs(10));
                publisher.sweep();
                came && publisher.kept.len() == 1
            });
            publisher.stop();
            assert!(all_came);
        });
    }
}
