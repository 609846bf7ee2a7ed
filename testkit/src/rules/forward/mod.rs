//! The data path under any input: what must hold of every verdict. The ordinary tests (`tests/library/forward.rs`) and the
//! fuzzer (`fuzz/`) come this way; nothing here but the calls themselves is the program's own code.

mod answer;
mod flow;
mod input;
mod node;
mod outer;
mod packet;
mod parts;
mod plan;

use std::collections::HashMap;
use std::net::IpAddr;

use pointsman::forward::verdict::Verdict;
use pointsman::forward::{Flows, forward};
use pointsman::frame::{Frame, Span};
use pointsman::io::HEADROOM;
use pointsman::moment::Moment;
use pointsman::stats::Tally;

use flow::{Flow, Shown, Whole};
use outer::Mark;
use packet::{Ip, Link};
use plan::Service;

pub use node::Node;

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;
/// Flows and packets that are remembered, so that long tests stay small.
const MOST_FLOWS: usize = 4096;

/// One worker's way through frames, each looked at.
pub struct Watch<'n> {
    node: &'n Node,
    flows: Flows,
    now: Moment,
    /// What has been counted.
    pub tally: Tally,
    /// How many frames were the kernel's.
    pub passed: u64,
    /// By flow: its endpoint, and the way it takes there.
    ways: HashMap<Flow, (u16, Mark)>,
    /// What the first fragments of packets have shown; more than one where an identification came again.
    firsts: HashMap<Whole, Vec<Flow>>,
    /// How often a sender was told that its packets are too big.
    told: HashMap<IpAddr, u64>,
    buffer: Vec<u8>,
}

/// Sends the frames of an input through one worker.
pub fn run(node: &Node, input: &[u8]) {
    let mut watch = Watch::new(node);
    let mut received = 0;
    for step in input::steps(input) {
        watch.receive(step.frame, step.milliseconds);
        received += 1;
    }
    assert!(watch.tally.is_balanced());
    assert_eq!(watch.tally.received.packets + watch.passed, received);
}

impl<'n> Watch<'n> {
    /// A worker that has seen nothing yet.
    pub fn new(node: &'n Node) -> Self {
        Self {
            node,
            flows: Flows::default(),
            now: Moment::default(),
            tally: Tally::default(),
            passed: 0,
            ways: HashMap::new(),
            firsts: HashMap::new(),
            told: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Receives a frame that many milliseconds later, and looks at what becomes of it.
    pub fn receive(&mut self, came: &[u8], milliseconds: u64) -> Verdict {
        self.now = self.now.plus(milliseconds * MILLISECOND);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(HEADROOM, 0);
        buffer.extend_from_slice(came);
        let span = Span { start: HEADROOM, len: came.len() };
        let mut frame = Frame::new(&mut buffer, span).expect("inside");
        let verdict = forward(&mut frame, &self.node.snapshot, &mut self.flows, self.now);
        self.look(verdict, came, frame.bytes());
        self.tally.count(verdict, came.len(), frame.bytes().len());
        self.passed += u64::from(verdict == Verdict::Passed);
        self.buffer = buffer;
        verdict
    }

    fn look(&mut self, verdict: Verdict, came: &[u8], leaves: &[u8]) {
        let link = Link::read(came);
        let ip = link.and_then(|link| Ip::read(link.ethertype, link.rest));
        if link.is_some_and(|link| (link.destination[0] | link.source[0]) & 1 != 0) {
            let is_alone = matches!(verdict, Verdict::Passed | Verdict::Dropped(_, None));
            assert!(is_alone, "{verdict:?} of a frame that is for many, or from many");
        }
        match (verdict, link, ip) {
            (Verdict::Passed, link, ip) => {
                assert_eq!(leaves, came, "what is the kernel's is left alone");
                self.assert_not_for_a_vip(link, ip);
            }
            (Verdict::Dropped(_, None), ..) => {}
            (Verdict::Forwarded(number, index), Some(link), Some(ip)) => {
                self.remember_first(&ip);
                let service = self.service(number, &ip);
                let endpoint = &service.endpoints[usize::from(index)];
                assert_ne!(endpoint.state, "down", "an endpoint that is down gets nothing");
                let frames: Vec<&[u8]> = std::iter::once(leaves).chain(self.flows.parts().iter()).collect();
                let mark = outer::assert_carried(self.node, &link, &ip, (service, endpoint), &frames);
                self.assert_stays(service, (index, mark), &ip);
            }
            (Verdict::Answered(number), Some(link), Some(ip)) => {
                self.remember_first(&ip);
                let service = self.service(number, &ip);
                answer::assert_answer(service, &link, &ip, leaves);
                self.assert_rate(&ip);
            }
            (Verdict::Dropped(_, Some(number)), Some(_), Some(ip)) => {
                self.remember_first(&ip);
                self.service(number, &ip);
            }
            (verdict, ..) => panic!("{verdict:?} of what is no whole IP packet"),
        }
    }

    /// Only what is not for a VIP is the kernel's, and neighbour discovery.
    fn assert_not_for_a_vip(&self, link: Option<Link<'_>>, ip: Option<Ip<'_>>) {
        let vip = link.and_then(|link| packet::destination(&link)).filter(|vip| self.node.plan.holds(*vip));
        let is_neighbours = |ip: Ip<'_>| {
            ip.v6
                && ip.ttl == 255
                && ip.protocol == 58
                && ip.payload.first().is_some_and(|kind| (133..=137).contains(kind))
        };
        assert!(vip.is_none() || ip.is_some_and(is_neighbours), "{vip:?} is a VIP, and not the kernel's");
    }

    /// The service of that number, which must be the one that the packet is for.
    fn service(&self, number: u32, ip: &Ip<'_>) -> &'n Service {
        let node = self.node;
        let service = &node.plan.services[number as usize];
        assert!(service.holds(ip.destination), "{} has no VIP {}", service.name, ip.destination);
        if let Shown::Flow(flow) = ip.shown() {
            assert_eq!(flow.vip, ip.destination, "an error speaks of the VIP's own packet");
            let found = node.plan.find(&flow).map(|found| &found.name);
            let is_echo = ip.icmp().is_some_and(|message| message[..2] == [if ip.v6 { 128 } else { 8 }, 0]);
            // A ping belongs to a service also where none takes ICMP, and so do errors about an endpoint's reply to it.
            let is_about_echo = ip.is_icmp_error() && flow.protocol == if ip.v6 { 58 } else { 1 };
            let is_ping = found.is_none() && (is_echo || is_about_echo);
            assert!(found == Some(&service.name) || is_ping, "{found:?}, not {}", service.name);
        }
        service
    }

    fn remember_first(&mut self, ip: &Ip<'_>) {
        if self.firsts.len() == MOST_FLOWS {
            self.firsts.clear();
            self.ways.clear();
        }
        if let (Some((whole, 0)), Shown::Flow(flow)) = (ip.upper().and_then(|upper| upper.part), ip.shown()) {
            let firsts = self.firsts.entry(whole).or_default();
            if !firsts.contains(&flow) {
                firsts.push(flow);
            }
        }
    }

    /// A flow stays with its endpoint, and takes one way there; so do its fragments, and errors that speak of it.
    fn assert_stays(&mut self, service: &Service, way: (u16, Mark), ip: &Ip<'_>) {
        if !service.is_settled() {
            return;
        }
        if self.ways.len() >= MOST_FLOWS {
            self.ways.clear();
        }
        match ip.shown() {
            Shown::Nothing => {}
            // Its own header says all there is to know, also when the first is forgotten.
            Shown::First(_) if ip.upper().is_some_and(|upper| flow::is_plain(ip.v6, upper.protocol)) => {}
            Shown::Flow(flow) => {
                let flow = service.flow_that_counts(flow);
                assert_eq!(*self.ways.entry(flow).or_insert(way), way, "a flow stays with its endpoint: {flow:?}");
            }
            Shown::First(whole) => {
                let firsts = self.firsts.get(&whole).map_or(&[][..], Vec::as_slice);
                let mut ways = firsts.iter().map(|flow| self.ways.get(&service.flow_that_counts(*flow)));
                let follows = ways.any(|first| first.is_none_or(|first| *first == way));
                assert!(follows || firsts.is_empty(), "a later fragment follows the first: {firsts:?}");
            }
        }
    }

    /// Errors are rate limited: no sender gets more than 50 a second, nor at once.
    fn assert_rate(&mut self, ip: &Ip<'_>) {
        if ip.icmp().is_some_and(|message| [8, 128].contains(&message[0])) {
            return;
        }
        let told = self.told.entry(ip.source).or_default();
        *told += 1;
        let seconds = self.now.0 / (1000 * MILLISECOND);
        assert!(*told <= 50 * (seconds + 2), "{} was told {told} times in {seconds} s", ip.source);
    }
}
