//! What this node is and does, and the answers to what it is asked. Sockets and threads are elsewhere.

mod announce;
mod apply;
mod capture;
mod endpoints;
mod follow;
mod inherit;
mod interface;
mod keep;
mod reload;
mod seed;
mod status;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::config::Config;
use crate::document::{Collector, Node as DocumentNode, Tree};
use crate::model::EndpointSet;
use crate::publish::Publisher;
use crate::snapshot::NextHop;
use crate::stats::{Board, Counters};
use crate::underlay::Underlay;
use crate::underlay::announce::VipRoutes;
use crate::underlay::path_mtu::IcmpSocket;

use announce::Announcement;
use capture::Capture;
use seed::SeedProblem;

pub use inherit::{Counted, NodeState};

use super::clock::Clock;
use super::disk::{Disk, Ticket};
use super::event::Events;
use super::leaving::Leaving;
use super::lookup::{Query, explain};
use super::protocol::{Fault, Method, PROTOCOL};
use super::update::Builder;

/// How long workers may take to say whether they track a flow: long enough for one that has to be woken, too short to be
/// missed by others.
const QUESTION_LIMIT: Duration = Duration::from_millis(100);

/// Decides which frames come to the workers. It opens last.
pub trait Gate {
    /// Lets in what is for these VIPs, and nothing else.
    fn set_vips(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), String>;
}

/// Where packets to endpoints go.
pub enum Ways {
    /// All to one neighbour; frames come from the interface's own address where it is followed, and has no other by config.
    Fixed(NextHop, Option<Box<Underlay>>),
    /// As the kernel's routes and neighbours say.
    Kernel(Box<Underlay>),
}

/// What changes only where the interface is opened anew.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The node's name.
    pub name: String,
    /// `af_xdp` or `af_packet`.
    pub driver: &'static str,
    /// `native` or `generic`; none with AF_PACKET.
    pub mode: Option<String>,
}

/// One worker, as the control side sees it.
#[derive(Clone, Debug)]
pub struct WorkerFacts {
    /// The queue it serves; none where the interface has fewer than it had.
    pub queue: Option<u32>,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Whether it shares packet memory with the device.
    pub zero_copy: bool,
    /// Where it shows its totals.
    pub board: Arc<Board>,
}

/// What a question is answered.
#[derive(Debug)]
pub struct Reply {
    answer: Value,
    /// What has to be on disk before it is given; none: nothing.
    until: Option<Ticket>,
}

impl Reply {
    /// One that waits for nothing.
    fn at_once(answer: Value) -> Self {
        Self { answer, until: None }
    }
}

/// A node and everything it has.
pub struct Node {
    config: Config,
    facts: Facts,
    workers: Vec<WorkerFacts>,
    counters: Arc<Counters>,
    builder: Builder,
    publisher: Publisher,
    ways: Ways,
    routers: Option<IcmpSocket>,
    gate: Box<dyn Gate>,
    /// Whether the gate lets in the VIPs in force, as far as this node knows.
    gate_holds: bool,
    announcement: Announcement,
    disk: Disk,
    /// What the syncer pushed, in the order of names.
    set: EndpointSet,
    /// That, and the config's services, in the order of names.
    in_force: EndpointSet,
    leaving: Leaving,
    capture: Option<Capture>,
    /// What subscribers are to be told.
    pub(super) events: Events,
    config_file: Option<PathBuf>,
    /// Why the config is not what its file says.
    reload_problem: Option<String>,
    /// When the interface is to be looked after, if not before.
    look_by: Option<Instant>,
    /// Why nothing is forwarded, or not all.
    interface_problem: Option<String>,
    /// Why the set is not on disk, or was not taken from there.
    store_problem: Option<String>,
    /// What a change of the seed has broken.
    seed_problem: Option<SeedProblem>,
    /// Whether the seed's fingerprint is on disk.
    seed_is_kept: bool,
    started: Instant,
    /// What deadlines are counted by.
    clock: Clock,
    /// How many seconds the wall clock was ahead of that when memories were last written down.
    written_ahead: i64,
}

/// What a node is made of.
pub struct Parts {
    /// Its config.
    pub config: Config,
    /// Where that can be read again; none: nowhere.
    pub config_file: Option<PathBuf>,
    /// What does not change.
    pub facts: Facts,
    /// Its workers.
    pub workers: Vec<WorkerFacts>,
    /// Builds snapshots for as many workers.
    pub builder: Builder,
    /// Reaches as many workers.
    pub publisher: Publisher,
    /// Where packets go.
    pub ways: Ways,
    /// Where routers on the way to endpoints are heard; none: nowhere.
    pub routers: Option<IcmpSocket>,
    /// What lets packets in.
    pub gate: Box<dyn Gate>,
    /// What announces the VIPs; none: nothing does.
    pub routes: Option<VipRoutes>,
}

impl Node {
    /// A node with an empty set; [`restore`](Self::restore) comes next.
    pub fn new(parts: Parts) -> Self {
        let Parts { config, config_file, facts, workers, builder, publisher, ways, routers, gate, routes } = parts;
        let disk = Disk::new(&config.node.state_dir);
        let boards = workers.iter().map(|worker| (worker.queue, worker.board.clone())).collect();
        Self {
            config,
            facts,
            workers,
            counters: Arc::new(Counters::new(boards)),
            builder,
            publisher,
            ways,
            routers,
            gate,
            gate_holds: false,
            announcement: Announcement::new(routes),
            disk,
            set: EndpointSet::default(),
            in_force: EndpointSet::default(),
            leaving: Leaving::default(),
            capture: None,
            events: Events::default(),
            config_file,
            reload_problem: None,
            look_by: None,
            interface_problem: None,
            store_problem: None,
            seed_problem: None,
            seed_is_kept: false,
            started: Instant::now(),
            clock: Clock::start(),
            written_ahead: 0,
        }
    }

    /// What changes only where the interface is opened anew.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its counters, which anybody may read at any time.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The config it runs by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Answers one question, however long the disk takes.
    pub fn answer<'a>(&mut self, method: Method, params: impl Into<Tree<'a>>) -> Result<Value, Fault> {
        let mut reply = self.ask(method, params)?;
        loop {
            match self.complete(reply) {
                Ok(answer) => return Ok(answer),
                Err(waiting) => reply = waiting,
            }
            self.wait_for_disk(QUESTION_LIMIT);
        }
    }

    /// Does what is asked. The answer may have to wait until it is [complete](Self::complete).
    pub fn ask<'a>(&mut self, method: Method, params: impl Into<Tree<'a>>) -> Result<Reply, Fault> {
        let params = params.into();
        match method {
            Method::Apply => self.apply(params),
            Method::Patch => self.patch(params),
            _ => self.look_up(method, params).map(Reply::at_once),
        }
    }

    /// Answers what has nothing to do with the disk.
    fn look_up(&mut self, method: Method, params: Tree<'_>) -> Result<Value, Fault> {
        match method {
            Method::Hello => self.hello(&params),
            Method::Apply | Method::Patch => Err(Fault::internal("a set is asked for where none is taken")),
            Method::Get => serde_json::to_value(&self.set).map_err(|error| Fault::internal(error.to_string())),
            Method::Status => self.status(&params),
            Method::Lookup => {
                let query = Query::read(&params).map_err(Fault::invalid_params)?;
                let publisher = &mut self.publisher;
                let find_tracked = |hash| publisher.find_tracked(hash, QUESTION_LIMIT);
                Ok(json!(explain(&query, &self.builder.snapshot(), find_tracked)))
            }
            Method::Endpoints => self.endpoints(&params),
            Method::Stats => self.stats(&params),
            Method::Subscribe => Ok(json!({ "revision": self.set.revision, "generation": self.builder.generation() })),
            Method::Capture => self.start_capture(&params),
            // Only who has the sockets can do that; see `server`.
            Method::Upgrade => Err(Fault::cannot_upgrade()),
            Method::Drain => self.drain(),
            Method::Resume => self.resume(),
        }
    }

    fn hello(&self, params: &Tree<'_>) -> Result<Value, Fault> {
        let other = params.get("protocol").map(Tree::to_value).filter(|asked| *asked != json!(PROTOCOL));
        if let Some(other) = other {
            return Err(Fault::invalid_param("protocol", format!("{other} is not spoken here, only {PROTOCOL}")));
        }
        Ok(json!({
            "server": "pointsman",
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": PROTOCOL,
            "node": self.facts.name,
            "revision": self.set.revision,
            "generation": self.builder.generation(),
        }))
    }

    fn stats(&self, params: &Tree<'_>) -> Result<Value, Fault> {
        let report =
            if wants(params, "endpoints")? { self.counters.report() } else { self.counters.report_of_services() };
        Ok(json!(report))
    }

    /// Asks every worker to end.
    pub fn stop(&self) {
        self.publisher.stop();
    }
}

/// Whether a part of an answer is wanted; it is unless this parameter says `false`.
fn wants(params: &Tree<'_>, part: &str) -> Result<bool, Fault> {
    let collector = Collector::default();
    let table = DocumentNode::root(params, &collector).table(&[part]);
    let wanted = table.and_then(|table| table.get(part).map_or(Some(true), |node| node.boolean()));
    collector.finish(wanted).map_err(Fault::invalid_params)
}
