//! One client of the control socket: what it has sent and not yet been answered, what it has been answered and not yet
//! read, and how long its patience, and ours, lasts.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

mod wish;

use self::wish::Wish;
use super::event::Event;
use super::node::{Node, Reply};
use super::protocol::{self, Call, Fault, LONGEST_LINE, Lines, Method, Request};
use crate::upgrade::{Asked, Client as ClientState};

/// How much of one client is read before the others get their turn, in bytes.
const TURN: usize = 1 << 20;
/// While a client has this much still to read, in bytes, it is asked nothing more of and told no more events.
const MOST_UNREAD: usize = 1 << 20;
/// The longest line of a client that may only read, in bytes: it has no sets to send.
const LONGEST_QUESTION: usize = 64 << 10;

/// One client.
pub struct Client {
    /// Its socket.
    pub stream: UnixStream,
    lines: Lines,
    unread: VecDeque<u8>,
    may_write: bool,
    /// No more is read; it goes when it has read what it was sent.
    closing: bool,
    subscribed: bool,
    /// It is shown packets.
    capturing: bool,
    /// Its questions are refused.
    is_brief: bool,
    /// Events that it was too slow for.
    missed: usize,
    /// The upgrade that it has asked for; until that is answered nothing more is asked of it.
    upgrade: Option<Wish>,
    /// What it is answered once the disk has what it is about, and the id of its question; until then nothing more is asked of
    /// it either.
    awaited: Option<(Option<Value>, Reply)>,
    /// When it last asked something.
    heard: Instant,
    /// When it began the line that is not finished.
    line_begun: Option<Instant>,
    /// Since when it has not read what it was sent.
    stuck: Option<Instant>,
}

fn longest_line(may_write: bool) -> usize {
    if may_write { LONGEST_LINE } else { LONGEST_QUESTION }
}

/// Whether nobody is at the other end any more. Who has only said its last word still wants the answer.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        && asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

impl Client {
    /// A client that has just come.
    pub fn new(stream: UnixStream, may_write: bool) -> Self {
        Self {
            stream,
            lines: Lines::new(longest_line(may_write)),
            unread: VecDeque::new(),
            may_write,
            closing: false,
            subscribed: false,
            capturing: false,
            is_brief: false,
            missed: 0,
            upgrade: None,
            awaited: None,
            heard: Instant::now(),
            line_begun: None,
            stuck: None,
        }
    }

    /// From now on it may change anything, or nothing. What it has asked for and may not have any more is refused.
    pub fn permit(&mut self, may_write: bool) {
        self.may_write = may_write;
        self.lines.set_longest(longest_line(may_write));
        if may_write {
            return;
        }
        self.refuse_upgrade(&Fault::not_permitted(Method::Upgrade.name()));
        if std::mem::take(&mut self.capturing) {
            self.refuse(&Fault::not_permitted(Method::Capture.name()));
        }
    }

    /// Whether it may change anything.
    pub fn may_write(&self) -> bool {
        self.may_write
    }

    /// Whether it is told events.
    pub fn is_subscribed(&self) -> bool {
        self.subscribed
    }

    /// Whether it is shown packets.
    pub fn is_capturing(&self) -> bool {
        self.capturing
    }

    /// Whether it has read what it was shown, but for little.
    pub fn has_room(&self) -> bool {
        self.unread.len() <= MOST_UNREAD
    }

    /// Shows it packets, which are these lines.
    pub fn show(&mut self, lines: &str) {
        self.unread.extend(lines.as_bytes());
    }

    /// Bytes that it has been sent and has not read.
    pub fn unread(&self) -> usize {
        self.unread.len()
    }

    /// Whether its questions are refused: there is too much that is not read.
    pub fn set_brief(&mut self, is_brief: bool) {
        self.is_brief = is_brief;
    }

    /// Bytes of the line that it has begun.
    pub fn half_open(&self) -> usize {
        self.lines.pending()
    }

    /// Since when it has asked nothing and is owed nothing; none while either is untrue, or it listens to events.
    pub fn idle_since(&self) -> Option<Instant> {
        let is_owed = self.upgrade.is_some() || self.awaited.is_some() || !self.unread.is_empty();
        let is_idle = !self.subscribed && !self.capturing && !is_owed && self.lines.pending() == 0;
        is_idle.then_some(self.heard)
    }

    /// Whether it has been waited for longer than this: for the rest of a line, or to read.
    pub fn is_overdue(&self, patience: Duration) -> bool {
        let is_old = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() > patience);
        is_old(self.line_begun) || is_old(self.stuck)
    }

    /// Reads, answers and writes as far as it goes without waiting. Answers whether there is more to read at once; an
    /// error ends the client.
    pub fn turn(&mut self, node: &mut Node, other_half_open: usize, most_half_open: usize) -> io::Result<bool> {
        let mut budget = TURN;
        loop {
            self.write()?;
            if self.awaited.is_some() && has_hung_up(&self.stream) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if !self.has_room() || self.upgrade.is_some() || self.awaited.is_some() {
                return Ok(false);
            }
            if let Some(line) = self.lines.next_line().filter(|_| !self.closing) {
                // One question a turn: the others, the watchdog and next hops are not to wait for a thousand.
                self.take(line, node);
                self.write()?;
                return Ok(true);
            }
            self.line_begun = (self.lines.pending() > 0).then(|| self.line_begun.unwrap_or_else(Instant::now));
            if self.closing {
                return if self.unread.is_empty() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(false) };
            }
            if self.lines.pending() + other_half_open > most_half_open {
                self.refuse(&Fault::internal(format!("more than {} MiB of unfinished lines", most_half_open >> 20)));
                continue;
            }
            if budget == 0 {
                return Ok(true);
            }
            let mut bytes = [0; 1 << 16];
            match self.stream.read(&mut bytes) {
                // It asks nothing more, but may still want the answers.
                Ok(0) => self.closing = true,
                Ok(len) => {
                    budget = budget.saturating_sub(len);
                    self.heard = Instant::now();
                    self.lines.push(&bytes[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Says why nothing more of it is read.
    pub fn refuse(&mut self, fault: &Fault) {
        self.closing = true;
        self.unread.extend(protocol::write(&Value::Null, &Err(fault.clone())).as_bytes());
    }

    /// Answers one line.
    fn take(&mut self, line: Result<Vec<u8>, Fault>, node: &mut Node) {
        self.line_begun = None;
        let line = match line {
            Ok(line) => line,
            Err(fault) => return self.refuse(&fault),
        };
        let Request { id, call } = protocol::read(&line);
        if let Some(call) = call.as_ref().ok().filter(|call| call.method == Method::Upgrade && self.may_write) {
            match wish::wanted_binary(&call.params) {
                Ok(binary) => self.upgrade = Some(Wish::new(id, binary)),
                Err(fault) => self.answer(id, &Err(fault)),
            }
            return;
        }
        let reply = call.and_then(|call| {
            if self.is_brief {
                Err(Fault::internal("clients read too slowly: ask again later"))
            } else {
                self.ask(call, node)
            }
        });
        match reply.map(|reply| node.complete(reply)) {
            Ok(Ok(answer)) => self.answer(id, &Ok(answer)),
            Ok(Err(waiting)) => self.awaited = Some((id, waiting)),
            Err(fault) => self.answer(id, &Err(fault)),
        }
    }

    /// Answers what has waited for the disk, if that has answered; says whether it has.
    pub fn complete(&mut self, node: &Node) -> bool {
        let Some((id, reply)) = self.awaited.take() else { return false };
        match node.complete(reply) {
            Ok(answer) => {
                self.answer(id, &Ok(answer));
                true
            }
            Err(waiting) => {
                self.awaited = Some((id, waiting));
                false
            }
        }
    }

    /// Answers a question, if that has an id.
    fn answer(&mut self, id: Option<Value>, result: &Result<Value, Fault>) {
        if let Some(id) = id {
            self.unread.extend(protocol::write(&id, result).as_bytes());
        }
    }

    fn ask(&mut self, call: Call<'_>, node: &mut Node) -> Result<Reply, Fault> {
        let Call { method, params } = call;
        if method.writes() && !self.may_write {
            return Err(Fault::not_permitted(method.name()));
        }
        let reply = node.ask(method, params)?;
        self.subscribed |= method == Method::Subscribe;
        self.capturing |= method == Method::Capture;
        Ok(reply)
    }

    /// All that another process needs to go on with it, and the bytes that it has not read, and then those of it that have
    /// not been answered.
    pub fn state(&self) -> (ClientState, Vec<u8>) {
        let (served, later): (Option<&Wish>, _) = match &self.upgrade {
            Some(wish) if wish.is_served => (Some(wish), None),
            other => (None, other.as_ref().map(Wish::to_asked)),
        };
        let asked = served.and_then(|wish| wish.to_asked().id);
        let &Self { subscribed, closing, missed, .. } = self;
        let state = ClientState { subscribed, closing, missed, unread: self.unread.len(), asked, later };
        let (front, back) = self.unread.as_slices();
        (state, [front, back, self.lines.unanswered()].concat())
    }

    /// A client of another process; none where its bytes are not what is said of them.
    pub fn adopt(stream: UnixStream, may_write: bool, state: ClientState, bytes: &[u8]) -> Option<Self> {
        let ClientState { subscribed, closing, missed, unread, asked, later } = state;
        let (unread, unanswered) = bytes.split_at_checked(unread)?;
        let served = asked.map(|id| Wish::of(&Asked { id: Some(id), binary: None }, true));
        let upgrade = served.or_else(|| later.map(|asked| Wish::of(&asked, false)));
        let mut client = Self { subscribed, closing, missed, upgrade, ..Self::new(stream, may_write) };
        client.unread.extend(unread);
        client.lines.push(unanswered);
        Some(client)
    }

    /// Tells it an event, which is this line. One that does not read is told later how many it has missed.
    pub fn tell(&mut self, line: &str) {
        if !self.subscribed || self.closing {
        } else if self.missed > 0 || !self.has_room() {
            self.missed += 1;
        } else {
            self.unread.extend(line.as_bytes());
        }
    }

    /// Writes what it has not read yet, as far as that goes without waiting.
    pub fn write(&mut self) -> io::Result<()> {
        loop {
            if self.unread.is_empty() {
                self.stuck = None;
                if self.missed == 0 {
                    return Ok(());
                }
                let missed = Event::Missed { count: std::mem::take(&mut self.missed) };
                self.unread.extend(protocol::notify(&missed).as_bytes());
            }
            match self.stream.write(self.unread.as_slices().0) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.unread.drain(..len);
                    self.stuck = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
