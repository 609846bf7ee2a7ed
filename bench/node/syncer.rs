//! Who pushes the sets.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::{Value, json};

/// A client of the control socket.
pub struct Syncer(UnixStream);

impl Syncer {
    /// Connects.
    pub fn connect(path: &str) -> Self {
        Self(UnixStream::connect(path).expect("it listens"))
    }

    /// Pushes a whole set, and answers how many milliseconds it took to be acknowledged.
    pub fn apply(&self, revision: &str, services: &[Value]) -> f64 {
        self.ask("apply", json!({ "revision": revision, "services": services }))
    }

    /// Replaces one service, likewise.
    pub fn patch(&self, base: &str, revision: &str, service: &Value) -> f64 {
        self.ask("patch", json!({ "base": base, "revision": revision, "upsert": [service] }))
    }

    fn ask(&self, method: &str, params: Value) -> f64 {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let line = format!("{question}\n");
        let start = Instant::now();
        (&self.0).write_all(line.as_bytes()).expect("it reads");
        let mut answer = String::new();
        BufReader::new(&self.0).read_line(&mut answer).expect("an answer");
        let elapsed = start.elapsed();
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{answer}");
        elapsed.as_secs_f64() * 1e3
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
