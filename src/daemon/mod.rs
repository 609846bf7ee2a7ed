//! `pointsman run`: puts the parts together in order, and takes them apart in reverse.
//!
//! Start: steering program with its gate shut, sockets and fill rings, workers, control socket, the set from disk in
//! force at every worker, then the VIPs: the gate opens last, and the VIP routes draw traffic to it. A crash at any
//! point leaves VIP packets dropped quietly.

mod driver;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use sd_notify::NotifyState;

use crate::config::{Config, SMALLEST_MTU};
use crate::control::node::{Facts, Gate, LARGEST_PACKET, Node, Parts, Ways, WorkerFacts};
use crate::control::protocol::Fault;
use crate::control::server::{End, Server, ServerError};
use crate::control::update::Builder;
use crate::forward::Flows;
use crate::forward::encap::{Source, Sources};
use crate::io::PacketIo;
use crate::metrics::{self, ListenError};
use crate::publish::{Inbox, Publication, Publisher};
use crate::snapshot::{NextHop, Settings, Snapshot, Tag};
use crate::stats::{Board, Cells};
use crate::steer::{self, SteerError};
use crate::underlay::announce::VipRoutes;
use crate::underlay::path_mtu::{IcmpSocket, IcmpSocketError};
use crate::underlay::{self, Link, Underlay, UnderlayError};
use crate::worker::{Pace, Worker};

use driver::{Opened, QueueIo};

/// Why the daemon does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is named by what failed")]
pub enum DaemonError {
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
    Metrics(#[from] ListenError),
    #[error("the MTU of the underlay is {0}; IPv6 inside a tunnel needs at least {SMALLEST_MTU} (RFC 7676)")]
    SmallMtu(u32),
    #[error("no core {core} for a worker: there are {there}; see interface.cores")]
    NoCore { core: usize, there: String },
    #[error("interface.cores has {cores} cores for {queues} queues; each queue has one worker on one core")]
    CoresForQueues { cores: usize, queues: usize },
    #[error("{}: the daemon is alive; stop it first, and it cleans up itself", .0.display())]
    Alive(std::path::PathBuf),
    #[error("{}", .0.message)]
    Restore(Fault),
    #[error("worker {0} has ended: {1}")]
    WorkerEnded(usize, String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How much longer than its own TimeoutStopSec a service manager shall wait, told anew every second while it drains.
const STOP_EXTENSION: Duration = Duration::from_secs(15);

type Thread = JoinHandle<io::Result<()>>;

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), DaemonError> {
    let link = underlay::link(&config.interface.name)?;
    let underlay_mtu = config.underlay.mtu.unwrap_or(link.mtu).min(LARGEST_PACKET);
    if underlay_mtu < SMALLEST_MTU {
        return Err(DaemonError::SmallMtu(underlay_mtu));
    }
    // The socket first: a second daemon must fail before it touches the first one's steering.
    let server = Server::bind(&config.control)?;
    let announces = config.announce.routes;
    let result = run_bound(config, &link, underlay_mtu, server);
    if announces && result.is_err() {
        // Nobody forwards any more, so nobody must be drawn here, were it by a route that an earlier run left.
        withdraw_all().unwrap_or_else(|error| tracing::error!("{error}"));
    }
    result
}

fn run_bound(config: Config, link: &Link, underlay_mtu: u32, mut server: Server) -> Result<(), DaemonError> {
    let metrics_listener = metrics::listen(config.metrics_listen)?;
    let opened = driver::open(&config, link)?;
    let cores = choose_cores(&config, opened.queues.len())?;
    let settings = Settings {
        seed: config.seed,
        dscp: config.underlay.dscp,
        underlay_mtu,
        hop_limit: config.underlay.hop_limit,
        sources: sources(&config, link),
    };
    let Opened { driver, mode, gate, queues } = opened;
    let mode = mode.map(|mode| mode.to_string());
    let mut publisher = Publisher::new()?;
    let (mut workers, mut threads) = (Vec::new(), Vec::new());
    for (number, ((queue, io), core)) in queues.into_iter().zip(cores).enumerate() {
        let board = Arc::new(Board::default());
        let facts = WorkerFacts { queue, core: Some(core), zero_copy: io.zero_copy(), board: board.clone() };
        let first = Publication { snapshot: Arc::new(Snapshot::empty(settings)), cells: Arc::new(Cells::default()) };
        let inbox = publisher.subscribe(first)?;
        threads.push(start_worker(number, core, io, inbox, board, &config)?);
        workers.push(facts);
    }
    let facts = Facts { name: node_name(&config), driver, mode: mode.clone() };
    let builder = Builder::new(settings, config.handover.window_seconds(), workers.len());
    let ways = ways(&config, link)?;
    let drain_time = config.announce.drain_time;
    let routes = config.announce.routes.then(VipRoutes::open).transpose()?;
    let routers = Some(IcmpSocket::open()?);
    let gate = std::rc::Rc::new(std::cell::RefCell::new(Some(gate)));
    let shared_gate = Box::new(SharedGate(gate.clone()));
    let parts =
        Parts { config, facts, workers, builder, publisher, ways, routers, gate: shared_gate, routes, underlay_mtu };
    let mut node = Node::new(parts);
    node.restore().map_err(DaemonError::Restore)?;
    let _metrics = metrics::Server::start(metrics_listener, node.counters().clone())?;
    notify(&[NotifyState::Ready]);
    tracing::info!(interface = node.config().interface.name, driver, mode, workers = threads.len(), "ready");

    serve(&mut server, &mut node, drain_time, || {
        notify(&[NotifyState::Watchdog]);
        threads.iter().all(|thread| !thread.is_finished())
    })?;
    node.stop();
    let ends = threads.into_iter().enumerate().map(|(number, thread)| ended(number, thread));
    // Every worker is waited for, whatever the first one says.
    let ends: Vec<Result<(), DaemonError>> = ends.collect();
    ends.into_iter().collect::<Result<(), DaemonError>>()?;
    if let Some(gate) = gate.borrow_mut().take() {
        gate.detach()?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Serves until it is asked to stop; then withdraws the VIP routes, and goes on for as long as routers and clients may
/// need to take another way. A second signal ends that.
fn serve(
    server: &mut Server,
    node: &mut Node,
    drain_time: Duration,
    mut is_well: impl FnMut() -> bool,
) -> Result<(), DaemonError> {
    let end = server.run(node, &mut is_well)?;
    if end == End::Asked {
        notify(&[NotifyState::Stopping]);
    }
    let announced = node.withdraw();
    if end == End::Asked && announced && !drain_time.is_zero() {
        tracing::info!(?drain_time, "the VIP routes are withdrawn; forwarding goes on for a while");
        let extend = || notify(&[NotifyState::ExtendTimeoutUsec(STOP_EXTENSION.as_micros() as u32)]);
        extend();
        server.linger(node, drain_time, || {
            extend();
            is_well()
        })?;
    }
    Ok(())
}

/// Removes every VIP route.
fn withdraw_all() -> Result<(), UnderlayError> {
    VipRoutes::open()?.set(&BTreeSet::new())
}

/// After a crash: withdraws the VIP routes and, if asked to, removes what steering has left behind. Refuses while the
/// daemon lives.
pub fn cleanup(config: &Config, detach: bool) -> Result<(), DaemonError> {
    if std::os::unix::net::UnixStream::connect(&config.control.socket).is_ok() {
        return Err(DaemonError::Alive(config.control.socket.clone()));
    }
    withdraw_all()?;
    if detach {
        steer::cleanup(&config.interface.pin, &config.interface.name)?;
    }
    Ok(())
}

/// The gate, shared between the node, which sets VIPs, and the end, which takes it down.
struct SharedGate(std::rc::Rc<std::cell::RefCell<Option<steer::Gate>>>);

impl Gate for SharedGate {
    fn set_vips(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), String> {
        match self.0.borrow_mut().as_mut() {
            Some(gate) => gate.set_vips(vips).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

/// A worker whose thread has been asked to end, or has ended by itself.
fn ended(number: usize, thread: Thread) -> Result<(), DaemonError> {
    match thread.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(DaemonError::WorkerEnded(number, error.to_string())),
        Err(_) => Err(DaemonError::WorkerEnded(number, "it panicked, which is a defect".to_owned())),
    }
}

fn start_worker(
    number: usize,
    core: usize,
    io: QueueIo,
    inbox: Inbox,
    board: Arc<Board>,
    config: &Config,
) -> io::Result<Thread> {
    let pace = Pace { batch: config.interface.batch, poll: config.interface.poll };
    let (tracked_flows, window) = (config.handover.tracked_flows as usize, config.handover.window_seconds());
    let body = move || {
        if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
            tracing::warn!("worker {number} could not be pinned to core {core}");
        }
        // Its own memory is made by itself, on its own core's side.
        let flows = Flows::new(tracked_flows, window);
        match io {
            QueueIo::Xsk(io) => work(Worker::new(*io, inbox, board, flows, pace)),
            QueueIo::Packet(io) => work(Worker::new(*io, inbox, board, flows, pace)),
        }
    };
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(body)
}

fn work<Io: PacketIo>(worker: Worker<Io>) -> io::Result<()> {
    worker.run().map(drop)
}

/// One core a queue: as configured, or the last ones first, since the first usually serves interrupts.
fn choose_cores(config: &Config, queues: usize) -> Result<Vec<usize>, DaemonError> {
    let there: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    if there.is_empty() {
        return Err(io::Error::other("the kernel does not say which cores this process may use").into());
    }
    let Some(wanted) = &config.interface.cores else {
        return Ok(there.iter().rev().copied().cycle().take(queues).collect());
    };
    if wanted.len() != queues {
        return Err(DaemonError::CoresForQueues { cores: wanted.len(), queues });
    }
    if let Some(core) = wanted.iter().find(|core| !there.contains(core)) {
        let there = there.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        return Err(DaemonError::NoCore { core: *core, there });
    }
    Ok(wanted.clone())
}

fn node_name(config: &Config) -> String {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    config.node.name.clone().unwrap_or_else(host)
}

fn sources(config: &Config, link: &Link) -> Sources {
    let own_v4 = || Some(Source { address: link.source_v4()?, entropy: std::net::Ipv4Addr::UNSPECIFIED });
    let own_v6 = || Some(Source { address: link.source_v6()?, entropy: std::net::Ipv6Addr::UNSPECIFIED });
    let underlay = &config.underlay;
    Sources { v4: underlay.source_v4.or_else(own_v4), v6: underlay.source_v6.or_else(own_v6) }
}

fn ways(config: &Config, link: &Link) -> Result<Ways, DaemonError> {
    Ok(match config.underlay.next_hop {
        Some(destination) => {
            let source = config.interface.mac.unwrap_or(link.mac);
            Ways::Fixed(NextHop { destination, source, tag: Tag::AsReceived })
        }
        None => Ways::Kernel(Box::new(Underlay::open(&config.interface.name)?)),
    })
}

/// Tells the service manager. Without one this does nothing, and one that cannot be told is no reason to stop.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
