//! Pings that go on and on: who looks on whether a node stays reachable.

use std::net::IpAddr;

use rustix::process::Signal;

use crate::{Namespace, Process, SOON};

/// A ping that goes on until it is asked what it has seen.
pub struct Pings {
    process: Process,
    to: IpAddr,
}

impl Pings {
    /// Sends one each 50 ms.
    pub fn start(from: &Namespace, to: IpAddr) -> Self {
        Self { process: from.spawn(&["ping", "-n", "-O", "-i", "0.05", &to.to_string()]), to }
    }

    /// Ends it, and answers how many were sent and how many of them were answered.
    pub fn finish(self) -> (u64, u64) {
        self.process.signal(Signal::INT);
        self.process.wait(SOON);
        let log = self.process.log();
        let summary = log.lines().find(|line| line.contains("packets transmitted")).unwrap_or_default();
        let number = |word: Option<&str>| word.and_then(|word| word.trim().split(' ').next()?.parse().ok());
        let mut parts = summary.split(',');
        let (sent, answered) = (number(parts.next()), number(parts.next()));
        let (sent, answered): (u64, u64) = sent.zip(answered).unwrap_or_else(|| panic!("ping {} said: {log}", self.to));
        (sent, answered)
    }
}
