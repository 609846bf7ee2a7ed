//! What routers said, for as long as it is believed.

use std::collections::HashMap;
use std::net::IpAddr;

use super::message::Lowered;
use crate::moment::{Moment, SECOND};

/// How long a lowered MTU is believed, in nanoseconds: ten minutes, as RFC 1191 section 6.3 and RFC 8201 section 5.3
/// recommend. The next packet that is too big then asks the network again.
pub const LIFETIME: u64 = 600 * SECOND;

/// The most endpoints that are remembered: ten thousand services with ten endpoints each.
pub const MOST_ENDPOINTS: usize = 100_000;

/// The endpoints that something smaller than the node's own link lies before.
#[derive(Clone, Debug, Default)]
pub struct PathMtus(HashMap<IpAddr, Remembered>);

#[derive(Clone, Copy, Debug)]
struct Remembered {
    mtu: u32,
    until: Moment,
}

impl PathMtus {
    /// Takes in what a router said at `now` and answers whether it lowers anything. The caller
    /// has made sure that it speaks of an endpoint, and of less than the node's own link carries.
    ///
    /// Only less than what is known counts, and only that starts a new lifetime: a message never raises an MTU, and no
    /// stream of them keeps one low for ever.
    pub fn lower(&mut self, lowered: Lowered, now: Moment) -> bool {
        let news = match self.0.get(&lowered.endpoint) {
            Some(known) => lowered.mtu < known.mtu || known.until <= now,
            None => self.0.len() < MOST_ENDPOINTS,
        };
        if news {
            self.0.insert(lowered.endpoint, Remembered { mtu: lowered.mtu, until: now.plus(LIFETIME) });
        }
        news
    }

    /// The longest outer IP packet for this endpoint, in bytes, where something lies before it.
    pub fn of(&self, endpoint: IpAddr) -> Option<u32> {
        self.0.get(&endpoint).map(|known| known.mtu)
    }

    /// Forgets what has had its time, and answers whether there was any.
    pub fn expire(&mut self, now: Moment) -> bool {
        let before = self.0.len();
        self.0.retain(|_, known| known.until > now);
        self.0.len() < before
    }

    /// The same, each with how many nanoseconds more it is believed at `now`.
    pub fn iter_with_time_left(&self, now: Moment) -> impl Iterator<Item = (Lowered, u64)> {
        self.0.iter().map(move |(&endpoint, known)| (Lowered { endpoint, mtu: known.mtu }, known.until.since(now)))
    }

    /// Takes in what another process has remembered, and believes it for that many nanoseconds more.
    pub fn restore(&mut self, lowered: Lowered, now: Moment, left: u64) {
        if self.0.len() < MOST_ENDPOINTS {
            let until = now.plus(left.min(LIFETIME));
            self.0.insert(lowered.endpoint, Remembered { mtu: lowered.mtu, until });
        }
    }

    /// All endpoints with a lowered MTU, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Lowered> {
        self.0.iter().map(|(&endpoint, known)| Lowered { endpoint, mtu: known.mtu })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn lowered(number: u32, mtu: u32) -> Lowered {
        Lowered { endpoint: Ipv6Addr::from_bits(number.into()).into(), mtu }
    }

    #[test]
    fn remembers_for_ten_minutes_from_when_it_was_lowered() {
        let mut mtus = PathMtus::default();
        let endpoint = lowered(1, 0).endpoint;
        assert!(mtus.lower(lowered(1, 1400), Moment(5)));
        assert!(
            !mtus.lower(lowered(1, 1400), Moment(6)) && !mtus.lower(lowered(1, 1450), Moment(6)),
            "no news, no renewal"
        );
        assert!(!mtus.expire(Moment(4 + LIFETIME)));
        assert_eq!(mtus.of(endpoint), Some(1400));
        assert!(mtus.expire(Moment(5 + LIFETIME)));
        assert_eq!((mtus.of(endpoint), mtus.iter().next()), (None, None));
    }

    #[test]
    fn less_counts_at_once_and_more_only_after_the_time_of_the_old() {
        let mut mtus = PathMtus::default();
        assert!(mtus.lower(lowered(1, 1400), Moment(0)));
        assert!(mtus.lower(lowered(1, 1300), Moment(LIFETIME - 1)));
        assert!(!mtus.expire(Moment(LIFETIME)), "the lower one has its own ten minutes");
        assert!(mtus.lower(lowered(1, 1450), Moment(2 * LIFETIME)), "the old one is over, though not yet expired");
        assert_eq!(mtus.iter().collect::<Vec<_>>(), [lowered(1, 1450)]);
    }

    #[test]
    fn is_bounded_and_still_lowers_what_it_knows() {
        let mut mtus = PathMtus::default();
        for number in 0..MOST_ENDPOINTS as u32 {
            assert!(mtus.lower(lowered(number, 1400), Moment(0)));
        }
        assert!(!mtus.lower(lowered(u32::MAX, 1400), Moment(0)));
        assert!(mtus.lower(lowered(0, 1300), Moment(0)));
        assert!(mtus.expire(Moment(u64::MAX)));
        assert!(mtus.lower(lowered(u32::MAX, 1400), Moment(0)));
    }
}
