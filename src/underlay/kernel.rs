//! The two netlink sockets: one that asks, one that listens.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::error::UnderlayError;
use super::event::Event;
use super::message::{self, Content, Received};
use super::neighbours::Gateway;
use super::next_hop::Route;
use crate::wire::Family;

/// Requests sent before their answers are read. An answer takes up to 4 KiB of the socket's receive buffer (212,992
/// bytes where nobody has changed it, of which the kernel grants twice), and one that does not fit is lost.
const PIPELINE: usize = 64;
/// Times a dump is begun again because a table changed under it.
const DUMP_TRIES: usize = 5;
/// The kernel fills datagrams of a dump up to 32 KiB.
const DATAGRAM: usize = 64 * 1024;
/// What the listening socket may hold: some 10,000 messages, so that a burst is rarely lost.
const EVENT_BUFFER: usize = 8 * 1024 * 1024;

/// Asks the kernel. Each answer is there when the question has been sent, since netlink serves it in the asker's own
/// call; so nothing here ever waits.
pub struct Kernel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Opens the socket, in the network namespace of the calling thread.
    pub fn open() -> Result<Self, UnderlayError> {
        let socket = open_socket().map_err(UnderlayError::netlink("open a socket"))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// The same, for dumps out of which the kernel leaves what the request's header does not name.
    pub fn open_filtering() -> Result<Self, UnderlayError> {
        let kernel = Self::open()?;
        let strict = kernel.socket.set_netlink_get_strict_chk(true);
        strict.map_err(UnderlayError::netlink("ask for some routes only"))?;
        Ok(kernel)
    }

    /// All interfaces, then their addresses.
    pub fn links(&mut self) -> Result<Vec<Event>, UnderlayError> {
        let mut events =
            self.dump("list interfaces", RouteNetlinkMessage::GetLink(LinkMessage::default()), message::event)?;
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        events.extend(self.dump("list addresses", addresses, message::event)?);
        Ok(events)
    }

    /// All interfaces, then their addresses, then all neighbours.
    pub fn everything(&mut self) -> Result<Vec<Event>, UnderlayError> {
        let mut events = self.links()?;
        let neighbours = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        events.extend(self.dump("list neighbours", neighbours, message::event)?);
        Ok(events)
    }

    /// The routes to these targets.
    pub fn routes(&mut self, targets: impl IntoIterator<Item = IpAddr>) -> Result<Vec<(IpAddr, Route)>, UnderlayError> {
        let targets: Vec<IpAddr> = targets.into_iter().collect();
        let mut routes = Vec::with_capacity(targets.len());
        self.ask_each("look up routes", &targets, NLM_F_REQUEST, message::route_request, |target, answer| {
            routes.push((target, answer.map_or(Route::None, |answer| read_route(target, &answer))));
        })?;
        Ok(routes)
    }

    /// Has the kernel resolve or verify these neighbours; returns those that its table has no room for.
    pub fn use_neighbours(&mut self, neighbours: &[Gateway]) -> Result<Vec<Gateway>, UnderlayError> {
        let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
        let mut refusals = Vec::new();
        self.ask_each("resolve neighbours", neighbours, flags, message::use_neighbour, |neighbour, answer| {
            refusals.extend(answer.err().map(|error| (neighbour, error)));
        })?;
        without_room(refusals)
    }

    /// Sends a request about each subject, many at a time, and hands each answer to `take`.
    pub fn ask_each<T: Copy>(
        &mut self,
        doing: &'static str,
        subjects: &[T],
        flags: u16,
        request: impl Fn(T) -> RouteNetlinkMessage,
        mut take: impl FnMut(T, Answer),
    ) -> Result<(), UnderlayError> {
        for batch in subjects.chunks(PIPELINE) {
            let first = self.sequence.wrapping_add(1);
            let mut requests = Vec::with_capacity(batch.len() * 64);
            for subject in batch {
                self.sequence = self.sequence.wrapping_add(1);
                message::append(request(*subject), flags, self.sequence, &mut requests);
            }
            self.send(doing, &requests)?;
            let mut answered = 0;
            while answered < batch.len() {
                self.receive(doing)?;
                for received in message::split(&self.buffer) {
                    // What answers an earlier batch, given up half-way, is not ours.
                    if let Some(subject) = batch.get(received.sequence.wrapping_sub(first) as usize) {
                        answered += 1;
                        take(*subject, answer(received.content));
                    }
                }
            }
        }
        Ok(())
    }

    /// All that `read` understands of a dump.
    pub fn dump<T>(
        &mut self,
        doing: &'static str,
        request: RouteNetlinkMessage,
        read: impl Fn(&RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, UnderlayError> {
        for _ in 0..DUMP_TRIES {
            if let Some(items) = self.try_dump(doing, request.clone(), &read)? {
                return Ok(items);
            }
        }
        Err(UnderlayError::Incomplete { doing })
    }

    /// A dump; `None` where the table changed meanwhile.
    fn try_dump<T>(
        &mut self,
        doing: &'static str,
        request: RouteNetlinkMessage,
        read: impl Fn(&RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>, UnderlayError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        message::append(request, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, &mut bytes);
        self.send(doing, &bytes)?;
        let (mut items, mut consistent) = (Vec::new(), true);
        loop {
            self.receive(doing)?;
            for received in message::split(&self.buffer) {
                if received.sequence != self.sequence {
                    continue;
                }
                consistent &= !received.interrupted;
                match received.content {
                    Content::Message(inner) => items.extend(read(&inner)),
                    Content::Done => return Ok(consistent.then_some(items)),
                    Content::Refused(source) => return Err(UnderlayError::Netlink { doing, source }),
                    Content::Acknowledged | Content::NextHopObject | Content::Unreadable => {}
                }
            }
        }
    }

    fn send(&self, doing: &'static str, bytes: &[u8]) -> Result<(), UnderlayError> {
        self.socket.send(bytes, 0).map(drop).map_err(UnderlayError::netlink(doing))
    }

    /// Reads one datagram into the buffer.
    fn receive(&mut self, doing: &'static str) -> Result<(), UnderlayError> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, 0) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(UnderlayError::Incomplete { doing }),
            Err(source) => Err(UnderlayError::Netlink { doing, source }),
        }
    }
}

/// An answer to a question about one subject; `None` for a bare acknowledgement.
pub type Answer = io::Result<Option<RouteNetlinkMessage>>;

fn answer(content: Content) -> Answer {
    match content {
        Content::Message(inner) => Ok(Some(inner)),
        Content::Refused(error) => Err(error),
        Content::Acknowledged | Content::Done | Content::NextHopObject => Ok(None),
        Content::Unreadable => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The neighbours that were refused since the kernel's table is full. Of all reasons only a lacking capability never mends
/// itself.
fn without_room(refusals: Vec<(Gateway, io::Error)>) -> Result<Vec<Gateway>, UnderlayError> {
    let mut without = Vec::new();
    for (neighbour, error) in refusals {
        match error.raw_os_error() {
            Some(libc::EPERM) => return Err(UnderlayError::NotPermitted),
            Some(libc::ENOBUFS) => without.push(neighbour),
            // The interface just went down, or away: its event is on the way.
            _ => tracing::debug!(address = %neighbour.address, %error, "the kernel would not resolve a neighbour"),
        }
    }
    if let Some(Gateway { address, .. }) = without.first() {
        let count = without.len();
        tracing::warn!(%address, count, "the kernel's neighbour table is full; `pointsman status` says what makes room");
    }
    Ok(without)
}

/// How many neighbours of a family the kernel keeps, for all network namespaces together, if it says so.
pub fn table_limit(family: Family) -> Option<usize> {
    let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
    let limit = std::fs::read_to_string(format!("/proc/sys/net/{family}/neigh/default/gc_thresh3"));
    limit.ok()?.trim().parse().ok()
}

fn read_route(target: IpAddr, answer: &Option<RouteNetlinkMessage>) -> Route {
    match answer {
        Some(RouteNetlinkMessage::NewRoute(answer)) => message::route(target, answer),
        _ => Route::None,
    }
}

/// What a turn at the listening socket brought.
pub enum Heard {
    /// One datagram's news.
    Events(Vec<Event>),
    /// The kernel had more to tell than the socket could hold; some is lost.
    Overrun,
    /// No event waits.
    Nothing,
}

/// Listens to the kernel.
pub struct Listener {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Listener {
    /// Subscribes to links, addresses, neighbours, routes and rules, in the network namespace of the calling thread.
    pub fn open() -> Result<Self, UnderlayError> {
        let subscribe = || -> io::Result<Socket> {
            let socket = open_socket()?;
            enlarge_receive_buffer(&socket)?;
            for group in GROUPS {
                socket.add_membership(group)?;
            }
            Ok(socket)
        };
        let socket = subscribe().map_err(UnderlayError::netlink("subscribe to changes"))?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Reads one datagram, without waiting.
    pub fn hear(&mut self) -> Result<Heard, UnderlayError> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, 0) {
            Ok(_) => Ok(Heard::Events(message::split(&self.buffer).filter_map(news).collect())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Nothing),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Heard::Overrun),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Heard::Events(Vec::new())),
            Err(source) => Err(UnderlayError::Netlink { doing: "read changes", source }),
        }
    }
}

const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NEXTHOP,
];

fn news(received: Received) -> Option<Event> {
    match received.content {
        Content::Message(inner) => message::event(&inner),
        Content::NextHopObject => Some(Event::Routing),
        _ => None,
    }
}

fn open_socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Makes room for a burst: beyond the system's limit where that is permitted, else up to it.
fn enlarge_receive_buffer(socket: &Socket) -> io::Result<()> {
    set_socket_recv_buffer_size_force(socket, EVENT_BUFFER)
        .or_else(|_| set_socket_recv_buffer_size(socket, EVENT_BUFFER))
        .map_err(io::Error::from)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_refusals_only_a_full_table_is_kept_and_a_lacking_capability_is_an_error() {
        let neighbour = |last: u8| Gateway { interface: 2, address: [192, 0, 2, last].into() };
        let refusal = |(last, error)| (neighbour(last), io::Error::from_raw_os_error(error));
        let refusals = [(1, libc::ENOBUFS), (2, libc::ENETDOWN), (3, libc::ENOBUFS)].map(refusal);
        assert_eq!(without_room(refusals.into()).expect("nothing to end for"), [neighbour(1), neighbour(3)]);
        let refusals = [(1, libc::ENOBUFS), (2, libc::EPERM)].map(refusal);
        assert!(matches!(without_room(refusals.into()), Err(UnderlayError::NotPermitted)));
    }
}
