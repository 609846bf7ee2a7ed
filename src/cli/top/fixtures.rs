//! Readings and pictures for the tests of the screen.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::picture::{Endpoint, Endpoints, Picture, Service};
use super::reading::{self, Reading, States};
use super::shown::Shown;

/// A reading of a connection, so many milliseconds after `begun`, with these counters.
pub fn reading(begun: Instant, after: u64, connection: u64, stats: Value) -> Reading {
    Reading {
        at: begun + Duration::from_millis(after),
        connection,
        node: json!({ "node": "edge", "uptime": after / 1_000, "workers": [{ "worker": 0, "queue": 0, "core": 1 }] }),
        problems: Vec::new(),
        stats: serde_json::from_value(stats).expect("counters"),
        services: vec![reading::Service { name: "web".to_owned(), ..Default::default() }].into(),
        endpoints: None,
    }
}

/// Services of these names, each of which gets as many packets in a second as its place in the list.
pub fn shown(names: &[&str]) -> Shown {
    let service = |(i, name): (usize, &&str)| Service {
        name: (*name).to_owned(),
        vip: "203.0.113.10".to_owned(),
        states: States { active: 1, draining: 0, down: 0 },
        packets: Some(i as f64),
        ..Default::default()
    };
    let picture = Picture {
        node: json!({ "node": "edge", "revision": "r1", "driver": "af_xdp", "interface": "eth0" }),
        services: names.iter().enumerate().map(service).collect(),
        ..Default::default()
    };
    let mut shown = Shown::default();
    shown.see(picture, "12:00:00".to_owned(), true);
    shown
}

/// Endpoints of these weights and slots of 100, named `e0` and so on.
pub fn endpoints(service: &str, weights: &[(u64, u64)]) -> Endpoints {
    let sum = weights.iter().map(|(weight, _)| weight).sum();
    let endpoint = |(i, (weight, slots)): (usize, &(u64, u64))| {
        let (state, name) = ("active".to_owned(), format!("e{i}"));
        let address = format!("2001:db8::{i:x}");
        let (weight, slots, table_size) = (*weight, *slots, 100);
        let is = reading::Endpoint { name, address, state, weight, slots, table_size, ..Default::default() };
        Endpoint { is, packets: Some(i as f64), bits: None, weights: sum }
    };
    Endpoints { service: service.to_owned(), all: weights.iter().enumerate().map(endpoint).collect() }
}

/// A key without others.
pub fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}
