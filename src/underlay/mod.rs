//! The network between this node and its endpoints: the interface, the kernel's routes and its neighbours.
//!
//! The kernel decides, pointsman follows: for each endpoint it asks for the route, with policy and metrics as they are,
//! and takes the gateway's Ethernet address from the neighbour table. It listens for changes, and keeps alive the
//! neighbours that it uses, since the kernel does not see its traffic. A route that leaves by an 802.1Q device on top of
//! the interface is one by the interface, with a tag.
//!
//! `announce` is the one part that changes anything: it owns the routes to the VIPs.
//!
//! `message` and `kernel` speak netlink; `event` is what they hear; `state`, `neighbours`, `next_hop`, `link` and `links`
//! know nothing of it.

pub mod announce;
mod error;
mod event;
mod kernel;
mod link;
mod links;
pub(crate) mod message;
mod neighbours;
mod next_hop;
pub mod path_mtu;
mod state;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::snapshot::NextHop;
use crate::wire::Family;

use kernel::{Heard, Kernel, Listener};
use neighbours::Demand;
use state::State;

pub use error::UnderlayError;
pub use link::{Link, LinkAddress};
pub use next_hop::NoNextHop;
pub use state::Changes;

/// Neighbours that one [`tick`](Underlay::tick) (and all that happens until the next) may ask for. Each costs the link
/// a broadcast or multicast frame.
const TRIES_A_TICK: usize = 2_000;
/// How long a set waits for the neighbours that it needs and no set before it did. One that lives answers within a round
/// trip on the link; one that does not must not hold up the others.
const ANSWER_LIMIT: Duration = Duration::from_millis(200);

/// The interface of this name.
pub fn link(name: &str) -> Result<Link, UnderlayError> {
    state::find_link(name, &Kernel::open()?.links()?)
}

/// Every address that an interface of this network namespace has.
pub fn own_addresses() -> BTreeSet<IpAddr> {
    let interfaces = pnet::datalink::interfaces().into_iter();
    interfaces.flat_map(|interface| interface.ips).map(|net| net.ip()).collect()
}

/// The addresses of the calling thread's network namespace that have a subnet with them, as those of a host on a link have; a
/// VIP that a routing daemon or keepalived has put there is an address of full length.
pub fn subnet_addresses() -> BTreeSet<IpAddr> {
    let nets = pnet::datalink::interfaces().into_iter().flat_map(|interface| interface.ips);
    let full = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    nets.filter(|net| net.prefix() < full(net.ip())).map(|net| net.ip()).collect()
}

/// A neighbour table of the kernel, held against what is needed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// Whose neighbours it has.
    pub family: Family,
    /// Neighbours on the ways to targets.
    pub needed: usize,
    /// Of those, the ones that it had no room for.
    pub refused: usize,
    /// How many it can hold, for all network namespaces together, where that is known.
    pub most: Option<usize>,
}

impl Crowded {
    /// Whether it is too small.
    fn is_so(&self) -> bool {
        self.refused > 0 || self.most.is_some_and(|most| self.needed >= most)
    }
}

/// Follows one interface, and the ways to the targets.
///
/// Only [`change_targets`](Self::change_targets) ever waits. Register its descriptor for reading (also edge-triggered) and call
/// [`on_readable`](Self::on_readable); call [`tick`](Self::tick) about once a second.
pub struct Underlay {
    kernel: Kernel,
    listener: Listener,
    state: State,
    tries_left: usize,
    /// Events were lost and not made up for yet.
    behind: bool,
}

impl Underlay {
    /// Begins to follow `interface`, in the network namespace of the calling thread. There are no targets yet.
    pub fn open(interface: &str) -> Result<Self, UnderlayError> {
        // Listen first: what changes during the dump is then heard after it.
        let listener = Listener::open()?;
        let mut kernel = Kernel::open()?;
        let state = State::new(interface, kernel.everything()?)?;
        Ok(Self { kernel, listener, state, tries_left: TRIES_A_TICK, behind: false })
    }

    /// The interface, as last heard of.
    pub fn link(&self) -> &Link {
        self.state.link()
    }

    /// Whether the interface is gone. When one of its name comes, that is followed instead.
    pub fn is_gone(&self) -> bool {
        self.state.is_gone()
    }

    /// From now on the ways to some more endpoint addresses are followed, and to some no longer. Routes are known when this returns. Missing
    /// neighbours have been asked for; those on the ways to new targets had `ANSWER_LIMIT` to answer, and
    /// [`on_readable`](Self::on_readable) tells when others do.
    pub fn change_targets(&mut self, come: &BTreeSet<IpAddr>, gone: &BTreeSet<IpAddr>) -> Result<(), UnderlayError> {
        if come.is_empty() && gone.is_empty() {
            return Ok(());
        }
        self.state.change_targets(come, gone);
        let resolved = self.resolve();
        self.state.settle();
        resolved?;
        self.wait_for(come)
    }

    /// Waits for the neighbours on the ways to these that have been asked for and have not answered yet: a packet that is
    /// sent there before is lost. What else changes meanwhile, the next [`tick`](Self::tick) tells.
    fn wait_for(&mut self, targets: &BTreeSet<IpAddr>) -> Result<(), UnderlayError> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let is_asked_for = |target: &IpAddr| matches!(self.next_hop(*target), Err(NoNextHop::Unresolved { .. }));
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !targets.iter().any(is_asked_for) {
                return Ok(());
            }
            let left = Timespec::try_from(left).expect("the limit is short");
            // Where a signal ends it early, it is begun again.
            let _ = poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&left));
            self.hear()?;
        }
    }

    /// The way to one of the targets.
    pub fn next_hop(&self, target: IpAddr) -> Result<NextHop, NoNextHop> {
        self.state.next_hop(target)
    }

    /// The kernel's neighbour tables that have had no room for a neighbour on the way to a target, or that are too small for
    /// all of them.
    pub fn crowded_tables(&self) -> Vec<Crowded> {
        let tables = [Family::V4, Family::V6].map(|family| {
            let Demand { needed, refused } = self.state.demand(family);
            Crowded { family, needed, refused, most: kernel::table_limit(family) }
        });
        tables.into_iter().filter(Crowded::is_so).collect()
    }

    /// Takes in all that the kernel has to tell, and says what it changed.
    pub fn on_readable(&mut self) -> Result<Changes, UnderlayError> {
        self.hear()?;
        Ok(self.state.take_changes())
    }

    fn hear(&mut self) -> Result<(), UnderlayError> {
        loop {
            match self.listener.hear()? {
                Heard::Events(events) => {
                    for event in events {
                        self.behind |= self.state.apply(event);
                    }
                }
                Heard::Overrun => self.behind = true,
                Heard::Nothing => break,
            }
        }
        self.catch_up()?;
        self.resolve()
    }

    /// Has missing neighbours resolved and stale ones verified, and makes up for what failed before; says what that
    /// changed. To be called about once a second.
    pub fn tick(&mut self) -> Result<Changes, UnderlayError> {
        self.tries_left = TRIES_A_TICK;
        self.catch_up()?;
        self.resolve()?;
        Ok(self.state.take_changes())
    }

    /// Asks for everything anew where events were lost.
    fn catch_up(&mut self) -> Result<(), UnderlayError> {
        if self.behind {
            self.state.reload(self.kernel.everything()?);
            self.behind = false;
        }
        Ok(())
    }

    /// Asks for the routes in doubt, then for the neighbours that are due.
    fn resolve(&mut self) -> Result<(), UnderlayError> {
        let unsure = self.state.take_unsure();
        if !unsure.is_empty() {
            match self.kernel.routes(unsure.iter().copied()) {
                Ok(routes) => self.state.set_routes(routes),
                Err(error) => {
                    self.state.doubt(unsure);
                    return Err(error);
                }
            }
        }
        let now = Instant::now();
        let due = self.state.due(now, self.tries_left);
        if !due.is_empty() {
            self.tries_left -= due.len();
            self.state.tried(&due, now);
            let refused = self.kernel.use_neighbours(&due)?;
            self.state.refuse(refused);
        }
        Ok(())
    }
}

impl AsFd for Underlay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl AsRawFd for Underlay {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}
