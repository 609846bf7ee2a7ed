//! Keeps the interface open, with a worker at each queue: where it was removed and comes back, or its queues change, it is
//! opened anew, and the same workers go on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::DaemonError;
use super::cores::Cores;
use super::driver::{self, DriverError, Opened, Shape};
use super::privileges;
use super::store;
use super::workers::legacy::{Legacy, News};
use super::workers::{Left, Workers};
use crate::config::Config;
use crate::control::node::{Gate, Node};
use crate::io::monotonic;
use crate::io::xsk::XskError;
use crate::steer::{self, SteerError};
use crate::underlay::Link;

/// A queue that is lost so soon after it was opened, and so often in a row, will not be kept the next time either.
const TOO_SOON: Duration = Duration::from_secs(10);
const TOO_OFTEN: u32 = 3;

/// How long whoever had a queue before, a dead process or this one, may take to let go of it, and how often that is tried.
const LETTING_GO: Duration = Duration::from_secs(3);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Whether somebody has not let go of a queue yet.
fn is_busy(error: &DaemonError) -> bool {
    matches!(error, DaemonError::Driver(DriverError::Xsk(XskError::Busy { .. })))
}

/// Opens an interface, with the gate shut.
pub type Opener = fn(&Config, &Link, Duration) -> Result<Opened, DriverError>;

/// The gate, shared between the node, which sets VIPs, and the keeper, which changes it with the interface.
#[derive(Clone, Default)]
pub struct SharedGate(Rc<RefCell<Option<steer::Gate>>>);

impl Gate for SharedGate {
    fn set_vips(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), String> {
        match self.0.borrow_mut().as_mut() {
            Some(gate) => gate.set_vips(vips).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

/// The interface as it was when it was opened.
struct Scene {
    index: u32,
    /// None: it does not matter.
    shape: Option<Shape>,
    since: Instant,
}

/// How long a start waits for a queue that a process had which has just ended.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps the interface open.
pub struct Keeper {
    config: Config,
    opener: Opener,
    gate: SharedGate,
    workers: Workers,
    cores: Cores,
    /// None while the interface has to be opened.
    scene: Option<Scene>,
    /// How often in a row a queue was lost too soon.
    losses: u32,
    /// Since when a queue is waited for.
    busy: Option<Instant>,
}

impl Keeper {
    /// For the interface of this config, which is not open yet.
    pub fn new(config: Config, opener: Opener) -> Self {
        let (gate, workers) = (SharedGate::default(), Workers::default());
        Self { config, opener, gate, workers, cores: Cores::of_this_thread(), scene: None, losses: 0, busy: None }
    }

    /// The gate.
    pub fn gate(&self) -> SharedGate {
        self.gate.clone()
    }

    /// The workers' cores, and the others.
    pub fn cores(&self) -> &Cores {
        &self.cores
    }

    /// How many workers have a queue.
    pub fn at_work(&self) -> usize {
        self.workers.at_work()
    }

    /// Opens the interface, and has a worker work at each queue. The gate lets in the VIPs in force, before any worker
    /// begins: with the interface new, the kernel would answer for them meanwhile.
    pub fn open(&mut self, link: &Link, node: &mut Node) -> Result<(), DaemonError> {
        self.open_within(PATIENCE, link, node)
    }

    /// The same with so much time for another process to let go of a queue.
    fn open_within(&mut self, patience: Duration, link: &Link, node: &mut Node) -> Result<(), DaemonError> {
        let Opened { driver, mode, mut gate, queues, shape } = (self.opener)(&self.config, link, patience)?;
        let cores = self.cores.choose(&self.config, queues.len())?;
        self.cores.leave_to(&cores);
        let vips = node.vips();
        if !vips.is_empty() {
            gate.set_vips(&vips)?;
        }
        *self.gate.0.borrow_mut() = Some(gate);
        let facts = self.workers.start(queues, cores, &self.config, node)?;
        node.set_interface(driver, mode.map(|mode| mode.to_string()), facts);
        self.scene = Some(Scene { index: link.index, shape, since: Instant::now() });
        Ok(())
    }

    /// Takes an interface from another process, as it was opened there; workers wait for what those of that process had,
    /// each with its legacy. `news` is told when one waits, and when it goes on.
    pub fn inherit(
        &mut self,
        index: u32,
        (opened, legacies): (Opened, Vec<Legacy>),
        node: &mut Node,
        news: &mpsc::Sender<News>,
    ) -> Result<(), DaemonError> {
        let Opened { driver, mode, gate, queues, shape } = opened;
        let cores = self.cores.choose(&self.config, queues.len())?;
        self.cores.leave_to(&cores);
        *self.gate.0.borrow_mut() = Some(gate);
        let queues = queues.into_iter().zip(legacies).map(|((queue, io), legacy)| (queue, io, legacy)).collect();
        let facts = self.workers.await_relays(queues, cores, &self.config, (node, news))?;
        node.set_interface(driver, mode.map(|mode| mode.to_string()), facts);
        self.scene = Some(Scene { index, shape, since: Instant::now() });
        Ok(())
    }

    /// Puts this version's program in the place of another's, on the interface. Where it cannot be, that goes on.
    pub fn renew_gate(&mut self) -> Result<(), SteerError> {
        self.gate.0.borrow_mut().as_mut().map_or(Ok(()), steer::Gate::renew)
    }

    /// The interface's number and shape, where it is open and every worker is at its queue.
    pub fn whole(&self) -> Option<(u32, Option<Shape>)> {
        let scene = self.scene.as_ref().filter(|_| self.workers.are_all_at_work());
        scene.map(|scene| (scene.index, scene.shape))
    }

    /// The workers.
    pub fn workers(&mut self) -> &mut Workers {
        &mut self.workers
    }

    /// Has one worker go on with what it had when it was taken away; where its queue cannot be used any more, the
    /// interface is opened anew the next time that it is looked after.
    pub fn put_back(&mut self, number: usize, mut left: Left) -> Result<(), DaemonError> {
        if !left.queue.recover() {
            tracing::error!("the frames of worker {number} cannot be told apart; its queue is opened anew");
            self.workers.put_to_rest(number, left);
            self.scene = None;
            return Ok(());
        }
        Ok(self.workers.put_back(number, left, &self.config)?)
    }

    /// After a hand-over that has failed: where a worker has lost its queue meanwhile, the interface is opened anew the next
    /// time that it is looked after.
    ///
    /// # Errors
    /// A worker has panicked.
    pub fn check_whole(&mut self) -> Result<(), DaemonError> {
        if !self.workers.are_all_at_work() {
            self.scene = None;
        }
        self.workers.missing().map_or(Ok(()), |number| Err(DaemonError::WorkerPanicked(number)))
    }

    /// Ends the workers of a hand-over that has failed, each at the end of its batch.
    pub fn abandon(&mut self, node: &Node) {
        node.stop();
        if let Err(error) = self.workers.gather_all() {
            tracing::error!("{error}");
        }
    }

    /// Opens the interface anew where that is needed, as soon as it can be. To be called about once a second, and when the
    /// underlay has news.
    ///
    /// # Errors
    /// A worker has panicked, or loses its queue again and again.
    pub fn look_after(&mut self, node: &mut Node) -> Result<(), DaemonError> {
        let lost = self.workers.gather_ended()?;
        self.workers.catch_up(monotonic());
        let Some((is_gone, link)) = node.underlay().map(|underlay| (underlay.is_gone(), underlay.link().clone()))
        else {
            return lost.map_or(Ok(()), Err);
        };
        if is_gone {
            self.scene = None;
            let problem = format!("the interface {} is gone; nothing is forwarded until it is there again", link.name);
            node.set_interface_problem(Some(problem), true);
            return Ok(());
        }
        match self.why_anew(lost, &link)? {
            Why::Not(problem) => node.set_interface_problem(problem, false),
            Why::For(reason) => {
                if let Some(reason) = reason {
                    self.busy = None;
                    tracing::warn!("{} is opened anew: {reason}", link.name);
                }
                self.open_anew(&link, node)?;
            }
        }
        Ok(())
    }

    fn why_anew(&mut self, lost: Option<DaemonError>, link: &Link) -> Result<Why, DaemonError> {
        let Some(scene) = &self.scene else { return Ok(Why::For(None)) };
        if scene.index != link.index {
            return Ok(Why::For(Some("it is another interface of this name".to_owned())));
        }
        if let Some(lost) = lost {
            let soon = scene.since.elapsed() < TOO_SOON;
            self.losses = if soon { self.losses + 1 } else { 1 };
            return if self.losses > TOO_OFTEN { Err(lost) } else { Ok(Why::For(Some(lost.to_string()))) };
        }
        let Some(then) = scene.shape else { return Ok(Why::Not(None)) };
        let now = driver::shape(&self.config, link);
        let Some(change) = then.outgrown_by(now) else { return Ok(Why::Not(None)) };
        // What cannot be is said, and the queues that are open are kept.
        let queues = driver::queue_numbers(&self.config, now.queues).len();
        match (self.cores.choose(&self.config, queues), now.chunk) {
            (Err(error), _) => {
                Ok(Why::Not(Some(format!("{}: {change}, and not all is forwarded: {error}", link.name))))
            }
            (Ok(_), None) => {
                let error = XskError::Mtu { mtu: link.mtu };
                Ok(Why::Not(Some(format!("{}: {change}, and large packets are lost: {error}", link.name))))
            }
            _ => Ok(Why::For(Some(change))),
        }
    }

    fn open_anew(&mut self, link: &Link, node: &mut Node) -> Result<(), DaemonError> {
        self.scene = None;
        node.stop();
        self.workers.gather_all()?;
        // Dropped, it stays attached; on this very interface it is taken over, so that VIP packets are dropped meanwhile.
        *self.gate.0.borrow_mut() = None;
        // A queue that is busy is asked for again the next time: clients and the watchdog are not to wait for it.
        match privileges::raised(|| self.open_within(Duration::ZERO, link, node))? {
            Ok(()) => {
                self.busy = None;
                node.set_interface_problem(None, false);
                tracing::info!(interface = link.name, workers = self.at_work(), "forwarding again");
            }
            // Who is served meanwhile does not wait for that.
            Err(error) if is_busy(&error) && self.busy.get_or_insert_with(Instant::now).elapsed() < LETTING_GO => {
                node.look_soon(BUSY_PAUSE);
            }
            Err(error) => node.set_interface_problem(Some(format!("nothing is forwarded: {error}")), true),
        }
        Ok(())
    }

    /// Waits for the workers, which have been asked to end, and leaves the interface as it was before, or what is on it to the
    /// service manager.
    ///
    /// # Errors
    /// A worker has panicked; then the gate stays, and VIP packets are dropped.
    pub fn finish(mut self) -> Result<(), DaemonError> {
        self.workers.gather_all()?;
        let gate = self.gate.0.borrow_mut().take();
        let interface = &self.config.interface;
        Ok(privileges::raised(|| match gate {
            Some(gate) => store::leave(gate, &interface.name),
            None => steer::cleanup(&interface.pin, &interface.name).map(drop),
        })??)
    }
}

/// Whether the interface is to be opened anew.
enum Why {
    /// No; but what is wrong with it, if anything is.
    Not(Option<String>),
    /// For this reason, unless it is known.
    For(Option<String>),
}
