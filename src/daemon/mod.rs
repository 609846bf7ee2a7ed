//! `pointsman run`: puts the parts together in order, and takes them apart in reverse.
//!
//! Start: steering program with its gate shut, sockets and fill rings, workers, control socket, the set from disk in
//! force at every worker, then the VIPs: the gate opens last, and the VIP routes draw traffic to it. A crash at any
//! point leaves VIP packets dropped quietly.

mod before;
mod cores;
mod driver;
mod keeper;
mod privileges;
mod seccomp;
mod store;
#[cfg(test)]
mod tests;
mod upgrade;
mod workers;

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::config::{Config, InterfaceConfig};
use crate::control::node::{Facts, Node, Parts, Ways};
use crate::control::protocol::Fault;
use crate::control::server::{End, Server, ServerError};
use crate::control::settings::settings;
use crate::control::state_lock::{StateLock, StateTaken};
use crate::control::update::Builder;
use crate::metrics::{self, ListenError};
use crate::publish::Publisher;
use crate::snapshot::{NextHop, Settings, Tag};
use crate::steer::{self, SteerError};
use crate::underlay::announce::VipRoutes;
use crate::underlay::path_mtu::{IcmpSocket, IcmpSocketError};
use crate::underlay::{self, Link, Underlay, UnderlayError};

use before::Before;
use keeper::{Keeper, Opener};

/// Why the daemon does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is named by what failed")]
pub enum DaemonError {
    #[error(transparent)]
    Missing(#[from] privileges::Missing),
    #[error(transparent)]
    Underlay(#[from] UnderlayError),
    #[error(transparent)]
    Steer(#[from] SteerError),
    #[error(transparent)]
    Driver(#[from] driver::DriverError),
    #[error(transparent)]
    Routers(#[from] IcmpSocketError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    StateTaken(#[from] StateTaken),
    #[error(transparent)]
    Metrics(#[from] ListenError),
    #[error("no core {core} for a worker: there are {there}; see interface.cores")]
    NoCore { core: usize, there: String },
    #[error("interface.cores has {cores} cores for {queues} queues; each queue has one worker on one core")]
    CoresForQueues { cores: usize, queues: usize },
    #[error("{}: the daemon is alive; stop it first, and it cleans up itself", .0.display())]
    Alive(PathBuf),
    #[error("{}", .0.message)]
    Restore(Fault),
    #[error("it does not take over from the running daemon: {0}")]
    NotTakenOver(String),
    #[error("worker {0} has panicked, which is a defect: its last words are above")]
    WorkerPanicked(usize),
    #[error("worker {0} has lost its queue: {1}")]
    QueueLost(usize, io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How much longer than its own TimeoutStopSec a service manager shall wait, told anew every second while it drains.
const STOP_EXTENSION: Duration = Duration::from_secs(15);

/// How long a disk that hangs is waited for before this process ends, and before another takes over.
const LAST_WRITE: Duration = Duration::from_secs(5);
const WRITE_BEFORE_UPGRADE: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config, config_file: PathBuf) -> Result<(), DaemonError> {
    run_by(config, config_file, driver::open)
}

/// Takes the control socket and the state for this process alone.
fn claim(config: &Config) -> Result<(Server, StateLock), DaemonError> {
    let server = Server::bind(&config.control)?;
    let lock = StateLock::take(&config.node.state_dir, &node_name(config))?;
    Ok((server, lock))
}

fn run_by(config: Config, config_file: PathBuf, opener: Opener) -> Result<(), DaemonError> {
    privileges::check()?;
    privileges::close_off()?;
    if let Some(succession) = upgrade::inherited()? {
        let daemon = upgrade::succeed(succession, (config, config_file), opener).map_err(DaemonError::NotTakenOver)?;
        return withdrawn_on_failure(|| daemon.attend());
    }
    let kept = store::received();
    let link = underlay::link(&config.interface.name)?;
    let settings = settings(&config, Some(&link));
    let before = Before::look(&config);
    // The socket and the state first: a second daemon must fail before it touches the first one's steering or routes.
    let (server, lock) = match claim(&config) {
        Ok(claimed) => claimed,
        Err(error) => {
            before.restore_directories();
            return Err(error);
        }
    };
    let interface = config.interface.clone();
    let taken = kept.take_back(&interface);
    withdrawn_on_failure(|| match Daemon::start((config, config_file), &link, settings, server, opener) {
        Ok(mut daemon) => {
            daemon.node.set_state_lock(lock);
            taken.settle();
            daemon.attend()
        }
        Err(error) => {
            taken.give_back();
            drop(lock);
            before.restore();
            Err(error)
        }
    })
}

/// Where work ends badly, nobody forwards any more, so nobody must be drawn here, were it by a route that an earlier run
/// left, or that the config has come to ask for since.
fn withdrawn_on_failure(work: impl FnOnce() -> Result<(), DaemonError>) -> Result<(), DaemonError> {
    let result = work();
    if result.is_err()
        && let Err(error) = withdraw_all()
    {
        tracing::error!("{error}");
    }
    result
}

/// All parts of a running daemon.
struct Daemon {
    server: Server,
    node: Node,
    keeper: Keeper,
    metrics_listener: TcpListener,
    /// None while nobody is told.
    metrics: Option<metrics::Server>,
    config_file: PathBuf,
    /// Where this program stood when it was started.
    binary: PathBuf,
}

impl Daemon {
    fn start(
        config: (Config, PathBuf),
        link: &Link,
        settings: Settings,
        server: Server,
        opener: Opener,
    ) -> Result<Self, DaemonError> {
        let binary = upgrade::own_binary()?;
        let metrics_listener = metrics::listen(config.0.metrics_listen)?;
        let mut keeper = Keeper::new(config.0.clone(), opener);
        let config_file = config.1.clone();
        let mut node = node(config, link, settings, &keeper)?;
        keeper.open(link, &mut node)?;
        node.restore().map_err(DaemonError::Restore)?;
        let mut daemon = Self { server, node, keeper, metrics_listener, metrics: None, config_file, binary };
        daemon.start_metrics();
        privileges::give_up_surplus()?;
        Ok(daemon)
    }

    /// Serves until it is asked to end, and leaves everything as it was; or until another process has taken over, with which
    /// this one ends, and leaves everything as it is.
    fn attend(mut self) -> Result<(), DaemonError> {
        privileges::give_up_surplus()?;
        self.server.allow_upgrade();
        notify(&[NotifyState::Ready]);
        let Facts { driver, mode, .. } = self.node.facts();
        let (interface, workers) = (&self.node.config().interface.name, self.keeper.at_work());
        tracing::info!(interface, driver, mode = mode.as_deref(), workers, "ready");
        let mut trouble = Ok(());
        self.serve(&mut trouble)?;
        self.node.stop();
        trouble?;
        self.keeper.finish()?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Serves until it is asked to stop; then withdraws the VIP routes, and goes on for as long as routers and clients may
    /// need to take another way. A second signal ends that.
    fn serve(&mut self, trouble: &mut Result<(), DaemonError>) -> Result<(), DaemonError> {
        let end = self.serve_upgraded(trouble)?;
        if end == End::Asked {
            notify(&[NotifyState::Stopping]);
        }
        self.server.refuse_upgrade();
        let (announced, drain_time) = (self.node.withdraw(), self.node.config().announce.drain_time);
        if end == End::Asked && announced && !drain_time.is_zero() {
            tracing::info!(?drain_time, "the VIP routes are withdrawn; forwarding goes on for a while");
            let extend = || notify(&[NotifyState::ExtendTimeoutUsec(STOP_EXTENSION.as_micros() as u32)]);
            extend();
            let Self { server, node, keeper, .. } = self;
            server.linger(node, drain_time, |node| {
                extend();
                is_well(keeper, node, trouble)
            })?;
        }
        self.wait_for_disk(LAST_WRITE);
        Ok(())
    }

    /// Waits until what is in force is on disk. Where that takes longer than this, it is said, and nobody waits any more.
    fn wait_for_disk(&mut self, limit: Duration) {
        notify(&[NotifyState::Watchdog]);
        if !self.node.wait_for_disk(limit) {
            tracing::error!("the disk has not answered for {limit:?} and is waited for no longer");
            self.node.give_up_disk();
        }
        self.server.complete_replies(&self.node);
        notify(&[NotifyState::Watchdog]);
    }

    /// Serves, and hands over where that is asked; where it cannot be, goes on.
    fn serve_upgraded(&mut self, trouble: &mut Result<(), DaemonError>) -> Result<End, DaemonError> {
        loop {
            let Self { server, node, keeper, .. } = self;
            let end = server.run(node, |node| is_well(keeper, node, trouble))?;
            if end != End::Upgrade {
                return Ok(end);
            }
            self.wait_for_disk(WRITE_BEFORE_UPGRADE);
            let binary = self.server.begin_upgrade(&self.binary);
            let Err(reason) = upgrade::hand_over(self, &binary);
            let reason = format!("there was no upgrade, and this process goes on: {reason}");
            self.server.answer_upgrade(&Err(Fault::internal(reason.clone())));
            self.node.fail(reason);
            self.keeper.check_whole()?;
        }
    }

    /// From now on the counters are told to whoever asks.
    fn start_metrics(&mut self) {
        let first = || {
            if let Err(error) = privileges::give_up_all() {
                tracing::warn!("the metrics' thread has capabilities that it does not need: {error}");
            }
        };
        let listener = self.metrics_listener.try_clone();
        let metrics =
            listener.and_then(|listener| metrics::Server::start(listener, self.node.counters().clone(), first));
        match metrics {
            Ok(metrics) => self.metrics = Some(metrics),
            Err(error) => self.node.fail(format!("metrics are not served: {error}")),
        }
    }

    /// Lets whoever asks wait.
    fn stop_metrics(&mut self) {
        self.metrics = None;
    }
}

/// To be called about once a second.
fn is_well(keeper: &mut Keeper, node: &mut Node, trouble: &mut Result<(), DaemonError>) -> bool {
    notify(&[NotifyState::Watchdog]);
    *trouble = keeper.look_after(node);
    trouble.is_ok()
}

/// A node without workers, and with an empty set.
fn node(
    (config, config_file): (Config, PathBuf),
    link: &Link,
    settings: Settings,
    keeper: &Keeper,
) -> Result<Node, DaemonError> {
    Ok(Node::new(Parts {
        facts: Facts { name: node_name(&config), ..Facts::default() },
        workers: Vec::new(),
        builder: Builder::new(settings, config.handover.window_seconds(), 0),
        publisher: Publisher::new()?,
        ways: ways(&config, link)?,
        routers: Some(IcmpSocket::open()?),
        gate: Box::new(keeper.gate()),
        routes: config.announce.routes.then(VipRoutes::open).transpose()?,
        config_file: Some(config_file),
        config,
    }))
}

/// Removes every VIP route; answers how many there were.
fn withdraw_all() -> Result<usize, UnderlayError> {
    let mut routes = VipRoutes::open()?;
    let count = routes.list()?.len();
    routes.set(&BTreeSet::new()).map(|()| count)
}

/// After a crash: withdraws the VIP routes and, if asked to, removes what steering has left behind. Refuses while the
/// daemon lives. Answers what it has done, or has found nothing to do, a sentence each.
pub fn cleanup(config: &Config, detach: bool) -> Result<Vec<String>, DaemonError> {
    if std::os::unix::net::UnixStream::connect(&config.control.socket).is_ok() {
        return Err(DaemonError::Alive(config.control.socket.clone()));
    }
    let mut done = vec![match withdraw_all()? {
        0 => "there were no VIP routes".to_owned(),
        count => format!("withdrew {count} VIP routes"),
    }];
    if detach {
        let InterfaceConfig { pin, name, .. } = &config.interface;
        let removed = steer::cleanup(pin, name)?;
        let stray = steer::cleanup_stray(name)?;
        if removed.is_empty() && stray.is_none() {
            done.push(format!("{name} has no steering program, and nothing is pinned for it below {}", pin.display()));
        }
        done.extend(removed.into_iter().chain(stray));
    }
    Ok(done)
}

fn node_name(config: &Config) -> String {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    config.node.name.clone().unwrap_or_else(host)
}

fn ways(config: &Config, link: &Link) -> Result<Ways, DaemonError> {
    let underlay = Box::new(Underlay::open(&config.interface.name)?);
    Ok(match config.underlay.next_hop {
        Some(destination) => {
            let source = config.interface.mac.unwrap_or(link.mac);
            Ways::Fixed(NextHop { destination, source, tag: Tag::AsReceived }, Some(underlay))
        }
        None => Ways::Kernel(underlay),
    })
}

/// Tells the service manager. Without one this does nothing, and one that cannot be told is no reason to stop.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
