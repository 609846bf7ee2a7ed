//! How many answers to packets that are too big the node gives: token buckets (RFC 1812 section 4.3.2.8, RFC 4443
//! section 2.4 f). One client cannot use up what others need; who forges many clients' addresses can.

use crate::flow::{Affinity, FlowKey, Seed};
use crate::moment::{Moment, SECOND};
use crate::wire::l4::Ports;

/// Answers a second, and at once, to all clients together: a hundred megabits of them at most.
const TO_ALL: u64 = 10_000;
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
        // One that seems emptier than empty was filled by a later time: a capture's can jump back.
        let from_later = self.full_at.since(now) > SECOND;
        let full_at = if from_later { now } else { self.full_at.max(now) }.plus(SECOND / rate);
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
        let key = FlowKey { source: network(client), destination: 0, ports: Ports::default(), protocol: 0 };
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

/// Whose answers are counted together: an IPv4 address, or all of an IPv6 /64, which one host may have.
fn network(client: u128) -> u128 {
    let is_v4 = client >> 32 == 0xffff;
    if is_v4 { client } else { client >> 64 << 64 }
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
        let (one, other) = (0xffff_c612_0007, 0xffff_c612_0008);
        assert_eq!(given(&mut limit, one, 200, 0), 50);
        assert_eq!(given(&mut limit, other, 10, 0), 10, "another client has its own");
        assert_eq!(given(&mut limit, one, 200, SECOND / 10), 5);
        assert_eq!(given(&mut limit, one, 200, 10 * SECOND), 50);
        assert_eq!(given(&mut limit, one, 200, 5 * SECOND), 50, "time has jumped back");
    }

    #[test]
    fn a_host_with_many_ipv6_addresses_is_one_client() {
        let mut limit = Limit::default();
        let at_once: usize = (0..100).map(|host| given(&mut limit, 0x2001_0db8 << 96 | host, 10, 0)).sum();
        assert_eq!(at_once, 50);
        assert_eq!(given(&mut limit, 0x2001_0db9 << 96, 10, 0), 10);
    }

    #[test]
    fn all_together_get_no_more_than_ten_thousand() {
        let mut limit = Limit::default();
        let at_once: usize = (0..2_000).map(|client| given(&mut limit, 0xffff_0000_0000 + client, 50, 0)).sum();
        assert_eq!(at_once, 10_000);
    }
}
