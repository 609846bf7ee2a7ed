//! The neighbour tables of the interface and of the VLAN devices on it, and when to have which neighbour resolved. No kernel here.
//!
//! The kernel resolves and verifies neighbours only for traffic that it sees; frames sent by AF_XDP it does not. So each
//! wanted neighbour is "used" by hand whenever the kernel does not hold it reachable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::wire::Family;
use crate::wire::ethernet::MacAddress;

/// How long one try is given: the kernel sends three probes, a second apart, and waits five seconds before it verifies a
/// stale entry.
const FIRST_RETRY: Duration = Duration::from_secs(3);
/// The longest pause between two tries for a neighbour that does not answer. It bounds how long one that came back
/// silently stays unused, against the broadcasts that dead ones cost.
const LAST_RETRY: Duration = Duration::from_secs(12);

/// A neighbour that routes lead to: the same address may be another host on another interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gateway {
    /// The kernel's number of the interface it is on.
    pub interface: u32,
    /// Its address there.
    pub address: IpAddr,
}

/// What the kernel knows of a neighbour (RFC 4861, section 7.3.2; IPv4 neighbours go through the same states).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Being asked for; no address yet.
    Incomplete,
    /// It answered a short while ago.
    Reachable(MacAddress),
    /// It answered once, and has to prove itself again when used. In use meanwhile.
    Stale(MacAddress),
    /// It does not answer.
    Failed,
    /// Set by hand, or of a kind that needs no proof.
    Permanent(MacAddress),
}

impl Neighbour {
    /// Where to send to, if it can be sent to.
    pub fn mac(self) -> Option<MacAddress> {
        match self {
            Self::Reachable(mac) | Self::Stale(mac) | Self::Permanent(mac) => Some(mac),
            Self::Incomplete | Self::Failed => None,
        }
    }

    fn settled(self) -> bool {
        matches!(self, Self::Reachable(_) | Self::Permanent(_))
    }
}

/// How many neighbours are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// All of them.
    pub needed: usize,
    /// Those that the kernel's table had no room for.
    pub refused: usize,
}

/// The tries so far for a wanted neighbour, since it was last reachable.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    last: Option<Instant>,
    count: u32,
}

impl Tries {
    fn due(self, now: Instant) -> bool {
        let pause = FIRST_RETRY.saturating_mul(1 << self.count.saturating_sub(1).min(8)).min(LAST_RETRY);
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= pause)
    }
}

/// The neighbours of these interfaces, and those of them that are wanted.
#[derive(Debug, Default)]
pub struct Neighbours {
    known: HashMap<Gateway, Neighbour>,
    wanted: BTreeMap<Gateway, Tries>,
    /// Of the wanted ones, those that the kernel's table had no room for when they were last tried.
    refused: BTreeSet<Gateway>,
}

impl Neighbours {
    /// What is known of one.
    pub fn get(&self, gateway: &Gateway) -> Option<Neighbour> {
        self.known.get(gateway).copied()
    }

    /// Takes over the kernel's word (`None`: it forgot the neighbour). Answers whether a wanted neighbour's Ethernet
    /// address came, went or changed.
    pub fn update(&mut self, gateway: Gateway, now: Option<Neighbour>) -> bool {
        let before = match now {
            Some(neighbour) => {
                self.refused.remove(&gateway);
                self.known.insert(gateway, neighbour)
            }
            None => self.known.remove(&gateway),
        };
        let Some(tries) = self.wanted.get_mut(&gateway) else { return false };
        let (before, after) = (before.and_then(Neighbour::mac), now.and_then(Neighbour::mac));
        // One that was flushed while in use is asked for at once; a dead one that the kernel tidied away keeps its pause.
        if now.is_some_and(Neighbour::settled) || (now.is_none() && before.is_some()) {
            *tries = Tries::default();
        }
        before != after
    }

    /// Forgets all that is known, to be told anew.
    pub fn forget(&mut self) {
        self.known.clear();
        self.retry();
    }

    /// Forgets what is known of those on an interface that is gone.
    pub fn forget_on(&mut self, interface: u32) {
        self.known.retain(|gateway, _| gateway.interface != interface);
    }

    /// Lets no pause stand in the way of the next try: something has changed for all of them.
    pub fn retry(&mut self) {
        self.wanted.values_mut().for_each(|tries| *tries = Tries::default());
    }

    /// From now on these are wanted, and no others.
    pub fn want(&mut self, gateways: BTreeSet<Gateway>) {
        self.wanted.retain(|gateway, _| gateways.contains(gateway));
        self.refused.retain(|gateway| gateways.contains(gateway));
        for gateway in gateways {
            self.wanted.entry(gateway).or_default();
        }
    }

    /// The wanted neighbours to have resolved or verified at `now`, of those that can be asked: those tried longest ago
    /// first, at most `most`.
    pub fn due(&self, now: Instant, most: usize, askable: impl Fn(&Gateway) -> bool) -> Vec<Gateway> {
        let unsettled = |gateway: &Gateway| !self.get(gateway).is_some_and(Neighbour::settled);
        let due = |gateway: &Gateway, tries: &Tries| tries.due(now) && unsettled(gateway) && askable(gateway);
        let mut due: Vec<_> = self.wanted.iter().filter(|(gateway, tries)| due(gateway, tries)).collect();
        due.sort_by_key(|(_, tries)| tries.last);
        due.into_iter().take(most).map(|(gateway, _)| *gateway).collect()
    }

    /// Notes that the kernel's table had no room for these.
    pub fn refuse(&mut self, gateways: Vec<Gateway>) {
        self.refused.extend(gateways);
    }

    /// Whether the kernel's table had no room for one when it was last tried.
    pub fn is_refused(&self, gateway: &Gateway) -> bool {
        self.refused.contains(gateway)
    }

    /// How many of a family are wanted, and how many of those the kernel's table had no room for.
    pub fn demand(&self, family: Family) -> Demand {
        let is_of = |gateway: &&Gateway| Family::of(gateway.address) == family;
        Demand { needed: self.wanted.keys().filter(is_of).count(), refused: self.refused.iter().filter(is_of).count() }
    }

    /// Notes that these were tried at `now`.
    pub fn tried(&mut self, gateways: &[Gateway], now: Instant) {
        for gateway in gateways {
            self.refused.remove(gateway);
            if let Some(tries) = self.wanted.get_mut(gateway) {
                *tries = Tries { last: Some(now), count: tries.count.saturating_add(1) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Gateway = Gateway { interface: 2, address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254)) };
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
    const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfd]);

    fn wanting() -> Neighbours {
        let mut neighbours = Neighbours::default();
        neighbours.want([GATEWAY].into());
        neighbours
    }

    #[test]
    fn only_a_wanted_address_that_changes_is_a_change() {
        let mut neighbours = wanting();
        assert!(!neighbours.update(GATEWAY, Some(Neighbour::Incomplete)));
        assert!(neighbours.update(GATEWAY, Some(Neighbour::Reachable(MAC))));
        assert!(!neighbours.update(GATEWAY, Some(Neighbour::Stale(MAC))), "a stale one stays in use");
        assert!(neighbours.update(GATEWAY, Some(Neighbour::Stale(OTHER))));
        assert!(neighbours.update(GATEWAY, Some(Neighbour::Failed)));
        assert!(!neighbours.update(GATEWAY, None));
        let aside = Gateway { address: [192, 0, 2, 9].into(), ..GATEWAY };
        assert!(!neighbours.update(aside, Some(Neighbour::Reachable(MAC))));
    }

    #[test]
    fn what_is_missing_stale_or_failed_is_tried_and_the_rest_left_alone() {
        let (mut neighbours, now) = (wanting(), Instant::now());
        assert_eq!(neighbours.due(now, 9, |_| true), [GATEWAY], "missing");
        for (state, due) in [
            (Neighbour::Incomplete, true),
            (Neighbour::Stale(MAC), true),
            (Neighbour::Failed, true),
            (Neighbour::Reachable(MAC), false),
            (Neighbour::Permanent(MAC), false),
        ] {
            neighbours.update(GATEWAY, Some(state));
            assert_eq!(!neighbours.due(now, 9, |_| true).is_empty(), due, "{state:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_end_with_success() {
        let (mut neighbours, mut now) = (wanting(), Instant::now());
        for pause in [3, 6, 12, 12] {
            neighbours.tried(&[GATEWAY], now);
            now += Duration::from_secs(pause) - Duration::from_millis(1);
            assert!(neighbours.due(now, 9, |_| true).is_empty(), "before {pause} s");
            now += Duration::from_millis(1);
            assert_eq!(neighbours.due(now, 9, |_| true), [GATEWAY], "after {pause} s");
        }
        neighbours.tried(&[GATEWAY], now);
        neighbours.update(GATEWAY, Some(Neighbour::Reachable(MAC)));
        neighbours.update(GATEWAY, Some(Neighbour::Stale(MAC)));
        assert_eq!(neighbours.due(now, 9, |_| true), [GATEWAY]);
    }

    #[test]
    fn a_limit_starves_nobody() {
        let gateways = (1..=5).map(|last| Gateway { address: [192, 0, 2, last].into(), ..GATEWAY });
        let (mut neighbours, mut now) = (Neighbours::default(), Instant::now());
        neighbours.want(gateways.collect());
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let due = neighbours.due(now, 2, |_| true);
            neighbours.tried(&due, now);
            seen.extend(due);
            now += LAST_RETRY;
        }
        assert_eq!(seen.len(), 5);
    }

    #[test]
    fn what_cannot_be_asked_leaves_its_place_to_others() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::now());
        let above = Gateway { interface: 3, ..GATEWAY };
        neighbours.want([GATEWAY, above].into());
        assert_eq!(neighbours.due(now, 1, |gateway| gateway.interface != 2), [above]);
    }

    #[test]
    fn the_same_address_on_two_interfaces_is_two_neighbours() {
        let mut neighbours = wanting();
        let above = Gateway { interface: 3, ..GATEWAY };
        assert!(!neighbours.update(above, Some(Neighbour::Reachable(OTHER))), "this one is not wanted");
        assert!(neighbours.update(GATEWAY, Some(Neighbour::Reachable(MAC))));
        neighbours.forget_on(3);
        assert_eq!((neighbours.get(&above), neighbours.get(&GATEWAY)), (None, Some(Neighbour::Reachable(MAC))));
    }

    #[test]
    fn what_the_table_had_no_room_for_is_known_until_it_has_or_nobody_asks() {
        let (mut neighbours, now) = (wanting(), Instant::now());
        neighbours.refuse(vec![GATEWAY]);
        assert!(neighbours.is_refused(&GATEWAY));
        assert_eq!(neighbours.demand(Family::V4), Demand { needed: 1, refused: 1 });
        assert_eq!(neighbours.demand(Family::V6), Demand::default());
        neighbours.tried(&[GATEWAY], now);
        assert!(!neighbours.is_refused(&GATEWAY), "tried again, it is not known yet");
        neighbours.refuse(vec![GATEWAY]);
        neighbours.update(GATEWAY, Some(Neighbour::Incomplete));
        assert!(!neighbours.is_refused(&GATEWAY), "it has got its place");
        neighbours.refuse(vec![GATEWAY]);
        neighbours.want(BTreeSet::new());
        assert_eq!(neighbours.demand(Family::V4), Demand::default());
    }

    #[test]
    fn what_is_no_longer_wanted_is_left_to_the_kernel() {
        let mut neighbours = wanting();
        neighbours.want(BTreeSet::new());
        assert!(neighbours.due(Instant::now(), 9, |_| true).is_empty());
    }
}
