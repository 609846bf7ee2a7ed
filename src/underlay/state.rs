//! What is known of the underlay, and what follows from it. Fed with [`Event`]s and routes; no kernel here.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Instant;

use ipnet::IpNet;

use super::error::UnderlayError;
use super::event::{Event, LinkNews};
use super::link::Link;
use super::links::{Carrier, Links};
use super::neighbours::{Demand, Gateway, Neighbour, Neighbours};
use super::next_hop::{NoNextHop, Route};
use crate::snapshot::NextHop;
use crate::wire::Family;

/// What has changed since the last time it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The next hop of some target came, went or changed.
    pub next_hops: bool,
    /// The interface changed: its state, MTU, Ethernet address or addresses.
    pub link: bool,
}

impl Changes {
    /// Whether anything has.
    pub fn any(self) -> bool {
        self.next_hops || self.link
    }

    /// What has changed in either of two turns.
    pub fn and(self, later: Self) -> Self {
        Self { next_hops: self.next_hops || later.next_hops, link: self.link || later.link }
    }
}

/// All that is known of one interface and of the ways to the targets.
#[derive(Debug)]
pub struct State {
    link: Link,
    links: Links,
    /// Those on the interface, and on VLAN devices on top of it.
    neighbours: Neighbours,
    targets: BTreeSet<IpAddr>,
    routes: HashMap<IpAddr, Route>,
    /// The neighbours that routes lead to, with how many routes do.
    gateways: HashMap<Gateway, u32>,
    /// Targets that have just come, whose routes are no news.
    fresh: BTreeSet<IpAddr>,
    /// Targets whose route has to be asked for again.
    unsure: BTreeSet<IpAddr>,
    changes: Changes,
}

impl State {
    /// The state of the interface of this name, from a dump of links, addresses and neighbours, in this order.
    pub fn new(name: &str, dump: Vec<Event>) -> Result<Self, UnderlayError> {
        let mut state = Self {
            link: find_link(name, &dump)?,
            links: Links::default(),
            neighbours: Neighbours::default(),
            targets: BTreeSet::new(),
            routes: HashMap::new(),
            gateways: HashMap::new(),
            fresh: BTreeSet::new(),
            unsure: BTreeSet::new(),
            changes: Changes::default(),
        };
        state.apply_all(dump);
        state.changes = Changes::default();
        Ok(state)
    }

    /// Starts again from a new dump, keeping the targets. Says that everything has changed. Where the interface is
    /// gone, it is taken to be down until it comes back.
    pub fn reload(&mut self, dump: Vec<Event>) {
        match find_link(&self.link.name, &dump) {
            Ok(link) => self.link = link,
            Err(_) => self.link.up = false,
        }
        self.links.clear();
        self.neighbours.forget();
        self.apply_all(dump);
        self.doubt_all();
        self.changes = Changes { next_hops: true, link: true };
    }

    fn apply_all(&mut self, events: Vec<Event>) {
        for event in events {
            self.apply(event);
        }
    }

    /// The interface.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Whether the interface is gone. It may come back under the same name.
    pub fn is_gone(&self) -> bool {
        !self.links.have(self.link.index)
    }

    /// The neighbours to have resolved or verified at `now`, at most `most`; none where no frame can leave.
    pub fn due(&self, now: Instant, most: usize) -> Vec<Gateway> {
        let up = |gateway: &Gateway| self.carrier(gateway.interface).is_some_and(|carrier| carrier.up);
        self.neighbours.due(now, most, up)
    }

    /// Notes that these were tried at `now`.
    pub fn tried(&mut self, gateways: &[Gateway], now: Instant) {
        self.neighbours.tried(gateways, now);
    }

    /// Notes that the kernel's table had no room for these.
    pub fn refuse(&mut self, gateways: Vec<Gateway>) {
        self.neighbours.refuse(gateways);
    }

    /// How many neighbours of a family are needed.
    pub fn demand(&self, family: Family) -> Demand {
        self.neighbours.demand(family)
    }

    /// What has changed since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Takes in one piece of news. Answers whether the interface has come back under another number, so that only a
    /// new dump tells what it is like.
    pub fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::Link(news) => return self.apply_link(news),
            Event::LinkGone(index) => self.lose_link(index),
            Event::Address(index, address) => self.change_addresses(index, |link| link.set_address(address)),
            Event::AddressGone(index, net) => {
                self.change_addresses(index, |link| link.addresses.retain(|known| known.net != net));
            }
            Event::Neighbour(gateway, neighbour) if self.carrier(gateway.interface).is_some() => {
                self.changes.next_hops |= self.neighbours.update(gateway, neighbour);
            }
            Event::Neighbour(..) => {}
            Event::Route(prefix) => self.unsure.extend(self.targets.range(covered(prefix))),
            Event::Routing => self.doubt_all(),
        }
        false
    }

    fn apply_link(&mut self, news: LinkNews) -> bool {
        let index = news.index;
        let returned = index != self.link.index && news.name == self.link.name;
        let before = self.carrier(index);
        if index == self.link.index {
            let now = (news.mac.unwrap_or(self.link.mac), news.up, news.mtu);
            self.changes.link |= now != (self.link.mac, self.link.up, self.link.mtu);
            (self.link.mac, self.link.up, self.link.mtu) = now;
        }
        // The kernel drops IPv4 routes over an interface that goes down without a word about the routes.
        if self.links.update(news) {
            self.doubt_all();
        }
        let after = self.carrier(index);
        self.changes.next_hops |= after != before;
        let up = |carrier: Option<Carrier>| carrier.is_some_and(|carrier| carrier.up);
        if up(after) && !up(before) {
            self.neighbours.retry();
        }
        returned
    }

    fn lose_link(&mut self, index: u32) {
        self.changes.next_hops |= self.carrier(index).is_some_and(|carrier| carrier.up);
        if index == self.link.index {
            self.changes.link |= self.link.up;
            self.link.up = false;
        }
        self.links.remove(index);
        self.neighbours.forget_on(index);
        self.doubt_all();
    }

    fn change_addresses(&mut self, index: u32, change: impl FnOnce(&mut Link)) {
        if index == self.link.index {
            let before = self.link.addresses.clone();
            change(&mut self.link);
            self.changes.link |= self.link.addresses != before;
        }
        self.doubt_all();
    }

    /// Has the routes of these asked for again.
    pub fn doubt(&mut self, targets: BTreeSet<IpAddr>) {
        self.unsure.extend(targets);
    }

    fn doubt_all(&mut self) {
        self.unsure.extend(&self.targets);
    }

    /// From now on the ways to these are followed, and each that becomes known is a change.
    #[cfg(test)]
    pub fn set_targets(&mut self, targets: &BTreeSet<IpAddr>) {
        self.change_targets(&(targets - &self.targets), &(&self.targets - targets));
        self.settle();
    }

    /// From now on the ways to some more are followed, and to some no longer. Routes of new ones are then among
    /// [`unsure`](Self::take_unsure); that these become known is no [change](Self::take_changes) until they are
    /// [settled](Self::settle).
    pub fn change_targets(&mut self, come: &BTreeSet<IpAddr>, gone: &BTreeSet<IpAddr>) {
        for target in gone {
            self.targets.remove(target);
            self.unsure.remove(target);
            self.put_route(*target, None);
        }
        self.targets.extend(come);
        self.unsure.extend(come);
        self.fresh.clone_from(come);
        self.want_gateways();
    }

    /// Whoever has set new targets has seen the ways to them.
    pub fn settle(&mut self) {
        self.fresh.clear();
    }

    /// The targets whose routes have to be asked for.
    pub fn take_unsure(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.unsure)
    }

    /// Takes in the kernel's answers.
    pub fn set_routes(&mut self, answers: impl IntoIterator<Item = (IpAddr, Route)>) {
        for (target, route) in answers {
            let before = self.put_route(target, Some(route));
            // Also the first answer: it may come long after the target was set, where the kernel could not be asked then.
            self.changes.next_hops |= before != Some(route) && !self.fresh.contains(&target);
        }
        self.want_gateways();
    }

    /// Notes, or forgets, the route of a target, and answers what was known of it.
    fn put_route(&mut self, target: IpAddr, route: Option<Route>) -> Option<Route> {
        if let Some(gateway) = route.and_then(Route::gateway) {
            *self.gateways.entry(gateway).or_default() += 1;
        }
        let before = match route {
            Some(route) => self.routes.insert(target, route),
            None => self.routes.remove(&target),
        };
        if let Some(gateway) = before.and_then(Route::gateway)
            && let Some(users) = self.gateways.get_mut(&gateway)
        {
            *users -= 1;
            if *users == 0 {
                self.gateways.remove(&gateway);
            }
        }
        before
    }

    fn want_gateways(&mut self) {
        let gateways = self.gateways.keys().filter(|gateway| self.carrier(gateway.interface).is_some());
        let gateways = gateways.copied().collect();
        self.neighbours.want(gateways);
    }

    /// The way to `target`.
    pub fn next_hop(&self, target: IpAddr) -> Result<NextHop, NoNextHop> {
        let (interface, gateway) = match *self.routes.get(&target).ok_or(NoNextHop::NotATarget { target })? {
            Route::Local => return Err(NoNextHop::Local { target }),
            // Going down takes the routes along: name the cause.
            Route::None if !self.link.up => return Err(self.down(target, self.link.index)),
            Route::None => return Err(NoNextHop::NoRoute { target }),
            Route::Via { interface, gateway } => (interface, gateway),
        };
        let Some(Carrier { mac: source, up, tag }) = self.carrier(interface) else {
            return Err(self.other_interface(target, interface));
        };
        if !up {
            return Err(self.down(target, interface));
        }
        let neighbour = Gateway { interface, address: gateway };
        match self.neighbours.get(&neighbour) {
            None if self.neighbours.is_refused(&neighbour) => Err(NoNextHop::TableFull { target, gateway }),
            Some(Neighbour::Failed) => Err(NoNextHop::Failed { target, gateway }),
            neighbour => match neighbour.and_then(Neighbour::mac) {
                Some(destination) => Ok(NextHop { destination, source, tag }),
                None => Err(NoNextHop::Unresolved { target, gateway }),
            },
        }
    }

    /// How frames leave where the kernel would send them by this interface; `None` if not by ours.
    fn carrier(&self, interface: u32) -> Option<Carrier> {
        self.links.carrier(&self.link, interface)
    }

    /// A VLAN device is down because it was set down, or because the interface beneath is: name the cause.
    fn down(&self, target: IpAddr, index: u32) -> NoNextHop {
        let interface = if self.link.up { self.links.name(index) } else { self.link.name.clone() };
        NoNextHop::InterfaceDown { target, interface }
    }

    fn other_interface(&self, target: IpAddr, index: u32) -> NoNextHop {
        NoNextHop::OtherInterface { target, interface: self.link.name.clone(), other: self.links.name(index) }
    }
}

/// The interface of this name, with its addresses.
pub fn find_link(name: &str, dump: &[Event]) -> Result<Link, UnderlayError> {
    let links = || dump.iter().filter_map(|event| if let Event::Link(news) = event { Some(news) } else { None });
    let Some(news) = links().find(|news| news.name == name) else {
        let there: Vec<&str> = links().map(|news| news.name.as_str()).collect();
        return Err(UnderlayError::NoInterface { name: name.to_owned(), there: there.join(", ") });
    };
    let addresses = dump.iter().filter_map(|event| match event {
        Event::Address(index, address) if *index == news.index => Some(*address),
        _ => None,
    });
    Ok(Link {
        index: news.index,
        name: news.name.clone(),
        mac: news.mac.ok_or_else(|| UnderlayError::NotEthernet { name: name.to_owned() })?,
        mtu: news.mtu,
        up: news.up,
        addresses: addresses.collect(),
    })
}

/// All addresses of a prefix.
fn covered(prefix: IpNet) -> RangeInclusive<IpAddr> {
    match prefix {
        IpNet::V4(net) => IpAddr::V4(net.network())..=IpAddr::V4(net.broadcast()),
        IpNet::V6(net) => IpAddr::V6(net.network())..=IpAddr::V6(net.broadcast()),
    }
}

#[cfg(test)]
mod tests;
