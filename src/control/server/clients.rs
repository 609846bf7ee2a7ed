//! The clients of the control socket: who is let in, whose turn it is, and what all of them are told.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Interest, Token};
use serde_json::Value;

use super::Server;
use super::access::may_write;
use crate::control::client::Client;
use crate::control::node::Node;
use crate::control::protocol::{self, Fault};

/// The most clients at once; a syncer and a few operators are usual.
const MOST_CLIENTS: usize = 64;
/// Of them, the most that may only read, so that they cannot keep a syncer out.
const MOST_READERS: usize = 48;
/// The most bytes of unfinished lines of all clients together.
const MOST_HALF_OPEN: usize = 256 << 20;
/// While all clients together have more bytes than this still to read, those that may only read get no more answers.
const MOST_UNREAD_BY_ALL: usize = 64 << 20;
/// How often packets are fetched from workers for a capture.
pub(super) const FETCH: Duration = Duration::from_millis(20);

/// Whether the next client may be let in all the same (accept(2)).
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted)
}

impl Server {
    /// Lets in all that wait. Where descriptors or memory are missing, they are asked for again when a client has left, and
    /// each second.
    pub(super) fn accept(&mut self, node: &mut Node) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.let_in(stream, node),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.shut_out_at = None;
                    return;
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    if self.shut_out_at.is_none() {
                        node.fail(format!("no client of the control socket can be let in, and they wait: {error}"));
                    }
                    self.shut_out_at = Some(self.clients.len());
                    return;
                }
            }
        }
    }

    fn let_in(&mut self, stream: UnixStream, node: &mut Node) {
        let may_write = may_write(&self.writers, &stream);
        if let Err(fault) = self.make_room(may_write) {
            // It has no answer to wait for, so one that cannot be written at once is lost.
            _ = (&stream).write(protocol::write(&Value::Null, &Err(fault)).as_bytes());
        } else if let Err(error) = self.admit(Client::new(stream, may_write)) {
            node.fail(format!("a client cannot be served: {error}"));
        }
    }

    /// From now on a client is served.
    pub(super) fn admit(&mut self, mut client: Client) -> io::Result<Token> {
        let token = Token(self.next);
        self.next += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut client.stream, token, interest)?;
        self.clients.insert(token, client);
        Ok(token)
    }

    /// Sees to it that one client more can be there, at the cost of the one that has been silent for longest.
    fn make_room(&mut self, may_write: bool) -> Result<(), Fault> {
        let readers = self.clients.values().filter(|client| !client.may_write()).count();
        let is_full = |count, most| count >= most;
        let all_are_many = is_full(self.clients.len(), MOST_CLIENTS);
        if !all_are_many && (may_write || !is_full(readers, MOST_READERS)) {
            return Ok(());
        }
        let candidates = self.clients.iter().filter(|(_, client)| all_are_many || !client.may_write());
        let idle = candidates.filter_map(|(token, client)| Some((client.idle_since()?, *token)));
        match idle.min_by_key(|(since, _)| *since) {
            Some((since, token)) if since.elapsed() >= self.limits.silence => {
                self.close(token);
                Ok(())
            }
            _ => {
                let (count, kind) = if all_are_many { (self.clients.len(), "clients") } else { (readers, "readers") };
                Err(Fault::internal(format!("{count} {kind} are connected already")))
            }
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(mut client) = self.clients.remove(&token) {
            _ = self.poll.registry().deregister(&mut client.stream);
        }
    }

    pub(super) fn close_overdue(&mut self) {
        let overdue = self.clients.iter().filter(|(_, client)| client.is_overdue(self.limits.patience));
        let overdue: Vec<Token> = overdue.map(|(token, _)| *token).collect();
        for token in overdue {
            tracing::warn!("a client of the control socket is too slow, and is let go");
            self.close(token);
        }
    }

    /// Gives each client a turn that has something to say. Where that takes too long, the others get theirs, and the next of
    /// the first come behind them, after what is due beside clients: a service manager is not to take many questions for a
    /// daemon that hangs.
    pub(super) fn attend_all(&mut self, node: &mut Node, until: Instant) {
        let mut waiting: VecDeque<Token> = std::mem::take(&mut self.waiting);
        let mut fresh: Vec<Token> = self.unfinished.drain().filter(|token| !waiting.contains(token)).collect();
        fresh.sort_unstable();
        waiting.extend(fresh);
        while let Some(token) = waiting.pop_front() {
            self.attend(token, node);
            if Instant::now() >= until {
                break;
            }
        }
        self.waiting = waiting;
    }

    /// Gives one client its turn.
    fn attend(&mut self, token: Token, node: &mut Node) {
        let all: usize = self.clients.values().map(Client::half_open).sum();
        let unread: usize = self.clients.values().map(Client::unread).sum();
        let Some(client) = self.clients.get_mut(&token) else { return };
        client.set_brief(unread > MOST_UNREAD_BY_ALL && !client.may_write());
        match client.turn(node, all - client.half_open(), MOST_HALF_OPEN) {
            Ok(true) => _ = self.unfinished.insert(token),
            Ok(false) => {}
            Err(_) => self.close(token),
        }
        // Before the next client's turn: what that one does is news to this one.
        node.events.set_heard(self.clients.values().any(Client::is_subscribed));
    }

    /// Tells subscribers what has happened.
    pub(super) fn tell(&mut self, node: &mut Node) {
        let lines: String = node.events.take().iter().map(protocol::notify).collect();
        if lines.is_empty() {
            return;
        }
        let mut lost = Vec::new();
        for (token, client) in &mut self.clients {
            lines.split_inclusive('\n').for_each(|line| client.tell(line));
            if client.write().is_err() {
                lost.push(*token);
            }
        }
        lost.into_iter().for_each(|token| self.close(token));
    }

    /// Shows packets to the one client that has asked for them. While it does not read, none are fetched, and workers count
    /// what they cannot show; when it has gone, the capture ends.
    pub(super) fn show_packets(&mut self, node: &mut Node) {
        if !node.is_capturing() {
            return;
        }
        let Some((token, client)) = self.clients.iter_mut().find(|(_, client)| client.is_capturing()) else {
            return node.stop_capture();
        };
        let token = *token;
        if client.has_room() && self.fetched.elapsed() >= FETCH {
            self.fetched = Instant::now();
            client.show(&node.captured());
        }
        if client.write().is_err() {
            self.close(token);
        }
    }
}
