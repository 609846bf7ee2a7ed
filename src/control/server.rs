//! The control socket and everything else that the control side waits for, in one loop of one thread. A slow, silent
//! or broken client holds nobody up: nothing here blocks on a client, and each gets its turn.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::config::ControlConfig;

use super::accounts;
use super::node::Node;
use super::protocol::{self, Call, Fault, Lines, Method, Request};

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const UNDERLAY: Token = Token(2);
const ROUTERS: Token = Token(3);
const FIRST_CLIENT: usize = 4;

/// The most clients at once; a syncer and a few operators are usual.
const MOST_CLIENTS: usize = 64;
/// How much of one client is read before the others get their turn.
const TURN: usize = 1 << 20;
/// While a client has this much still to read, it is asked nothing more of.
const MOST_UNREAD: usize = 1 << 20;
/// How often next hops are looked after and the watchdog is told.
const TICK: Duration = Duration::from_secs(1);

/// The socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody listens there already.
    #[error("{0}: another pointsman listens there")]
    InUse(PathBuf),
    /// The config names a group that does not exist.
    #[error("control.group: there is no group \"{0}\"")]
    NoSuchGroup(String),
    /// Only a member of a group may give it a file.
    #[error(
        "control.group: this user may not give the control socket to the group \"{0}\": \
         add SupplementaryGroups={0} to the unit"
    )]
    NotAMember(String),
    /// Anything else of the kernel's.
    #[error("{place}: {error}")]
    Io {
        /// What was being done.
        place: String,
        /// Why it failed.
        error: io::Error,
    },
}

fn at(place: impl Into<String>) -> impl FnOnce(io::Error) -> ServerError {
    let place = place.into();
    move |error| ServerError::Io { place, error }
}

struct Client {
    stream: UnixStream,
    lines: Lines,
    unread: VecDeque<u8>,
    may_write: bool,
    /// No more is read; it goes when it has read what it was sent.
    closing: bool,
}

/// What ends the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM or SIGINT.
    Asked,
    /// The caller's own check said so.
    Failed,
    /// The time was over.
    TimeOver,
}

/// The loop.
pub struct Server {
    poll: Poll,
    listener: UnixListener,
    path: PathBuf,
    signals: Signals,
    clients: HashMap<Token, Client>,
    /// Clients of which more can be read without waiting.
    unfinished: HashSet<Token>,
    next: usize,
    writers: HashSet<u32>,
}

impl Server {
    /// Opens the socket as the config says.
    pub fn bind(config: &ControlConfig) -> Result<Self, ServerError> {
        let path = config.socket.clone();
        let mut listener = listen(&path)?;
        let name = path.display().to_string();
        if let Some(group) = &config.group {
            let id = accounts::group_id(group).ok_or_else(|| ServerError::NoSuchGroup(group.clone()))?;
            std::os::unix::fs::chown(&path, None, Some(id)).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => ServerError::NotAMember(group.clone()),
                _ => at(name.clone())(error),
            })?;
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(config.mode)).map_err(at(name))?;
        let poll = Poll::new().map_err(at("epoll"))?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(at("signals"))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(at("epoll"))?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE).map_err(at("epoll"))?;
        let known = |user: &String| {
            let id = accounts::user_id(user);
            if id.is_none() {
                tracing::warn!("control.allow_users: there is no user \"{user}\"");
            }
            id
        };
        let writers = config.allow_users.iter().filter_map(known).collect();
        Ok(Self {
            poll,
            listener,
            path,
            signals,
            clients: HashMap::new(),
            unfinished: HashSet::new(),
            next: FIRST_CLIENT,
            writers,
        })
    }

    /// Serves until a signal asks to end or `is_well`, which is called about once a second and after all news of the
    /// underlay, says no.
    pub fn run(&mut self, node: &mut Node, is_well: impl FnMut(&mut Node) -> bool) -> Result<End, ServerError> {
        self.watch(node)?;
        self.serve(node, None, is_well)
    }

    /// After [`run`](Self::run): goes on serving for a time, unless another signal asks to end.
    pub fn linger(
        &mut self,
        node: &mut Node,
        time: Duration,
        is_well: impl FnMut(&mut Node) -> bool,
    ) -> Result<End, ServerError> {
        self.serve(node, Some(Instant::now() + time), is_well)
    }

    /// Waits for what the kernel and routers have to tell the node, too.
    fn watch(&mut self, node: &Node) -> Result<(), ServerError> {
        let underlay = node.underlay().map(|underlay| (UNDERLAY, underlay.as_raw_fd()));
        let routers = node.routers().into_iter().flat_map(|routers| routers.descriptors());
        let routers = routers.map(|descriptor| (ROUTERS, descriptor.as_raw_fd()));
        for (token, descriptor) in underlay.into_iter().chain(routers) {
            let registered = self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE);
            registered.map_err(at("epoll"))?;
        }
        Ok(())
    }

    fn serve(
        &mut self,
        node: &mut Node,
        until: Option<Instant>,
        mut is_well: impl FnMut(&mut Node) -> bool,
    ) -> Result<End, ServerError> {
        let mut events = Events::with_capacity(128);
        let mut next_tick = Instant::now() + TICK;
        loop {
            let wait = if self.unfinished.is_empty() {
                until.map_or(next_tick, |until| until.min(next_tick)).saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            let (mut asked_to_end, mut has_news) = (false, false);
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(at("epoll")(error)),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    SIGNALS => asked_to_end |= self.is_asked_to_end(),
                    UNDERLAY => {
                        node.on_underlay_readable();
                        has_news = true;
                    }
                    ROUTERS => node.on_routers_readable(),
                    client => _ = self.unfinished.insert(client),
                }
            }
            for token in std::mem::take(&mut self.unfinished) {
                self.attend(token, node);
            }
            // Not before: an event that is not looked at does not come again.
            if asked_to_end {
                return Ok(End::Asked);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(End::TimeOver);
            }
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                node.tick();
                has_news = true;
            }
            if has_news && !is_well(node) {
                return Ok(End::Failed);
            }
        }
    }

    fn is_asked_to_end(&mut self) -> bool {
        let mut end = false;
        for signal in self.signals.pending() {
            if signal == SIGHUP {
                tracing::warn!("SIGHUP: this version reads its config at the start only; restart it to take a new one");
            } else {
                end = true;
            }
        }
        end
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            if self.clients.len() >= MOST_CLIENTS {
                let fault = Err(Fault::internal(format!("{MOST_CLIENTS} clients are connected already")));
                // It has no answer to wait for, so one that cannot be written at once is lost.
                _ = stream.write(protocol::write(&Value::Null, &fault).as_bytes());
                continue;
            }
            let token = Token(self.next);
            self.next += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, token, interest).is_err() {
                continue;
            }
            let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
            let may_write = peer.is_some_and(|peer| self.writers.contains(&peer.uid.as_raw()));
            let client = Client { stream, lines: Lines::default(), unread: VecDeque::new(), may_write, closing: false };
            self.clients.insert(token, client);
        }
    }

    /// Gives one client its turn.
    fn attend(&mut self, token: Token, node: &mut Node) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        match client.turn(node) {
            Ok(true) => _ = self.unfinished.insert(token),
            Ok(false) => {}
            Err(_) => {
                if let Some(mut client) = self.clients.remove(&token) {
                    _ = self.poll.registry().deregister(&mut client.stream);
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}

/// Listens at a path. A socket that nobody listens at any more is a crashed daemon's and is replaced.
fn listen(path: &Path) -> Result<UnixListener, ServerError> {
    let name = path.display().to_string();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(at(directory.display().to_string()))?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(ServerError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
            std::fs::remove_file(path).map_err(at(name.clone()))?;
        }
        Err(_) => {}
    }
    UnixListener::bind(path).map_err(at(name))
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

impl Client {
    /// Reads, answers and writes as far as it goes without waiting. Answers whether there is more to read at once; an
    /// error ends the client.
    fn turn(&mut self, node: &mut Node) -> io::Result<bool> {
        let mut budget = TURN;
        loop {
            self.write()?;
            if self.unread.len() > MOST_UNREAD {
                return Ok(false);
            }
            if let Some(line) = self.lines.next_line().filter(|_| !self.closing) {
                // One question a turn: the others, the watchdog and next hops are not to wait for a thousand.
                self.take(line, node);
                self.write()?;
                return Ok(true);
            }
            if self.closing {
                return if self.unread.is_empty() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(false) };
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
                    self.lines.push(&bytes[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers one line.
    fn take(&mut self, line: Result<Vec<u8>, Fault>, node: &mut Node) {
        let request = match line {
            Ok(line) => protocol::read(&line),
            Err(fault) => {
                self.closing = true;
                Request { id: Some(Value::Null), call: Err(fault) }
            }
        };
        let result = request.call.and_then(|call| self.ask(&call, node));
        let Some(id) = request.id else { return };
        self.unread.extend(protocol::write(&id, &result).as_bytes());
    }

    fn ask(&self, call: &Call, node: &mut Node) -> Result<Value, Fault> {
        let method = call.method;
        if method.writes() && !self.may_write {
            let name = Method::ALL.iter().find(|(_, known)| *known == method).map_or("", |(name, _)| name);
            return Err(Fault::not_permitted(name));
        }
        node.answer(method, &call.params)
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.unread.is_empty() {
            match self.stream.write(self.unread.as_slices().0) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => _ = self.unread.drain(..len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
