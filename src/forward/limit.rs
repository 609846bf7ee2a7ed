//! How many answers to packets that are too big the node gives: token buckets (RFC 1812 section 4.3.2.8, RFC 4443
//! section 2.4 f), so that nobody can have it send as much as he sends, nor use up what others need.

use crate::flow::{Affinity, FlowKey, Seed};
use crate::moment::{Moment, SECOND};
use crate::wire::l4::Ports;

/// Answers a second, and at once, to all clients together.
const TO_ALL: u64 = 1_000;
/// Answers a second, and at once, to one client.
const TO_ONE: u64 = 50;
/// Buckets for clients, who share one where their hashes do.
const BUCKETS: usize = 1_024;

/// A token bucket, kept as the moment at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Moment,
}

impl Bucket {
    /// The bucket after another token was taken from it, if there is one. It holds one second's tokens, `rate`.
    fn take(self, rate: u64, now: Moment) -> Option<Self> {
        let full_at = self.full_at.max(now).plus(SECOND / rate);
        (full_at.since(now) <= SECOND).then_some(Self { full_at })
    }
}

/// The answers that one worker has left.
#[derive(Debug)]
pub struct Limit {
    all: Bucket,
    clients: Box<[Bucket]>,
}

impl Default for Limit {
    fn default() -> Self {
        Self { all: Bucket::default(), clients: vec![Bucket::default(); BUCKETS].into() }
    }
}

impl Limit {
    /// Whether `client` may have another answer; it then counts as given.
    pub fn allows(&mut self, client: u128, seed: &Seed, now: Moment) -> bool {
        let key = FlowKey { source: client, destination: 0, ports: Ports::default(), protocol: 0 };
        let own = &mut self.clients[seed.hash(&key, Affinity::Client).slot(BUCKETS as u32) as usize];
        match (own.take(TO_ONE, now), self.all.take(TO_ALL, now)) {
            (Some(one), Some(all)) => {
                (*own, self.all) = (one, all);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed([7; 16]);

    fn given(limit: &mut Limit, client: u128, asked: usize, now: u64) -> usize {
        (0..asked).filter(|_| limit.allows(client, &SEED, Moment(now))).count()
    }

    #[test]
    fn a_client_gets_a_burst_and_then_its_rate() {
        let mut limit = Limit::default();
        assert_eq!(given(&mut limit, 1, 200, 0), 50);
        assert_eq!(given(&mut limit, 2, 10, 0), 10, "another client has its own");
        assert_eq!(given(&mut limit, 1, 200, SECOND / 10), 5);
        assert_eq!(given(&mut limit, 1, 200, 10 * SECOND), 50);
    }

    #[test]
    fn all_together_get_no_more_than_a_thousand() {
        let mut limit = Limit::default();
        let at_once: usize = (0..500).map(|client| given(&mut limit, client, 10, 0)).sum();
        assert_eq!(at_once, 1_000);
    }
}
