//! What is known of the underlay, and what follows from it. Fed with [`Event`]s and routes; no kernel here.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::error::UnderlayError;
use super::link::{Link, LinkAddress};
use super::neighbours::{Neighbour, Neighbours};
use super::next_hop::{NoNextHop, Route};
use crate::snapshot::{NextHop, Tag};
use crate::wire::ethernet::MacAddress;

/// One piece of news from the kernel, or one entry of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface is there, or changed.
    Link(LinkNews),
    /// An interface is gone.
    LinkGone(u32),
    /// An interface has this address.
    Address(u32, LinkAddress),
    /// An interface no longer has this address.
    AddressGone(u32, IpNet),
    /// A neighbour on an interface; `None` where the kernel forgot it.
    Neighbour(u32, IpAddr, Option<Neighbour>),
    /// A route to this prefix came, went or changed, in any table.
    Route(IpNet),
    /// Something that may move every route: a rule, a next-hop object.
    Routing,
}

/// An interface, as told in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkNews {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<MacAddress>,
    /// In bytes.
    pub mtu: u32,
    /// Set up, and with a carrier.
    pub up: bool,
}

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
    /// Every interface of the node: name, and whether it is up.
    links: HashMap<u32, (String, bool)>,
    neighbours: Neighbours,
    targets: BTreeSet<IpAddr>,
    routes: HashMap<IpAddr, Route>,
    /// Targets whose route has to be asked for again.
    unsure: BTreeSet<IpAddr>,
    changes: Changes,
}

impl State {
    /// The state of the interface of this name, from a dump of links, addresses and neighbours, in this order.
    pub fn new(name: &str, dump: Vec<Event>) -> Result<Self, UnderlayError> {
        let mut state = Self {
            link: find_link(name, &dump)?,
            links: HashMap::new(),
            neighbours: Neighbours::default(),
            targets: BTreeSet::new(),
            routes: HashMap::new(),
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

    /// The neighbours on it.
    pub fn neighbours(&mut self) -> &mut Neighbours {
        &mut self.neighbours
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
            Event::Neighbour(index, address, neighbour) if index == self.link.index => {
                self.changes.next_hops |= self.neighbours.update(address, neighbour);
            }
            Event::Neighbour(..) => {}
            Event::Route(prefix) => self.unsure.extend(self.targets.range(covered(prefix))),
            Event::Routing => self.doubt_all(),
        }
        false
    }

    fn apply_link(&mut self, news: LinkNews) -> bool {
        if news.index == self.link.index {
            let mac = news.mac.unwrap_or(self.link.mac);
            let hops = (mac, news.up) != (self.link.mac, self.link.up);
            self.changes.next_hops |= hops;
            self.changes.link |= hops || news.mtu != self.link.mtu;
            if news.up && !self.link.up {
                self.neighbours.retry();
            }
            (self.link.mac, self.link.up, self.link.mtu) = (mac, news.up, news.mtu);
        }
        let returned = news.index != self.link.index && news.name == self.link.name;
        // The kernel drops IPv4 routes over an interface that goes down without a word about the routes.
        if self.links.insert(news.index, (news.name, news.up)).is_none_or(|(_, up)| up != news.up) {
            self.doubt_all();
        }
        returned
    }

    fn lose_link(&mut self, index: u32) {
        self.links.remove(&index);
        if index == self.link.index && self.link.up {
            self.link.up = false;
            self.changes = Changes { next_hops: true, link: true };
        }
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

    /// From now on the ways to these are followed. Routes of new ones are then among [`unsure`](Self::take_unsure).
    pub fn set_targets(&mut self, targets: BTreeSet<IpAddr>) {
        self.unsure.retain(|target| targets.contains(target));
        self.unsure.extend(targets.difference(&self.targets));
        self.routes.retain(|target, _| targets.contains(target));
        self.targets = targets;
        self.want_gateways();
    }

    /// The targets whose routes have to be asked for.
    pub fn take_unsure(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.unsure)
    }

    /// Takes in the kernel's answers.
    pub fn set_routes(&mut self, answers: impl IntoIterator<Item = (IpAddr, Route)>) {
        for (target, route) in answers {
            // Also the first answer: it may come long after the target was set, where the kernel could not be asked then.
            self.changes.next_hops |= self.routes.insert(target, route).is_none_or(|before| before != route);
        }
        self.want_gateways();
    }

    fn want_gateways(&mut self) {
        let gateways = self.routes.values().filter_map(|route| match *route {
            Route::Via { interface, gateway } if interface == self.link.index => Some(gateway),
            _ => None,
        });
        self.neighbours.want(gateways.collect());
    }

    /// The way to `target`.
    pub fn next_hop(&self, target: IpAddr) -> Result<NextHop, NoNextHop> {
        let gateway = match self.routes.get(&target) {
            None => return Err(NoNextHop::NotATarget { target }),
            Some(Route::Local) => return Err(NoNextHop::Local { target }),
            // Going down takes the routes along: name the cause.
            Some(Route::None) if !self.link.up => return Err(self.down(target)),
            Some(Route::None) => return Err(NoNextHop::NoRoute { target }),
            Some(Route::Via { interface, .. }) if *interface != self.link.index => {
                return Err(self.other_interface(target, *interface));
            }
            Some(Route::Via { gateway, .. }) => *gateway,
        };
        if !self.link.up {
            return Err(self.down(target));
        }
        match self.neighbours.get(&gateway) {
            Some(Neighbour::Failed) => Err(NoNextHop::Failed { target, gateway }),
            neighbour => match neighbour.and_then(Neighbour::mac) {
                Some(destination) => Ok(NextHop { destination, source: self.link.mac, tag: Tag::None }),
                None => Err(NoNextHop::Unresolved { target, gateway }),
            },
        }
    }

    fn down(&self, target: IpAddr) -> NoNextHop {
        NoNextHop::InterfaceDown { target, interface: self.link.name.clone() }
    }

    fn other_interface(&self, target: IpAddr, index: u32) -> NoNextHop {
        let other = self.links.get(&index).map_or_else(|| format!("interface {index}"), |(name, _)| name.clone());
        NoNextHop::OtherInterface { target, interface: self.link.name.clone(), other }
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
