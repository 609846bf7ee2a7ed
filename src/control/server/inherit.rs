//! The control socket on its way from one process to another: clients notice nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Server, ServerError, Upgrades, at, may_write};
use crate::config::ControlConfig;
use crate::control::client::Client;
use crate::control::node::Node;
use crate::control::protocol::Fault;
use crate::upgrade::Client as ClientState;

impl Server {
    /// The same socket that another process has opened.
    pub fn inherit(listener: OwnedFd, config: &ControlConfig) -> Result<Self, ServerError> {
        let listener = std::os::unix::net::UnixListener::from(listener);
        listener.set_nonblocking(true).map_err(at("the control socket"))?;
        Self::serving(UnixListener::from_std(listener), config)
    }

    /// From now on clients, and SIGUSR2, may ask for an upgrade.
    pub fn allow_upgrade(&mut self) {
        self.upgrades = Upgrades::Allowed;
    }

    /// From now on they may not, as this process is about to end; who waits for one is told so.
    pub fn refuse_upgrade(&mut self) {
        self.upgrades = Upgrades::Over;
        for (token, client) in &mut self.clients {
            if client.refuse_upgrade(&Fault::is_stopping()) {
                // Where this process does not serve any more, there is no later; where it does, the client may have asked more.
                _ = client.write();
                self.unfinished.insert(*token);
            }
        }
    }

    /// Whether some client has asked for an upgrade. Where there can be none, that is answered at once.
    pub(super) fn is_upgrade_wanted(&mut self) -> bool {
        let fault = match self.upgrades {
            Upgrades::Allowed => return self.clients.values().any(|client| client.wanted_upgrade().is_some()),
            Upgrades::Over => Fault::is_stopping(),
            Upgrades::None => Fault::cannot_upgrade(),
        };
        for (token, client) in &mut self.clients {
            if client.refuse_upgrade(&fault) {
                self.unfinished.insert(*token);
            }
        }
        false
    }

    /// The program that is to take over: the one that has been asked for first, `own` where none is named. Whoever has asked
    /// for the same waits for the same upgrade, all others for a later one.
    pub fn begin_upgrade(&mut self, own: &Path) -> PathBuf {
        let first = self.clients.values().filter_map(Client::wanted_upgrade).min_by_key(|(since, _)| *since);
        let binary = first.and_then(|(_, binary)| binary).unwrap_or(own).to_owned();
        self.clients.values_mut().for_each(|client| client.serve_upgrade(&binary, own));
        binary
    }

    /// Answers all who have asked for the upgrade that is over.
    pub fn answer_upgrade(&mut self, result: &Result<Value, Fault>) {
        for (token, client) in &mut self.clients {
            if client.answer_upgrade(result) {
                self.unfinished.insert(*token);
            }
        }
    }

    /// The listening socket.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// All clients that go on: each with its socket, its state, and the bytes that belong to that. A capture does not: it ends
    /// with the process that copies the packets.
    pub fn clients(&self) -> impl Iterator<Item = (BorrowedFd<'_>, ClientState, Vec<u8>)> {
        self.clients.values().filter(|client| !client.is_capturing()).map(|client| {
            let (state, bytes) = client.state();
            (client.stream.as_fd(), state, bytes)
        })
    }

    /// Goes on with a client of another process. One that cannot be is said, and is no reason to stop.
    pub fn adopt(&mut self, stream: OwnedFd, state: ClientState, bytes: &[u8], node: &mut Node) {
        let stream = std::os::unix::net::UnixStream::from(stream);
        let stream = stream.set_nonblocking(true).map(|()| UnixStream::from_std(stream));
        let admitted = stream.and_then(|stream| {
            let may_write = may_write(&self.writers, &stream);
            let client = Client::adopt(stream, may_write, state, bytes).ok_or(std::io::ErrorKind::InvalidData)?;
            self.admit(client)
        });
        match admitted {
            Ok(token) => _ = self.unfinished.insert(token),
            Err(error) => node.fail(format!("a client cannot be served any more: {error}")),
        }
        node.events.set_heard(self.clients.values().any(Client::is_subscribed));
    }

    /// Another process serves this socket now: it is left as it is.
    pub fn forsake(&mut self) {
        self.forsaken = true;
    }

    /// Undoes [`forsake`](Self::forsake).
    pub fn reclaim(&mut self) {
        self.forsaken = false;
    }

    /// The signals that nobody has followed yet, by number.
    pub fn pending_signals(&mut self) -> Vec<i32> {
        self.heard.extend(self.signals.pending());
        std::mem::take(&mut self.heard)
    }

    /// Whether a signal that nobody has followed yet asks to end.
    pub fn is_end_asked(&mut self) -> bool {
        self.heard.extend(self.signals.pending());
        self.heard.iter().any(|signal| matches!(*signal, SIGTERM | SIGINT))
    }
}
