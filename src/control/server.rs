//! The control socket and everything else that the control side waits for, in one loop of one thread. A slow, silent
//! or broken client holds nobody up: nothing here blocks on a client, and each gets its turn.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::UnixListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook_mio::v1_0::Signals;

use crate::config::ControlConfig;

mod access;
mod clients;
mod inherit;

use self::access::{Access, may_write, restrict, writers};
use self::clients::FETCH;
use super::client::Client;
use super::node::Node;

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const UNDERLAY: Token = Token(2);
const ROUTERS: Token = Token(3);
const DISK: Token = Token(4);
const FIRST_CLIENT: usize = 5;

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

/// What signals have asked for.
#[derive(Default)]
struct Asked {
    reload: bool,
    upgrade: bool,
    end: bool,
}

/// Whether this process can hand over to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrades {
    /// There is nothing to hand over.
    None,
    Allowed,
    /// Not any more: it is about to end.
    Over,
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
    /// A client, or SIGUSR2, asks that another process take over; see [`Server::begin_upgrade`].
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
    /// Some wait at the listener who could not be let in, and of whom the kernel will not tell again: how many clients there
    /// were then.
    shut_out_at: Option<usize>,
    writers: HashSet<u32>,
    limits: Limits,
    /// When packets were fetched last.
    fetched: Instant,
    upgrades: Upgrades,
    /// The path is another process's now.
    forsaken: bool,
    watched: bool,
}

impl Server {
    /// Opens the socket as the config says.
    pub fn bind(config: &ControlConfig) -> Result<Self, ServerError> {
        let listener = listen(&config.socket)?;
        let server = restrict(&config.socket, config).and_then(|_| Self::serving(listener, config));
        server.inspect_err(|_| {
            // The first error is the one to tell.
            _ = std::fs::remove_file(&config.socket);
        })
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
            shut_out_at: None,
            writers: writers(config),
            limits: Limits::default(),
            fetched: Instant::now(),
            upgrades: Upgrades::None,
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

    /// Waits for what the kernel, routers and the disk have to tell the node, too.
    fn watch(&mut self, node: &mut Node) -> Result<(), ServerError> {
        node.set_disk_waker(Waker::new(self.poll.registry(), DISK).map_err(at("epoll"))?);
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
                let due = until.into_iter().chain(node.look_by()).fold(next_tick, Instant::min);
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
                    SIGNALS | DISK => {}
                    UNDERLAY => {
                        node.on_underlay_readable();
                        has_news = true;
                    }
                    ROUTERS => node.on_routers_readable(),
                    client => _ = self.unfinished.insert(client),
                }
            }
            if node.follow_disk() {
                self.complete_replies(node);
            }
            self.attend_all(node, next_tick);
            let signals = self.take_signals();
            if signals.reload {
                self.reload(node);
            }
            let upgrade = self.is_upgrade_wanted() || signals.upgrade && self.upgrades == Upgrades::Allowed;
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
                // What was missing may be there again.
                self.shut_out_at = self.shut_out_at.map(|_| usize::MAX);
                has_news = true;
            }
            has_news |= node.is_look_due();
            if self.shut_out_at.is_some_and(|clients| self.clients.len() < clients) {
                self.accept(node);
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

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}
