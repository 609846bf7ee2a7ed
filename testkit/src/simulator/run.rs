//! One scenario from its start to its end.

use super::clients::{ARRIVAL, Clients, Flow, Part};
use super::endpoints::Endpoints;
use super::methods::{Fates, FullTracking, Judge, METHODS};
use super::node::{BATCH, Node};
use super::packets::Client;
use super::random::Random;
use super::scenarios::{History, Scenario};

const SEED: u64 = 20_261_121;
/// Seconds since 1970 at the start: a node reckons `since` by them.
const START: u32 = 1_795_000_000;

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Flows at any time.
    pub at_once: u64,
    /// All flows that there were.
    pub flows: u64,
    /// All packets, those of a flood included.
    pub packets: u64,
    /// By method.
    pub fates: [Fates; METHODS],
    /// By method: flows tracked when the first change came, at most, and at the end.
    pub tracked: [[u64; 3]; METHODS],
    /// Flows that pointsman has room for.
    pub room: u64,
}

/// A scenario while it runs.
struct Run<'a> {
    scenario: &'a Scenario,
    clients: Clients,
    endpoints: Endpoints,
    node: Node,
    /// The one that takes over, if it follows what the first one does.
    other: Option<Node>,
    full: FullTracking,
    judge: Judge,
    forged: Random,
    /// Packets that wait for the batch to be full; none: of the flood.
    waiting: Vec<Option<(u32, Flow, Part)>>,
    outcome: Outcome,
}

/// Room for tracked flows: half as many again as there are flows, for those that have ended and are not yet forgotten.
fn room(flows: usize) -> usize {
    flows + flows / 2
}

/// Runs a scenario with so many flows at a time; `progress` hears of each minute.
pub fn run(scenario: &Scenario, flows: usize, mut progress: impl FnMut(u32)) -> Outcome {
    let mut run = Run::new(scenario, flows);
    for second in 0..scenario.end {
        run.second(second);
        if second.is_multiple_of(60) {
            progress(second);
        }
    }
    run.finish()
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, flows: usize) -> Self {
        let endpoints = Endpoints::new(scenario.endpoints, scenario.table_size);
        let node = || {
            let mut node = Node::new(room(flows));
            node.apply(&endpoints, START - 3_600);
            node
        };
        let has_other = scenario.takeover.is_some_and(|(_, history)| history == History::Same);
        let outcome = Outcome {
            at_once: flows as u64,
            flows: 0,
            packets: 0,
            fates: Default::default(),
            tracked: Default::default(),
            room: (room(flows).div_ceil(4).next_power_of_two() * 4) as u64,
        };
        Self {
            scenario,
            clients: Clients::new(flows, scenario.rare, SEED),
            node: node(),
            other: has_other.then(node),
            endpoints,
            full: FullTracking::default(),
            judge: Judge::new(flows, scenario.first_change()),
            forged: Random::new(!SEED),
            waiting: Vec::with_capacity(BATCH),
            outcome,
        }
    }

    fn second(&mut self, second: u32) {
        let now = START + second;
        if second == self.scenario.first_change() {
            self.note_tracked(0);
        }
        self.change(second, now);
        self.node.tick(now);
        if let Some(other) = &mut self.other {
            other.tick(now);
        }
        let due = self.clients.due(second);
        let tenth = due.len().div_ceil(10).max(1);
        let mut spoken = 0;
        for places in due.chunks(tenth) {
            spoken += self.speak(places, second);
            // Round trips take less than a tenth of a second.
            let again = self.clients.due(second);
            spoken += self.speak(&again, second);
        }
        self.forward(now);
        self.full.flood(spoken * u64::from(self.flood(second)), now);
        self.note_peak();
    }

    /// Forged SYNs for each packet of a client: none while all flows begin at once, which would be a flood of its own.
    fn flood(&self, second: u32) -> u32 {
        if second < ARRIVAL { 0 } else { self.scenario.flood }
    }

    /// Sends the packets of these flows, and the flood between them; answers how many packets the flows had.
    fn speak(&mut self, places: &[u32], second: u32) -> u64 {
        for place in places {
            let (flow, part) = self.clients.speak(*place, second);
            self.send(Client::of(flow.number).frame(part), Some((*place, flow, part)), START + second);
            for _ in 0..self.flood(second) {
                let frame = Client::forged(&mut self.forged).frame(Part::Syn);
                self.send(frame, None, START + second);
            }
        }
        places.len() as u64
    }

    /// What the syncer says in this second, and who hears it.
    fn change(&mut self, second: u32, now: u32) {
        let due: Vec<_> = self.scenario.changes.iter().filter(|(then, _)| *then == second).collect();
        for (_, change) in &due {
            self.endpoints.change(change, now);
        }
        if !due.is_empty() {
            self.node.apply(&self.endpoints, now);
            if let Some(other) = &mut self.other {
                other.apply(&self.endpoints, now);
            }
        }
        if self.scenario.takeover == Some((second, History::Inherited)) {
            self.node.upgrade(&self.endpoints, now);
        } else if self.scenario.takeover.is_some_and(|(then, _)| then == second) {
            let fresh = || {
                let mut node = Node::new(room(self.clients.count()));
                node.apply(&self.endpoints, now);
                node
            };
            self.node = self.other.take().unwrap_or_else(fresh);
            self.full.forget_all();
            self.judge.take_over(second);
        }
    }

    fn send(&mut self, frame: Vec<u8>, of: Option<(u32, Flow, Part)>, now: u32) {
        self.node.push(frame);
        self.waiting.push(of);
        if self.waiting.len() == BATCH {
            self.forward(now);
        }
    }

    /// Forwards what waits, by all methods.
    fn forward(&mut self, now: u32) {
        let mut went = Vec::with_capacity(BATCH);
        self.node.forward(|endpoint| went.push(endpoint));
        assert_eq!(went.len(), self.waiting.len(), "every frame that waits is in the batch");
        self.outcome.packets += went.len() as u64;
        for (packet, went) in self.waiting.drain(..).zip(went) {
            let Some((place, flow, part)) = packet else { continue };
            let (selection, slot) = self.node.maglev(&Client::of(flow.number).key(part));
            let full = self.full.choose(selection.hash.0, slot, part, &self.endpoints, now);
            self.judge.saw(now - START, (place, &flow), [went, slot, full], &self.endpoints);
        }
    }

    fn note_tracked(&mut self, at: usize) {
        self.outcome.tracked[0][at] = self.node.tracked();
        self.outcome.tracked[2][at] = self.full.tracked();
    }

    fn note_peak(&mut self) {
        let peak = &mut self.outcome.tracked[0][1];
        *peak = self.node.tracked().max(*peak);
    }

    fn finish(mut self) -> Outcome {
        self.note_tracked(2);
        self.outcome.tracked[2][1] = self.full.peak();
        Outcome { flows: self.clients.begun(), fates: self.judge.fates, ..self.outcome }
    }
}
