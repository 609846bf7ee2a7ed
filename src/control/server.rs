//! The control socket and everything else that the control side waits for, in one loop of one thread. A slow, silent
//! or broken client holds nobody up: nothing here blocks on a client, and each gets its turn.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook_mio::v1_0::Signals;

use crate::config::ControlConfig;

mod access;
mod inherit;

use self::access::{Access, restrict};
use super::accounts;
use super::client::Client;
use super::node::Node;
use super::protocol::{self, Fault};

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const UNDERLAY: Token = Token(2);
const ROUTERS: Token = Token(3);
const FIRST_CLIENT: usize = 4;

/// The most clients at once; a syncer and a few operators are usual.
const MOST_CLIENTS: usize = 64;
/// Of them, the most that may only read, so that they cannot keep a syncer out.
const MOST_READERS: usize = 48;
/// The most bytes of unfinished lines of all clients together.
const MOST_HALF_OPEN: usize = 256 << 20;
/// While all clients together have more bytes than this still to read, those that may only read get no more answers.
const MOST_UNREAD_BY_ALL: usize = 64 << 20;
/// How often next hops are looked after and the watchdog is told.
const TICK: Duration = Duration::from_secs(1);
/// How often packets are fetched from workers for a capture.
const FETCH: Duration = Duration::from_millis(20);

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

/// What signals have asked for.
#[derive(Default)]
struct Asked {
    reload: bool,
    upgrade: bool,
    end: bool,
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
    /// A client, or SIGUSR2, asks that another process take over; see [`Server::wanted_binary`].
    Upgrade,
}

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the rest of a line that was begun, and for anything of what was sent to be read.
    pub patience: Duration,
    /// Where there is no room, a client that has been silent for this long makes room for another.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(60), silence: Duration::from_secs(10) }
    }
}

/// The loop.
pub struct Server {
    poll: Poll,
    listener: UnixListener,
    path: PathBuf,
    signals: Signals,
    /// Signals that were looked at, and are to be followed yet.
    heard: Vec<i32>,
    clients: HashMap<Token, Client>,
    /// Clients of which more can be read without waiting.
    unfinished: HashSet<Token>,
    /// Those of them whose turn has not come, in its order.
    waiting: VecDeque<Token>,
    next: usize,
    writers: HashSet<u32>,
    limits: Limits,
    /// When packets were fetched last.
    fetched: Instant,
    /// Whether there is anything to hand over to another process.
    can_upgrade: bool,
    /// The path is another process's now.
    forsaken: bool,
    watched: bool,
}

impl Server {
    /// Opens the socket as the config says.
    pub fn bind(config: &ControlConfig) -> Result<Self, ServerError> {
        let listener = listen(&config.socket)?;
        _ = restrict(&config.socket, config)?;
        Self::serving(listener, config)
    }

    fn serving(mut listener: UnixListener, config: &ControlConfig) -> Result<Self, ServerError> {
        let poll = Poll::new().map_err(at("epoll"))?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2]).map_err(at("signals"))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(at("epoll"))?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE).map_err(at("epoll"))?;
        Ok(Self {
            poll,
            listener,
            path: config.socket.clone(),
            signals,
            heard: Vec::new(),
            clients: HashMap::new(),
            unfinished: HashSet::new(),
            waiting: VecDeque::new(),
            next: FIRST_CLIENT,
            writers: writers(config),
            limits: Limits::default(),
            fetched: Instant::now(),
            can_upgrade: false,
            forsaken: false,
            watched: false,
        })
    }

    /// From now on clients are waited for so long.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Serves until a signal asks to end or `is_well`, which is called about once a second and after all news of the
    /// underlay, says no.
    pub fn run(&mut self, node: &mut Node, is_well: impl FnMut(&mut Node) -> bool) -> Result<End, ServerError> {
        if !std::mem::replace(&mut self.watched, true) {
            self.watch(node)?;
        }
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
            let wait = if self.unfinished.is_empty() && self.waiting.is_empty() && self.heard.is_empty() {
                let due = until.map_or(next_tick, |until| until.min(next_tick));
                let wait = due.saturating_duration_since(Instant::now());
                if node.is_capturing() { wait.min(FETCH) } else { wait }
            } else {
                Duration::ZERO
            };
            let mut has_news = false;
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(at("epoll")(error)),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(node),
                    // Looked at below.
                    SIGNALS => {}
                    UNDERLAY => {
                        node.on_underlay_readable();
                        has_news = true;
                    }
                    ROUTERS => node.on_routers_readable(),
                    client => _ = self.unfinished.insert(client),
                }
            }
            self.attend_all(node, next_tick);
            let signals = self.take_signals();
            if signals.reload {
                self.reload(node);
            }
            let upgrade = self.is_upgrade_wanted() || signals.upgrade && self.can_upgrade;
            self.tell(node);
            self.show_packets(node);
            // Not before: an event that is not looked at does not come again.
            if signals.end {
                return Ok(End::Asked);
            }
            if upgrade {
                return Ok(End::Upgrade);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(End::TimeOver);
            }
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                node.tick();
                self.close_overdue();
                has_news = true;
            }
            if has_news && !is_well(node) {
                return Ok(End::Failed);
            }
        }
    }

    fn take_signals(&mut self) -> Asked {
        let mut asked = Asked::default();
        for signal in self.pending_signals() {
            match signal {
                SIGHUP => asked.reload = true,
                SIGUSR2 => asked.upgrade = true,
                _ => asked.end = true,
            }
        }
        asked
    }

    /// Has the node read its config again, and follows what it says of the socket.
    fn reload(&mut self, node: &mut Node) {
        let before = node.config().control.clone();
        let restrict = |control: &ControlConfig| {
            let is_same = (control.mode, &control.group) == (before.mode, &before.group);
            let access =
                (!is_same).then(|| restrict(&self.path, control)).transpose().map_err(|error| error.to_string())?;
            Ok(move || access.iter().for_each(Access::restore))
        };
        if node.reload(restrict).is_err() || node.config().control == before {
            return;
        }
        self.writers = writers(&node.config().control);
        for (token, client) in &mut self.clients {
            client.permit(may_write(&self.writers, &client.stream));
            self.unfinished.insert(*token);
        }
    }

    fn accept(&mut self, node: &mut Node) {
        while let Ok((stream, _)) = self.listener.accept() {
            let may_write = may_write(&self.writers, &stream);
            if let Err(fault) = self.make_room(may_write) {
                // It has no answer to wait for, so one that cannot be written at once is lost.
                _ = (&stream).write(protocol::write(&Value::Null, &Err(fault)).as_bytes());
                continue;
            }
            if let Err(error) = self.admit(Client::new(stream, may_write)) {
                node.fail(format!("a client cannot be served: {error}"));
            }
        }
    }

    /// From now on a client is served.
    fn admit(&mut self, mut client: Client) -> io::Result<Token> {
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

    fn close_overdue(&mut self) {
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
    fn attend_all(&mut self, node: &mut Node, until: Instant) {
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
    fn tell(&mut self, node: &mut Node) {
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
    fn show_packets(&mut self, node: &mut Node) {
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

impl Drop for Server {
    fn drop(&mut self) {
        if !self.forsaken {
            _ = std::fs::remove_file(&self.path);
        }
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

/// The users who may change something. One that does not exist is said, and is no reason not to serve the others.
fn writers(config: &ControlConfig) -> HashSet<u32> {
    let known = |user: &String| {
        let id = accounts::user_id(user);
        if id.is_none() {
            tracing::warn!("control.allow_users: there is no user \"{user}\"");
        }
        id
    };
    config.allow_users.iter().filter_map(known).collect()
}

/// Whether the user at the other end is one of them.
fn may_write(writers: &HashSet<u32>, stream: &UnixStream) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok();
    peer.is_some_and(|peer| writers.contains(&peer.uid.as_raw()))
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}
