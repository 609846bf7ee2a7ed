//! The side of the process that takes over. All that can fail does so before the first worker has moved.

use std::net::{Shutdown, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;

use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use serde_json::json;

use super::channel::{Channel, ChannelError, read_file};
use super::{PREPARE_LIMIT, STEP_LIMIT, fault};
use crate::config::Config;
use crate::control::node::{Counted, Node, NodeState};
use crate::control::server::Server;
use crate::control::settings::settings;
use crate::control::state_lock::StateLock;
use crate::daemon::driver::{Opened, QueueIo, Shape};
use crate::daemon::keeper::{Keeper, Opener};
use crate::daemon::workers::legacy::{Legacy, News};
use crate::daemon::{Daemon, node, privileges};
use crate::forward::track::table::LAYOUT;
use crate::steer::{Gate, Guard, Steering};
use crate::underlay::{self, Link};
use crate::upgrade::{Begin, Message, VARIABLE, differences, facts};
use crate::worker::table::TableFile;

/// A process that is to be succeeded by this one.
pub struct Succession(Channel);

/// What this process has of another.
struct Inheritance {
    begin: Begin,
    listener: OwnedFd,
    metrics: OwnedFd,
    state: NodeState,
    /// On `state_dir`; none where the process before has none.
    lock: Option<OwnedFd>,
    queues: Vec<(u32, QueueIo)>,
    /// What each worker will have of the other one's.
    legacies: Vec<Legacy>,
}

/// Workers that wait for what those of another process had.
struct Waiting {
    news: mpsc::Receiver<News>,
    relays: Vec<UnixStream>,
    /// They go on with tracked flows where they lie.
    in_place: bool,
}

/// The process that has started this one to succeed it, if one has.
pub fn inherited() -> std::io::Result<Option<Succession>> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(None);
    }
    let stdin = rustix::stdio::stdin();
    if socket_type(stdin).ok() != Some(SocketType::SEQPACKET) {
        return Err(std::io::Error::other(format!("{VARIABLE} is set, but no running daemon has started this one")));
    }
    let channel = Channel::new(rustix::io::fcntl_dupfd_cloexec(stdin, 3)?)?;
    // Nobody else is to hold that socket, nor to read from it.
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(Some(Succession(channel)))
}

/// Takes over from another process; answers when this one is the daemon. Where it cannot, that is told, and the other one
/// goes on.
pub fn succeed(succession: Succession, config: (Config, PathBuf), opener: Opener) -> Result<Daemon, String> {
    let Succession(channel) = succession;
    let result = take_over(&channel, config, opener);
    if let Err(reason) = &result {
        _ = channel.send(&Message::Failed { reason: reason.clone() }, &[]);
    }
    result
}

fn take_over(channel: &Channel, config: (Config, PathBuf), opener: Opener) -> Result<Daemon, String> {
    fault::at("begin")?;
    let inheritance = Inheritance::hear(channel, &config.0)?;
    let from = inheritance.begin.version.clone();
    let (mut daemon, waiting) = prepare(inheritance, config, opener)?;
    fault::at("prepare")?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    say(channel, &Message::Prepared { version, in_place: waiting.in_place })?;
    let result = receive(channel, &mut daemon, &waiting);
    let pauses = match result.and_then(|pauses| get_hold(&mut daemon).map(|()| pauses)) {
        Ok(pauses) => pauses,
        Err(reason) => {
            // At the end of a batch every frame is in a ring, or free: the other process finds them all.
            daemon.stop_metrics();
            waiting.relays.iter().for_each(|relay| _ = relay.shutdown(Shutdown::Both));
            daemon.keeper.abandon(&daemon.node);
            return Err(reason);
        }
    };
    // From here on all that may be refused is done as it is at any other time; one that is not heard any more has gone without being told.
    if let Err(reason) = say(channel, &Message::Done) {
        tracing::warn!("the process before this one cannot be told that it may go: {reason}");
    }
    begin_to_be(&mut daemon, from, &pauses);
    Ok(daemon)
}

impl Inheritance {
    fn hear(channel: &Channel, config: &Config) -> Result<Self, String> {
        let (message, descriptors) = channel.receive(PREPARE_LIMIT, || true).map_err(words)?;
        let Message::Begin(begin) = message else { return Err(words(ChannelError::Unexpected)) };
        let stuck = differences(&begin.facts, &facts(config));
        if !stuck.is_empty() {
            return Err(format!("{} cannot change by an upgrade: restart the daemon instead", stuck.join(", ")));
        }
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or_else(|| words(ChannelError::Unexpected));
        let (listener, metrics, state) = (next()?, next()?, next()?);
        let lock = begin.locked.then(next).transpose()?;
        let state = read_file(state).map_err(|error| error.to_string())?;
        let state = serde_json::from_slice(&state).map_err(|error| format!("the state cannot be read: {error}"))?;
        let flows = config.handover.tracked_flows as usize;
        let queues = (0..begin.workers).map(|_| queue(channel, flows)).collect::<Result<Vec<_>, _>>()?;
        let (queues, mut legacies): (_, Vec<Legacy>) = queues.into_iter().unzip();
        // All of them or none.
        if legacies.iter().any(|legacy| legacy.table.is_none()) {
            legacies.iter_mut().for_each(|legacy| legacy.table = None);
        }
        Ok(Self { begin, listener, metrics, state, lock, queues, legacies })
    }
}

/// A worker's queue, and what else it leaves; `flows`: for how many it is to have room.
fn queue(channel: &Channel, flows: usize) -> Result<((u32, QueueIo), Legacy), String> {
    let (message, mut descriptors) = channel.receive(STEP_LIMIT, || true).map_err(words)?;
    let Message::Queue(queue) = message else { return Err(words(ChannelError::Unexpected)) };
    let mut last = || descriptors.pop().ok_or_else(|| words(ChannelError::Unexpected));
    let relay = last()?.into();
    let table = queue.layout.map(|layout| last().map(|file| (layout, file))).transpose()?;
    let table = table.filter(|(layout, _)| *layout == LAYOUT).map(|(_, file)| TableFile::inherit(file, flows));
    let table = table.transpose().map_err(|error| format!("tracked flows cannot be had: {error}"))?.flatten();
    let io = QueueIo::inherit(&queue, descriptors).map_err(|error| error.to_string())?;
    Ok(((queue.queue, io), Legacy { relay, table }))
}

/// Builds all that the daemon has, without anybody noticing.
fn prepare(inheritance: Inheritance, config: (Config, PathBuf), opener: Opener) -> Result<(Daemon, Waiting), String> {
    let Inheritance { begin, listener, metrics, state, lock, queues, legacies } = inheritance;
    let link = underlay::link(&config.0.interface.name).map_err(|error| error.to_string())?;
    if link.index != begin.interface {
        return Err(format!("{} is another interface than the one that is open", link.name));
    }
    let settings = settings(&config.0, Some(&link));
    let (directory, name) = (&config.0.node.state_dir, crate::daemon::node_name(&config.0));
    let lock = match lock {
        Some(held) => StateLock::inherit(directory, &name, held),
        None => StateLock::take(directory, &name).map_err(|taken| taken.to_string())?,
    };
    let mut server = Server::inherit(listener, &config.0.control).map_err(|error| error.to_string())?;
    // Until this process is the daemon, the socket's path is none of its business.
    server.forsake();
    let mut keeper = Keeper::new(config.0.clone(), opener);
    let opened = opened(&begin, &config.0, &link, queues)?;
    let config_file = config.1.clone();
    let mut node = node(config, &link, settings, &keeper).map_err(|error| error.to_string())?;
    node.set_state_lock(lock);
    let relays = legacies.iter().map(|legacy| legacy.relay.try_clone()).collect::<Result<Vec<_>, _>>();
    let in_place = legacies.iter().all(|legacy| legacy.table.is_some());
    let (sender, news) = mpsc::channel();
    let waiting = Waiting { news, relays: relays.map_err(|error| error.to_string())?, in_place };
    keeper.inherit(link.index, (opened, legacies), &mut node, &sender).map_err(|error| error.to_string())?;
    node.adopt(state)?;
    waiting.until_all_wait()?;
    let daemon = Daemon {
        server,
        node,
        keeper,
        metrics_listener: TcpListener::from(metrics),
        metrics: None,
        config_file,
        binary: super::own_binary().map_err(|error| error.to_string())?,
    };
    Ok((daemon, waiting))
}

/// The interface as another process has opened it.
fn opened(begin: &Begin, config: &Config, link: &Link, queues: Vec<(u32, QueueIo)>) -> Result<Opened, String> {
    let (name, interface) = (&link.name, &config.interface);
    let shape = begin.shape.map(|(queues, chunk)| Shape { queues, chunk });
    match begin.driver.as_str() {
        "af_xdp" => {
            let steering =
                Steering::inherit(name, interface.xdp_mode, &interface.pin).map_err(|error| error.to_string())?;
            let mode = Some(steering.mode());
            Ok(Opened { driver: "af_xdp", mode, gate: Gate::Xdp(steering), queues, shape })
        }
        "af_packet" => {
            let guard = Guard::inherit(name, &interface.pin).map_err(|error| error.to_string())?;
            Ok(Opened { driver: "af_packet", mode: None, gate: Gate::Tc(guard), queues, shape })
        }
        other => Err(format!("the running daemon has the driver {other:?}, which this version does not know")),
    }
}

/// Takes the workers, one by one, then the clients and the counters. Answers each worker's pause, in nanoseconds.
fn receive(channel: &Channel, daemon: &mut Daemon, waiting: &Waiting) -> Result<Vec<u64>, String> {
    let (mut clients, mut pauses) = (Vec::new(), Vec::new());
    loop {
        let (message, mut descriptors) = channel.receive(PREPARE_LIMIT, || true).map_err(words)?;
        let mut next = || descriptors.pop().ok_or_else(|| words(ChannelError::Unexpected));
        match message {
            Message::Worker { number } => {
                fault::at(&format!("before-worker-{number}"))?;
                let pause = waiting.pause_of(number)?;
                fault::at(&format!("worker-{number}"))?;
                say(channel, &Message::Taken { pause })?;
                pauses.push(pause);
            }
            Message::Client(state) => {
                let bytes = read_file(next()?).map_err(|error| error.to_string())?;
                clients.push((next()?, state, bytes));
            }
            Message::Finish { .. } => {
                fault::at("finish")?;
                let counted = read_file(next()?).map_err(|error| error.to_string())?;
                let counted: Counted = serde_json::from_slice(&counted).map_err(|error| error.to_string())?;
                daemon.node.count_on(&counted);
                for (stream, state, bytes) in clients {
                    daemon.server.adopt(stream, state, &bytes, &mut daemon.node);
                }
                return Ok(pauses);
            }
            _ => return Err(words(ChannelError::Unexpected)),
        }
    }
}

impl Waiting {
    /// Waits until every worker has done all that it can do before its turn.
    fn until_all_wait(&self) -> Result<(), String> {
        for _ in &self.relays {
            match self.news.recv_timeout(PREPARE_LIMIT) {
                Ok(News::Waits) => {}
                _ => return Err("a worker cannot get ready".to_owned()),
            }
        }
        Ok(())
    }

    /// Waits until a worker goes on, and answers for how many nanoseconds nobody worked.
    fn pause_of(&self, number: usize) -> Result<u64, String> {
        match self.news.recv_timeout(STEP_LIMIT) {
            Ok(News::Begun(begun, Ok(pause))) if begun == number => Ok(pause),
            Ok(News::Begun(begun, Err(error))) => Err(format!("worker {begun} cannot go on: {error}")),
            _ => Err(format!("worker {number} does not go on")),
        }
    }
}

/// Takes hold of all that goes with the workers, as long as the other process could still take everything back.
fn get_hold(daemon: &mut Daemon) -> Result<(), String> {
    if let Err(error) = daemon.keeper.renew_gate() {
        daemon.node.fail(format!("the program of the version before goes on at the interface: {error}"));
    }
    daemon.node.look_after();
    daemon.start_metrics();
    privileges::give_up_surplus().map_err(|error| format!("capabilities cannot be given up: {error}"))?;
    fault::at("done")
}

/// From now on this process is the daemon, whatever becomes of the other.
fn begin_to_be(daemon: &mut Daemon, from: String, pauses: &[u64]) {
    daemon.server.reclaim();
    note_holder(&daemon.node);
    daemon.node.follow_config();
    let pauses: Vec<f64> = pauses.iter().map(|pause| *pause as f64 / 1e9).collect();
    let (workers, longest_pause) = (pauses.len(), pauses.iter().copied().fold(0.0, f64::max));
    let answer = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "from": from,
        "process": std::process::id(),
        "workers": workers,
        "longest_pause": longest_pause,
        "pauses": pauses,
    });
    daemon.server.answer_upgrade(&Ok(answer));
    tracing::info!(from, workers, longest_pause, "this process forwards now");
    daemon.node.tell_upgraded(from, workers, longest_pause);
}

/// Has whoever else wants `state_dir` find this process there, by a thread of its own: a disk that hangs is to hold up nobody.
fn note_holder(node: &Node) {
    let Some(lock) = node.state_lock().cloned() else { return };
    let noted = std::thread::Builder::new().name("note".to_owned()).spawn(move || lock.note());
    if let Err(error) = noted {
        tracing::warn!("who has node.state_dir is not written there: {error}");
    }
}

fn words(error: ChannelError) -> String {
    error.to_string()
}

fn say(channel: &Channel, message: &Message) -> Result<(), String> {
    channel.send(message, &[]).map_err(words)
}
