//! What is forwarded in each case, and how fast that must be.

use pointsman::wire::Family::{self, V4, V6};

use testkit::scene::batch::Kind;
use testkit::scene::flows::Order;
use testkit::scene::node::Services;

/// What the services and the worker have been through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// No endpoint has ever changed.
    None,
    /// All endpoints have been replaced, and the handover is over; the worker's memory still has entries of it.
    Closed,
    /// All endpoints have just been replaced, and each flow has spoken since: all are tracked.
    Open,
}

/// How fast a case must be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Only measured.
    None,
    /// At most so many times the yardstick's time for one flow of the family.
    Yardsticks(f64),
    /// At most so many nanoseconds a packet.
    Nanoseconds(f64),
}

/// One case.
pub struct Case {
    /// As it is printed.
    pub name: String,
    /// The node's services.
    pub services: Services,
    /// What its packets are.
    pub kind: Kind,
    /// Which flows they are of.
    pub order: Order,
    /// What was before.
    pub past: Past,
    /// How fast it must be.
    pub target: Target,
    /// Batches before each sample, so that the caches hold what they hold while nothing else runs.
    pub warm_up: usize,
}

const TCP: &str = r#","protocol":"tcp","ports":[80]"#;
const UDP: &str = r#","protocol":"udp","ports":[80]"#;
const EVERYTHING: &str = "";
/// What is kept in a core's own caches is there after so many batches.
const SHORT: usize = 800;
/// Megabytes take longer.
const LONG: usize = 3_000;

fn few(family: Family, matching: &'static str) -> Services {
    Services { family, count: 6, endpoints: 100, table_size: Some(65_537), matching }
}

fn many(count: u32) -> Services {
    Services { family: V4, count, endpoints: 10, table_size: None, matching: TCP }
}

impl Case {
    fn new(name: &str, services: Services, order: Order) -> Self {
        let family = if services.family == V4 { "IPv4" } else { "IPv6" };
        Self {
            name: format!("{name}, {family}"),
            services,
            kind: Kind::Segment,
            order,
            past: Past::None,
            target: Target::None,
            warm_up: SHORT,
        }
    }

    fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    fn past(self, past: Past) -> Self {
        Self { past, ..self }
    }

    fn yardsticks(self, most: f64) -> Self {
        Self { target: Target::Yardsticks(most), ..self }
    }

    fn nanoseconds(self, most: f64) -> Self {
        Self { target: Target::Nanoseconds(most), ..self }
    }

    fn warm_up(self, warm_up: usize) -> Self {
        Self { warm_up, ..self }
    }
}

/// All cases; those with many tracked flows have `flows` of them.
pub fn all(flows: u32) -> Vec<Case> {
    let of_family = |family| {
        let one = if family == V4 { 0.45 } else { 0.5 };
        let tcp = few(family, TCP);
        let any = || Order::random(flows);
        [
            Case::new("one flow", tcp, Order::One).yardsticks(one),
            Case::new("4,096 flows", tcp, Order::random(4_096)),
            Case::new("1M flows", tcp, any()).yardsticks(0.65),
            Case::new("new flows (SYN)", tcp, Order::New(0)).kind(Kind::Syn).yardsticks(0.65),
            Case::new("UDP, 1M flows", few(family, UDP), any()).kind(Kind::Datagram),
            Case::new("L3 only, 1M flows", few(family, EVERYTHING), any()),
            Case::new("handover closed, one flow", tcp, Order::One).past(Past::Closed),
            Case::new("handover closed, 1M flows", tcp, any()).past(Past::Closed),
            Case::new("handover open, 1M tracked", tcp, any()).past(Past::Open).nanoseconds(100.0).warm_up(LONG),
        ]
    };
    let mut cases: Vec<Case> = [V4, V6].into_iter().flat_map(of_family).collect();
    cases.push(Case::new("1,000 services", many(1_000), Order::random(flows)).warm_up(LONG));
    cases.push(Case::new("10,000 services", many(10_000), Order::random(flows)).nanoseconds(80.0).warm_up(LONG));
    cases
}
