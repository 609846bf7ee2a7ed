//! Who pushes the sets.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::{Value, json};

/// A client of the control socket.
pub struct Syncer(UnixStream);

/// How long something took to be acknowledged, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From its first byte on.
    pub in_all: f64,
    /// From its last byte on.
    pub behind_last_byte: f64,
}

impl Syncer {
    /// Connects.
    pub fn connect(path: &str) -> Self {
        Self(UnixStream::connect(path).expect("it listens"))
    }

    /// Pushes a whole set.
    pub fn apply(&self, revision: &str, services: &[Value]) -> Took {
        self.ask("apply", json!({ "revision": revision, "services": services }))
    }

    /// Replaces one service.
    pub fn patch(&self, base: &str, revision: &str, service: &Value) -> Took {
        self.ask("patch", json!({ "base": base, "revision": revision, "upsert": [service] }))
    }

    fn ask(&self, method: &str, params: Value) -> Took {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let line = format!("{question}\n");
        let start = Instant::now();
        (&self.0).write_all(line.as_bytes()).expect("it reads");
        let written = Instant::now();
        let mut answer = String::new();
        BufReader::new(&self.0).read_line(&mut answer).expect("an answer");
        let took = [start, written].map(|since| since.elapsed().as_secs_f64() * 1e3);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{answer}");
        Took { in_all: took[0], behind_last_byte: took[1] }
    }
}

/// The VIP of a service.
pub fn vip(number: u32) -> String {
    format!("100.{}.{}.{}", 64 + (number >> 16), number >> 8 & 255, number & 255)
}

/// A service with ten endpoints, of which the first is another in each version.
pub fn service(number: u32, version: u32) -> Value {
    service_of(number, version, 10)
}

/// The same with so many endpoints.
pub fn service_of(number: u32, version: u32, endpoints: u32) -> Value {
    let endpoint = |index: u32| {
        let version = if index == 0 { version } else { 0 };
        let (high, low) = (number >> 12 & 15, number & 0xfff);
        let address = format!("2001:db8:1{high:x}:{low:x}::{version:x}:{:x}", index + 1);
        json!({ "name": format!("service-{number:05}-{version}-{index}"), "address": address })
    };
    let endpoints: Vec<Value> = (0..endpoints).map(endpoint).collect();
    let name = format!("default/service-{number:05}");
    json!({ "name": name, "vip": vip(number), "protocol": "udp", "ports": [80], "endpoints": endpoints })
}
