//! What the simulator of `bench/consistency` says will break in the story.

use super::story::{Disk, ENDPOINTS, Event, STORY};
use testkit::simulator::clients::Part;
use testkit::simulator::endpoints::{Change, Endpoints, Number};
use testkit::simulator::node::Node;
use testkit::simulator::packets::Client;

/// Connections that begin at a time, and before the update.
const FLOWS: u64 = 4_000;
/// Seconds since 1970 at the start, and between two events.
const START: u32 = 1_795_000_000;
const STEP: u32 = 2;

/// Shares of connections that have broken until some event has come and gone.
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    /// Of those that had begun before the update.
    pub older: f64,
    /// Of those that began in the middle of it.
    pub late: f64,
}

/// After each event of the story.
pub fn predict() -> Vec<Broken> {
    let mut model = Model::new();
    let mut after = |event: &Event| {
        model.now += STEP;
        model.happen(*event);
        model.flows.iter_mut().for_each(|flow| flow.speak(&mut model.nodes));
        Broken { older: model.broken(|flow| !flow.is_late), late: model.broken(|flow| flow.is_late) }
    };
    STORY.iter().map(&mut after).collect()
}

struct Model {
    now: u32,
    endpoints: Endpoints,
    nodes: [Edge; 2],
    flows: Vec<Flow>,
}

impl Model {
    fn new() -> Self {
        let endpoints = Endpoints::new(ENDPOINTS as Number, None);
        let nodes = [(); 2].map(|()| Edge { node: None, drains: false, disk: Vec::new() });
        let mut model = Self { now: START, endpoints, nodes, flows: Vec::new() };
        model.nodes.iter_mut().for_each(|node| node.rise(&model.endpoints, START));
        model.begin(false);
        model
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Replace(number) => {
                let (old, new) = (number as Number, (number + ENDPOINTS) as Number);
                self.endpoints.change(&Change::Replace(old, new), self.now);
                self.nodes.iter_mut().for_each(|node| node.apply(&self.endpoints, self.now));
            }
            Event::Begin => self.begin(true),
            Event::Die(node) => self.nodes[node].node = None,
            Event::Rise(node, disk) => {
                if let Disk::Lost = disk {
                    self.nodes[node].disk.clear();
                }
                self.nodes[node].rise(&self.endpoints, self.now);
            }
            Event::Drain(node) => self.nodes[node].drains = true,
        }
    }

    fn begin(&mut self, is_late: bool) {
        let first = self.flows.len() as u64;
        let begin = |number| {
            let mut flow = Flow { number, is_late, endpoint: None, is_broken: false };
            flow.endpoint = flow.send(Part::Syn, &mut self.nodes);
            flow
        };
        let flows: Vec<Flow> = (first..first + FLOWS).map(begin).collect();
        self.flows.extend(flows);
    }

    fn broken(&self, of: impl Fn(&Flow) -> bool) -> f64 {
        let all = self.flows.iter().filter(|flow| of(flow));
        let (all, broken) = all.fold((0, 0), |(all, broken), flow| (all + 1, broken + u32::from(flow.is_broken)));
        f64::from(broken) / f64::from(all.max(1))
    }
}

/// An edge node.
struct Edge {
    /// None while it is dead.
    node: Option<Node>,
    drains: bool,
    /// The sets that it has had, with the seconds when it had them.
    disk: Vec<(Endpoints, u32)>,
}

impl Edge {
    fn rise(&mut self, endpoints: &Endpoints, now: u32) {
        let mut node = Node::new(2 * STORY.len() * FLOWS as usize);
        self.disk.iter().for_each(|(endpoints, then)| node.apply(endpoints, *then));
        self.node = Some(node);
        self.apply(endpoints, now);
    }

    fn apply(&mut self, endpoints: &Endpoints, now: u32) {
        if let Some(node) = &mut self.node {
            node.tick(now);
            node.apply(endpoints, now);
            self.disk.push((endpoints.clone(), now));
        }
    }
}

struct Flow {
    number: u64,
    is_late: bool,
    /// The one that has the connection.
    endpoint: Option<Number>,
    is_broken: bool,
}

impl Flow {
    /// The router sends every other flow to the second node, as long as it can.
    fn send(&self, part: Part, nodes: &mut [Edge; 2]) -> Option<Number> {
        let way = (self.number % 2) as usize;
        let draws = |edge: &Edge| edge.node.is_some() && !edge.drains;
        let way = if draws(&nodes[way]) { way } else { 1 - way };
        let node = nodes[way].node.as_mut().expect("one of them is there");
        node.push(Client::of(self.number).frame(part));
        let mut endpoint = None;
        node.forward(|went| endpoint = went);
        endpoint
    }

    fn speak(&mut self, nodes: &mut [Edge; 2]) {
        self.is_broken |= self.send(Part::Segment, nodes) != self.endpoint;
    }
}
