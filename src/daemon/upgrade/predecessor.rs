//! The side of the process that runs. It forwards until the other is ready, then passes worker after worker on; what it has
//! passed on it keeps in reach, and takes back where the other fails.
#![allow(unsafe_code, reason = "only here is it known that the other process has ended")]

use std::convert::Infallible;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::channel::{Channel, ChannelError, file_of};
use super::queue::Share;
use super::{DONE_LIMIT, PREPARE_LIMIT, TAKE_LIMIT};
use crate::config;
use crate::control::server::Server;
use crate::control::state_lock::StateLock;
use crate::daemon::workers::Left;
use crate::daemon::{Daemon, notify, privileges};
use crate::stats::StoredTiming;
use crate::upgrade::{Begin, FORMAT, Message, VARIABLE, facts};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use sd_notify::NotifyState;

/// How long one that has gone is listened to.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A worker that has been passed on.
struct Passed {
    number: usize,
    left: Left,
}

/// The other process.
struct Successor {
    child: Child,
    channel: Channel,
    /// It goes on with tracked flows where they lie.
    in_place: bool,
}

/// Starts a program, and hands everything over to it; then that process is the daemon, and this one ends here. After an error
/// this one is, as before.
pub fn hand_over(daemon: &mut Daemon, binary: &Path) -> Result<Infallible, String> {
    if let Err(problems) = config::load(&daemon.config_file) {
        return Err(format!("{}: {problems}", daemon.config_file.display()).replace('\n', "; "));
    }
    let mut successor = Successor::start(binary, daemon)?;
    tracing::info!(binary = %binary.display(), process = successor.child.id(), "an upgrade begins");
    if let Err(reason) = successor.prepare(daemon) {
        daemon.keeper.workers().close_relays();
        return Err(successor.end(reason));
    }
    // Counters that stand still are not to be told any more; whoever asks waits until the other process answers.
    daemon.stop_metrics();
    let mut passed = Vec::new();
    if let Err(reason) = successor.pass_on(daemon, &mut passed) {
        let reason = successor.end(reason);
        daemon.keeper.workers().close_relays();
        // SAFETY: it has ended, with all that it had started.
        unsafe { take_back(daemon, passed) };
        return Err(reason);
    }
    notify(&[NotifyState::MainPid(successor.child.id())]);
    daemon.server.forsake();
    tracing::info!("another process forwards now");
    // The last thing of all: what is asked of this process from here on, nobody hears. So it takes nothing apart either, which
    // would take its time, and nothing of it is its own any more.
    successor.pass_signals(daemon.server.pending_signals());
    std::process::exit(0)
}

/// Has the workers go on here that have been passed on.
///
/// # Safety
/// The process that they were passed on to is gone, with all that has had its descriptors.
unsafe fn take_back(daemon: &mut Daemon, passed: Vec<Passed>) {
    let count = passed.len();
    for Passed { number, mut left } in passed {
        // SAFETY: who uses neither of them any more has ended, by the caller's word.
        let whole = unsafe {
            left.kit.take_back_tracked();
            left.queue.recover()
        };
        if let Err(error) = daemon.keeper.put_back(number, left, whole) {
            daemon.node.fail(error.to_string());
        }
    }
    if count > 0 {
        tracing::warn!("{count} workers have been taken back");
    }
    daemon.node.look_after_again();
    daemon.start_metrics();
}

impl Successor {
    fn start(binary: &Path, daemon: &Daemon) -> Result<Self, String> {
        let (channel, theirs) = Channel::pair().map_err(|error| format!("no socket can be made: {error}"))?;
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(&daemon.config_file);
        command.env(VARIABLE, std::process::id().to_string()).stdin(Stdio::from(theirs));
        // Of its own, so that it can be ended with all that it has started itself.
        command.process_group(0);
        let child =
            daemon.keeper.cores().handed_on(|| privileges::handed_on(|| command.spawn())).and_then(|child| child);
        let child = child.map_err(|error| format!("{} cannot be started: {error}", binary.display()))?;
        Ok(Self { child, channel, in_place: false })
    }

    /// Tells it all that it can know beforehand, and waits until it is ready.
    fn prepare(&mut self, daemon: &mut Daemon) -> Result<(), String> {
        let whole = daemon.keeper.whole();
        let (interface, shape) = whole.ok_or("the interface is not open with all its queues; try again later")?;
        let state = serde_json::to_vec(&daemon.node.state()?).map_err(|error| error.to_string())?;
        let state = file_of(&state).map_err(|error| error.to_string())?;
        let lock = daemon.node.state_lock().and_then(StateLock::descriptor);
        let begin = Message::Begin(Begin {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            facts: facts(daemon.node.config()),
            interface,
            driver: daemon.node.facts().driver.to_owned(),
            shape: shape.map(|shape| (shape.queues, shape.chunk)),
            workers: daemon.keeper.workers().count(),
            locked: lock.is_some(),
        });
        let beside = [daemon.server.listener(), daemon.metrics_listener.as_fd(), state.as_fd()];
        self.send(&begin, &beside.into_iter().chain(lock).collect::<Vec<_>>())?;
        for (Share { queue, descriptors, relay }, table) in daemon.keeper.workers().shares() {
            let relay = relay.open().map_err(|error| error.to_string())?;
            let last = [table.as_fd(), relay.as_fd()];
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).chain(last).collect();
            self.send(&Message::Queue(queue.clone()), &descriptors)?;
        }
        match self.hear_unless_ended(&mut daemon.server)? {
            Message::Prepared { version, in_place } => {
                tracing::info!(version, in_place, "the new process is ready to take over");
                if in_place {
                    daemon.keeper.workers().leave_tracked_in_place();
                }
                self.in_place = in_place;
                Ok(())
            }
            other => Err(refused(other)),
        }
    }

    /// Passes everything on, worker by worker.
    fn pass_on(&mut self, daemon: &mut Daemon, passed: &mut Vec<Passed>) -> Result<(), String> {
        let mut longest_pause = 0;
        for number in 0..daemon.keeper.workers().count() {
            longest_pause = longest_pause.max(self.pass_worker(number, daemon, passed)?);
        }
        for (stream, state, bytes) in daemon.server.clients() {
            let file = file_of(&bytes).map_err(|error| error.to_string())?;
            self.send(&Message::Client(state), &[stream, file.as_fd()])?;
        }
        let timing =
            |passed: &Passed| -> StoredTiming { daemon.node.timing(passed.number, passed.left.kit.recorder()) };
        let counted = daemon.node.counted(passed.iter().map(timing).collect(), self.in_place);
        let counted = serde_json::to_vec(&counted).map_err(|error| error.to_string())?;
        let counted = file_of(&counted).map_err(|error| error.to_string())?;
        self.send(&Message::Finish { longest_pause }, &[counted.as_fd()])?;
        match self.hear(DONE_LIMIT)? {
            Message::Done => Ok(()),
            other => Err(refused(other)),
        }
    }

    /// Passes one worker on, and answers for how many nanoseconds it stood still.
    fn pass_worker(&self, number: usize, daemon: &mut Daemon, passed: &mut Vec<Passed>) -> Result<u64, String> {
        self.send(&Message::Worker { number }, &[])?;
        daemon.node.stop_worker(number);
        let mut left = daemon.keeper.workers().take(number).map_err(|error| error.to_string())?;
        let told = left.told.take();
        passed.push(Passed { number, left });
        match told {
            Some(Ok(())) => {}
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                return Err(format!("the other process did not listen to worker {number} for {TAKE_LIMIT:?}"));
            }
            // What the other process says of it is worth more.
            Some(Err(error)) => match self.hear(LAST_WORDS)? {
                Message::Failed { reason } => return Err(reason),
                _ => return Err(format!("worker {number} cannot tell what it had: {error}")),
            },
            None => return Err(format!("nobody waits for worker {number}")),
        }
        match self.hear(TAKE_LIMIT)? {
            Message::Taken { pause } => Ok(pause),
            other => Err(refused(other)),
        }
    }

    fn send(&self, message: &Message, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), String> {
        match self.channel.send(message, descriptors) {
            // What it has said before it went is worth more.
            Err(ChannelError::Gone) => match self.hear(LAST_WORDS)? {
                Message::Failed { reason } => Err(reason),
                _ => Err(ChannelError::Gone.to_string()),
            },
            other => other.map_err(|error| error.to_string()),
        }
    }

    fn hear(&self, limit: Duration) -> Result<Message, String> {
        self.hear_while(limit, || true)
    }

    /// Waits until it is ready, for as long as nobody asks this process to end.
    fn hear_unless_ended(&self, server: &mut Server) -> Result<Message, String> {
        self.hear_while(PREPARE_LIMIT, || !server.is_end_asked())
    }

    fn hear_while(&self, limit: Duration, mut meanwhile: impl FnMut() -> bool) -> Result<Message, String> {
        let heard = self.channel.receive(limit, || {
            notify(&[NotifyState::Watchdog]);
            meanwhile()
        });
        heard.map(|(message, _)| message).map_err(|error| error.to_string())
    }

    /// Ends it and all that it has started, whatever they do, so that nobody else touches what this process goes on with.
    /// Answers the reason, with how it ended where it did so by itself.
    fn end(&mut self, reason: String) -> String {
        // One whose end of the socket is closed is about to end.
        let limit = if reason == ChannelError::Gone.to_string() { Duration::from_secs(1) } else { Duration::ZERO };
        let end = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
        let by_itself = self.has_ended();
        _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        match self.child.wait() {
            Ok(status) if by_itself && !status.success() => format!("{reason} ({status})"),
            _ => reason,
        }
    }

    /// Whether it has ended by itself. Its number stays its own, and its group's, until it is waited for.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&self.child)), options).is_ok_and(|status| status.is_some())
    }

    /// Passes on what this process was asked meanwhile.
    fn pass_signals(&self, signals: Vec<i32>) {
        for signal in signals.into_iter().filter_map(Signal::from_named_raw) {
            _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }
}

fn refused(message: Message) -> String {
    match message {
        Message::Failed { reason } => reason,
        _ => ChannelError::Unexpected.to_string(),
    }
}
