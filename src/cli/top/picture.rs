//! What is shown of one moment: how all is, and what happens in a second. A rate is none while it is not known.

use serde_json::Value;

use super::reading::{self, States};

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// `status` without its services.
    pub node: Value,
    /// What somebody has to mend, a sentence each.
    pub problems: Vec<String>,
    /// The node's traffic.
    pub totals: Totals,
    /// Those reasons that packets were dropped for.
    pub drops: Vec<Drop>,
    /// In the order of their numbers.
    pub workers: Vec<Worker>,
    /// In the order of names.
    pub services: Vec<Service>,
    /// Those of one service.
    pub endpoints: Option<Endpoints>,
}

/// Packets and bits, in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    pub packets: Option<f64>,
    pub bits: Option<f64>,
}

/// The node's traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    pub received: Traffic,
    pub sent: Traffic,
    pub answered: Traffic,
    pub dropped: Option<f64>,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Drop {
    pub reason: String,
    pub total: u64,
    pub rate: Option<f64>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    pub number: u64,
    pub queue: Value,
    pub core: Value,
    /// Packets in a second, as `sent` is.
    pub received: Option<f64>,
    pub sent: Option<f64>,
    /// The part of the last minute, 0 to 1, in which it had frames in hand.
    pub busy: Option<f64>,
    /// Seconds that half of the packets, 99 of 100 and all of them took at most, in the last minute.
    pub median: Option<f64>,
    pub slow: Option<f64>,
    pub slowest: Option<f64>,
}

/// One service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub name: String,
    pub vip: String,
    pub protocol: Value,
    pub ports: Value,
    pub states: States,
    pub packets: Option<f64>,
    pub bits: Option<f64>,
    /// Flows that began, in a second.
    pub new_flows: Option<f64>,
    pub tracked: u64,
    pub is_handover_open: bool,
    /// Slots that remember.
    pub remembering: u64,
}

/// The endpoints of one service.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    pub service: String,
    /// In the order of names.
    pub all: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// As the daemon says.
    pub is: reading::Endpoint,
    pub packets: Option<f64>,
    pub bits: Option<f64>,
    /// The sum of weights that its own is a part of; 0 where it gets no new flows.
    pub weights: u64,
}

impl Endpoint {
    /// The part of new flows that its weight asks for.
    pub fn due(&self) -> f64 {
        part(self.is.weight, self.weights)
    }

    /// The part of new flows that it gets: its slots.
    pub fn share(&self) -> f64 {
        part(self.is.slots, self.is.table_size)
    }
}

fn part(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
