//! What happens to the endpoints, and what must come of it.

use super::endpoints::{Change, Number};
use super::run::Outcome;

/// When the first change comes, in seconds: all flows have begun.
const UPDATE: u32 = 120;
/// In which time a rolling update replaces all endpoints, in seconds.
const ROLLING: u32 = 300;
/// How long an endpoint drains before it is removed, whether it still has flows or not, in seconds.
const DRAINING: u32 = 900;
/// By when a change at [`UPDATE`] is forgotten, and all flows have spoken twice since.
const SETTLED: u32 = UPDATE + 600 + 650;

/// What a node that takes over from the first one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Every set, when the first node did; none of the packets.
    Same,
    /// The set in force, and none before.
    None,
    /// All that the first one knew: it is the next process on the same node.
    Inherited,
}

/// What must come of a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Must {
    /// No flow is tracked before the first change.
    TrackNothingBefore,
    /// No flow is broken.
    BreakNone,
    /// No flow is broken that began before the first change.
    BreakNoneOlder,
    /// So large a share of flows is tracked at most.
    TrackAtMost(f64),
    /// Fewer flows are broken than by full tracking.
    BreakFewerThanFullTracking,
}

impl Must {
    /// Why it is missed, if it is.
    fn missed(self, outcome: &Outcome) -> Option<String> {
        let [own, _, full] = outcome.fates;
        let [before, peak, _] = outcome.tracked[0];
        let share = peak as f64 / outcome.at_once as f64;
        match self {
            Self::TrackNothingBefore => (before > 0).then(|| format!("{before} flows tracked before the change")),
            Self::BreakNone => (own.broken > 0).then(|| format!("{} flows broken", own.broken)),
            Self::BreakNoneOlder => (own.older_broken > 0).then(|| format!("{} older flows broken", own.older_broken)),
            Self::TrackAtMost(most) => (share > most).then(|| format!("{:.1} % of flows tracked", share * 100.0)),
            Self::BreakFewerThanFullTracking => (own.broken >= full.broken)
                .then(|| format!("{} flows broken, not fewer than {}", own.broken, full.broken)),
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What happens.
    pub story: &'static str,
    /// Endpoints at first.
    pub endpoints: Number,
    /// None: the default.
    pub table_size: Option<u32>,
    /// By second, in order.
    pub changes: Vec<(u32, Change)>,
    /// Forged SYNs for each packet of a client.
    pub flood: u32,
    /// The share of flows that do not speak once a window.
    pub rare: f64,
    /// When another node takes over, and what it knows.
    pub takeover: Option<(u32, History)>,
    /// In seconds.
    pub end: u32,
    /// What must come of it.
    pub musts: Vec<Must>,
}

impl Scenario {
    fn new(name: &'static str, story: &'static str, endpoints: Number, changes: Vec<(u32, Change)>) -> Self {
        let musts = vec![Must::TrackNothingBefore, Must::BreakNone];
        Self {
            name,
            story,
            endpoints,
            table_size: None,
            changes,
            flood: 0,
            rare: 0.0,
            takeover: None,
            end: SETTLED,
            musts,
        }
    }

    fn rolling(name: &'static str, story: &'static str, endpoints: Number) -> Self {
        let end = UPDATE + ROLLING + DRAINING + 120;
        Self { end, ..Self::new(name, story, endpoints, rolling(endpoints)) }
    }

    fn takeover(name: &'static str, story: &'static str, endpoints: Number, history: History) -> Self {
        let takeover = Some((UPDATE + ROLLING / 2, history));
        let musts = vec![Must::TrackNothingBefore, Must::BreakNoneOlder, Must::BreakFewerThanFullTracking];
        Self { takeover, musts, ..Self::rolling(name, story, endpoints) }
    }

    /// What must have come of it and has not.
    pub fn missed(&self, outcome: &Outcome) -> Vec<String> {
        self.musts.iter().filter_map(|must| must.missed(outcome)).collect()
    }

    /// When the first change comes, in seconds.
    pub fn first_change(&self) -> u32 {
        UPDATE
    }
}

/// Each endpoint is replaced by another, drains, and is removed.
fn rolling(endpoints: Number) -> Vec<(u32, Change)> {
    let at = |number: Number| UPDATE + u32::from(number) * ROLLING / u32::from(endpoints);
    let replace = |number: Number| (at(number), Change::Replace(number, endpoints + number));
    let remove = |number: Number| (at(number) + DRAINING, Change::Remove(number));
    (0..endpoints).map(replace).chain((0..endpoints).map(remove)).collect()
}

/// All scenarios, those that take longest first.
pub fn all() -> Vec<Scenario> {
    let tracks_little = vec![Must::TrackNothingBefore, Must::BreakNone, Must::TrackAtMost(0.08)];
    let replaced = vec![(UPDATE, Change::Replace(7, 50)), (UPDATE + DRAINING, Change::Remove(7))];
    let up = |count: Number| vec![(UPDATE, Change::Add(count..count * 3 / 2))];
    let twice =
        vec![(UPDATE, Change::Add(50..60)), (UPDATE + 300, Change::Replace(3, 60)), (UPDATE + 450, Change::Down(50))];
    vec![
        Scenario {
            flood: 10,
            end: UPDATE + ROLLING + DRAINING - 60,
            ..Scenario::rolling("rolling-flood", "all of 50 endpoints replaced, under a SYN flood", 50)
        },
        Scenario::rolling("rolling", "all of 50 endpoints replaced within 5 minutes", 50),
        Scenario {
            takeover: Some((UPDATE + ROLLING / 2, History::Inherited)),
            ..Scenario::rolling("rolling-upgrade", "the same, with an upgrade in the middle", 50)
        },
        Scenario {
            rare: 0.05,
            musts: vec![Must::TrackNothingBefore],
            ..Scenario::rolling("rolling-rare", "the same; one flow in 20 does not speak once a window", 50)
        },
        Scenario::rolling("rolling-resized", "all of 40 endpoints replaced; the default table grows and shrinks", 40),
        Scenario { musts: tracks_little, ..Scenario::new("replace-one", "one of 50 endpoints replaced", 50, replaced) },
        Scenario {
            table_size: Some(65_537),
            ..Scenario::new("scale-up", "from 50 to 75 endpoints, tables of 65,537 slots", 50, up(50))
        },
        Scenario::new("scale-up-default", "from 50 to 75 endpoints, default tables", 50, up(50)),
        Scenario::new("scale-up-resized", "from 30 to 45 endpoints; the default table grows", 30, up(30)),
        Scenario::new("loss", "one of 50 endpoints down at once", 50, vec![(UPDATE, Change::Down(7))]),
        Scenario::new("twice", "changes within the window of another one", 50, twice),
        Scenario::takeover(
            "takeover",
            "another node with the same history takes over in mid-update",
            50,
            History::Same,
        ),
        Scenario::takeover("takeover-new", "another node without a history does", 50, History::None),
        Scenario::takeover("takeover-resized", "the same with 40 endpoints, whose table has grown", 40, History::None),
    ]
}
