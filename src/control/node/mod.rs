//! What this node is and does, and the answers to what it is asked. Sockets and threads are elsewhere.

mod announce;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::document::{Problem, Problems};
use crate::endpoint_set;
use crate::model::EndpointSet;
use crate::moment::Moment;
use crate::publish::Publisher;
use crate::snapshot::NextHop;
use crate::stats::{Board, Counters};
use crate::underlay::announce::VipRoutes;
use crate::underlay::path_mtu::{self, IcmpSocket};
use crate::underlay::{self, Changes, Underlay, UnderlayError};

use announce::Announcement;

use super::lookup::{Query, explain};
use super::protocol::{Fault, Method, PROTOCOL};
use super::reach::{self, Surroundings};
use super::set::{Refusal, check_emptied, check_vips, join};
use super::slot_memories::wall_clock;
use super::store::Store;
use super::update::Builder;

/// How long workers may take to forward by a new snapshot. They look once a batch; a second is for ever.
const ADOPTION_LIMIT: Duration = Duration::from_secs(5);
/// How long workers may take to say whether they track a flow: long enough for one that has to be woken, too short to be
/// missed by others.
const QUESTION_LIMIT: Duration = Duration::from_millis(100);
/// Warnings of one answer; a set with more is broken as a whole.
const MOST_WARNINGS: usize = 20;

/// Messages of routers that are read at once, so that a flood of them keeps nobody from being heard.
const MOST_MESSAGES: usize = 1_024;

/// The largest IP packet, in bytes; a loopback's MTU is larger.
pub const LARGEST_PACKET: u32 = 65_535;

/// Decides which frames come to the workers. It opens last.
pub trait Gate {
    /// Lets in what is for these VIPs, and nothing else.
    fn set_vips(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), String>;
}

/// Where packets to endpoints go.
pub enum Ways {
    /// All to one neighbour.
    Fixed(NextHop),
    /// As the kernel's routes and neighbours say.
    Kernel(Box<Underlay>),
}

/// What does not change while the node runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The node's name.
    pub name: String,
    /// `af_xdp` or `af_packet`.
    pub driver: &'static str,
    /// `native` or `generic`; none with AF_PACKET.
    pub mode: Option<String>,
}

/// One worker, as the control side sees it.
pub struct WorkerFacts {
    /// The queue it serves.
    pub queue: u32,
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Whether it shares packet memory with the device.
    pub zero_copy: bool,
    /// Where it shows its totals.
    pub board: Arc<Board>,
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
    announcement: Announcement,
    store: Store,
    /// What the syncer pushed.
    set: EndpointSet,
    underlay_mtu: u32,
    /// Why the set is not on disk, or was not taken from there.
    store_problem: Option<String>,
    started: Instant,
}

/// What a node is made of.
pub struct Parts {
    /// Its config.
    pub config: Config,
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
    /// The underlay's MTU, in bytes.
    pub underlay_mtu: u32,
}

impl Node {
    /// A node with an empty set; [`restore`](Self::restore) comes next.
    pub fn new(parts: Parts) -> Self {
        let Parts { config, facts, workers, builder, publisher, ways, routers, gate, routes, underlay_mtu } = parts;
        let store = Store::new(&config.node.state_dir);
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
            announcement: Announcement::new(routes),
            store,
            set: EndpointSet::default(),
            underlay_mtu,
            store_problem: None,
            started: Instant::now(),
        }
    }

    /// Its counters, which anybody may read at any time.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The config it runs by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes the config's services and the set on disk into force, before any syncer comes. A stored set that cannot
    /// be used is said and left; what the config has is served all the same.
    pub fn restore(&mut self) -> Result<(), Fault> {
        let stored = match self.store.load() {
            Ok(stored) => stored.unwrap_or_default(),
            Err(error) => {
                self.note_store_problem(error.to_string());
                EndpointSet::default()
            }
        };
        match self.store.load_memories() {
            Ok(memories) => self.builder.restore_slot_memories(memories),
            Err(error) => self.note_store_problem(error.to_string()),
        }
        // What the config itself has wrong is no reason to refuse what a syncer has pushed: it is said, and nothing starts.
        let own = self.check(&EndpointSet::default())?;
        let (set, joined) = match self.check(&stored) {
            Ok(joined) => (stored, joined),
            Err(refusal) => {
                self.note_store_problem(format!("the set on disk is not used: {}", Problems::from(refusal)));
                (EndpointSet::default(), own)
            }
        };
        self.put_in_force(set, &joined)?;
        Ok(())
    }

    /// What would be in force by this set, which was in force before: a node that has got the address of an endpoint since
    /// must not lose all the others.
    fn check(&self, set: &EndpointSet) -> Result<EndpointSet, Refusal> {
        check_vips(&self.config, set)?;
        let joined = join(&self.config, set)?;
        let surroundings = Surroundings { addresses: BTreeSet::new(), ..self.surroundings() };
        reach::check(&self.config, set, &joined, &surroundings)?;
        Ok(joined)
    }

    fn note_store_problem(&mut self, problem: String) {
        tracing::error!("{problem}");
        self.store_problem = Some(problem);
    }

    /// Answers one question.
    pub fn answer(&mut self, method: Method, params: &Value) -> Result<Value, Fault> {
        match method {
            Method::Hello => Ok(self.hello()),
            Method::Apply => self.apply(params),
            Method::Get => serde_json::to_value(&self.set).map_err(|error| Fault::internal(error.to_string())),
            Method::Status => Ok(self.status()),
            Method::Lookup => {
                let query = Query::read(params).map_err(Fault::invalid_params)?;
                let publisher = &mut self.publisher;
                let find_tracked = |hash| publisher.find_tracked(hash, QUESTION_LIMIT);
                Ok(json!(explain(&query, &self.builder.snapshot(), find_tracked)))
            }
            Method::Stats => Ok(json!(self.counters.report())),
            Method::Drain => self.drain(),
            Method::Resume => self.resume(),
        }
    }

    fn hello(&self) -> Value {
        json!({
            "server": "pointsman",
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": PROTOCOL,
            "node": self.facts.name,
            "revision": self.set.revision,
            "generation": self.builder.generation(),
        })
    }

    /// The whole set, atomically: refused whole, or in force at every worker and on disk before the answer.
    fn apply(&mut self, params: &Value) -> Result<Value, Fault> {
        let mut tree = params.as_object().cloned().unwrap_or_default();
        let allow_empty = take_allow_empty(&mut tree)?;
        let set = endpoint_set::read(&Value::Object(tree)).map_err(Fault::invalid_set)?;
        check_vips(&self.config, &set)?;
        if !allow_empty {
            check_emptied(&self.set, &set)?;
        }
        let joined = join(&self.config, &set)?;
        reach::check(&self.config, &set, &joined, &self.surroundings())?;
        let (services, endpoints) = (set.services.len(), set.endpoint_count());
        let changed = self.put_in_force(set, &joined)?;
        let mut warnings = self.warnings();
        warnings.extend(self.announcement.problem().map(str::to_owned));
        // First what the set needs: with a newer set than its memories, flows would move that need not.
        let saved = self.store.save_memories(self.builder.slot_memories()).and_then(|()| self.store.save(&self.set));
        self.store_problem = saved.err().map(|error| error.to_string());
        if let Some(problem) = &self.store_problem {
            tracing::error!("the set is in force but not on disk: {problem}");
            warnings.push(format!("the set is in force but not on disk: {problem}"));
        }
        let generation = self.builder.generation();
        tracing::info!(
            revision = self.set.revision.0,
            generation = generation.0,
            services,
            endpoints,
            changed,
            "applied"
        );
        Ok(json!({
            "revision": self.set.revision,
            "generation": generation,
            "services": services,
            "endpoints": endpoints,
            "changed": changed,
            "warnings": warnings,
        }))
    }

    fn surroundings(&self) -> Surroundings {
        let (sources, underlay_mtu) = (self.builder.sources(), self.underlay_mtu);
        Surroundings { sources, addresses: underlay::own_addresses(), underlay_mtu }
    }

    /// Builds, publishes, waits for every worker, then opens the gate and announces. Answers how many services have changed.
    fn put_in_force(&mut self, mut set: EndpointSet, joined: &EndpointSet) -> Result<usize, Fault> {
        set.services.sort_by(|a, b| a.name.cmp(&b.name));
        let changed = self.builder.update(joined, (self.publisher.edition(), self.publisher.forgotten()), wall_clock());
        self.set = set;
        if let Ways::Kernel(underlay) = &mut self.ways
            && let Err(error) = underlay.set_targets(self.builder.addresses().collect())
        {
            tracing::error!("next hops are not followed: {error}");
        }
        self.resolve();
        self.publish();
        if !self.publisher.wait_adopted(ADOPTION_LIMIT) {
            return Err(Fault::internal(format!("a worker did not take the set within {ADOPTION_LIMIT:?}")));
        }
        self.publisher.sweep();
        let vips = joined.services.iter().map(|service| service.vip).collect();
        self.gate.set_vips(&vips).map_err(|reason| Fault::internal(format!("VIPs are not let in: {reason}")))?;
        self.announcement.follow(joined);
        Ok(changed)
    }

    fn resolve(&mut self) -> bool {
        let own = self.config.interface.mac;
        match &self.ways {
            Ways::Fixed(next_hop) => self.builder.resolve(|_| Some(*next_hop)),
            Ways::Kernel(underlay) => self.builder.resolve(|address| {
                let hop = underlay.next_hop(address).ok()?;
                Some(NextHop { source: own.unwrap_or(hop.source), ..hop })
            }),
        }
    }

    fn publish(&mut self) {
        let publications = self.builder.publish();
        self.counters.show(self.builder.scene());
        self.publisher.post(publications);
    }

    /// The kernel's descriptor that is readable when routes or neighbours have changed.
    pub fn underlay(&self) -> Option<&Underlay> {
        match &self.ways {
            Ways::Fixed(_) => None,
            Ways::Kernel(underlay) => Some(underlay),
        }
    }

    /// Routes or neighbours have changed.
    pub fn on_underlay_readable(&mut self) {
        self.follow(|underlay| underlay.on_readable());
    }

    /// Where routers on the way to endpoints are heard, if anywhere.
    pub fn routers(&self) -> Option<&IcmpSocket> {
        self.routers.as_ref()
    }

    /// Routers have said something of outer packets that were too big for them.
    pub fn on_routers_readable(&mut self) {
        let (now, sources) = (self.now(), self.builder.sources());
        let Some(routers) = &mut self.routers else { return };
        let mut lowered = false;
        for _ in 0..MOST_MESSAGES {
            match routers.next_message() {
                Ok(Some((family, message))) => {
                    let Some(said) = path_mtu::read(message, family, &sources) else { continue };
                    if self.builder.lower_mtu(said, now) {
                        tracing::info!(endpoint = %said.endpoint, mtu = said.mtu, "a router has lowered the MTU");
                        lowered = true;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!("routers cannot be heard: {error}");
                    break;
                }
            }
        }
        if lowered && self.resolve() {
            self.publish();
        }
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Called about once a second: keeps next hops fresh, frees what nobody reads any more.
    pub fn tick(&mut self) {
        self.counters.collect();
        self.follow(|underlay| underlay.tick());
        self.announcement.tick();
        self.on_routers_readable();
        let ways_changed = self.builder.forget_old_mtus(self.now()) && self.resolve();
        let settled = self.publisher.adopted() == self.publisher.edition();
        if self.builder.forget_old_memories(wall_clock(), settled) || ways_changed {
            self.publish();
        }
        self.publisher.sweep();
    }

    fn follow(&mut self, look: impl Fn(&mut Underlay) -> Result<Changes, UnderlayError>) {
        let Ways::Kernel(underlay) = &mut self.ways else { return };
        let changes = match look(underlay) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::error!("next hops are not followed: {error}");
                return;
            }
        };
        let mtu = self.config.underlay.mtu.unwrap_or(underlay.link().mtu).min(LARGEST_PACKET);
        let mtu_changed = mtu != self.underlay_mtu;
        if mtu_changed {
            self.underlay_mtu = mtu;
            self.builder.set_underlay_mtu(mtu);
        }
        // The settings have the MTU too, so it is news even where no way to an endpoint has it.
        let ways_changed = (changes.next_hops || mtu_changed) && self.resolve();
        if ways_changed || mtu_changed {
            self.publish();
        }
    }

    /// Asks every worker to end.
    pub fn stop(&self) {
        self.publisher.stop();
    }

    fn warnings(&self) -> Vec<String> {
        let entries = self.builder.services().iter();
        let unsendable = entries.flat_map(|entry| {
            let endpoints = entry.service.endpoints.iter().zip(entry.endpoints.iter());
            endpoints.filter(|(_, ready)| ready.outer.is_none()).map(|(endpoint, _)| {
                let (service, name) = (&entry.service.name, &endpoint.name);
                format!(
                    "{service}: {name} ({}) cannot be sent to: the node has no outer source address of its family",
                    endpoint.address
                )
            })
        });
        unsendable.take(MOST_WARNINGS).collect()
    }
}

fn take_allow_empty(params: &mut Map<String, Value>) -> Result<bool, Fault> {
    match params.remove("allow_empty") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(allowed)) => Ok(allowed),
        Some(other) => Err(Fault::invalid_params(Problems(vec![Problem {
            path: "allow_empty".to_owned(),
            line: None,
            reason: format!("{other} is not true or false"),
        }]))),
    }
}
