//! The data path. [`forward`] is the heart: pure, without I/O, allocation, lock, log or clock. The daemon, `replay`
//! and the tests all call this one function.

pub mod ahead;
mod cut;
pub mod encap;
mod fragment;
mod icmp;
mod limit;
pub mod parse;
pub mod parts;
pub mod plain;
pub mod select;
pub mod track;
pub mod verdict;

pub use icmp::SMALLEST_IPV6_MTU;

use crate::flow::{FlowHash, address_of};
use crate::frame::Frame;
use crate::maglev;
use crate::moment::Moment;
use crate::snapshot::{EndpointEntry, ServiceEntry, Settings, Snapshot};
use crate::vip_map::ServiceIndex;
use crate::wire::Family;
use crate::wire::icmp::Kind;
use crate::wire::l4::protocol;

use encap::{Inner, Outer, Way};
use fragment::Fragments;
use limit::Limit;
use parse::{Addressed, Packet};
use parts::Parts;
use plain::{Outcome, Plain};
use select::{Asking, Selection};
use track::{Place, Sign, Tracked};
use verdict::{DropReason, Verdict};

/// What one worker remembers between packets. Its memory is fixed from the start.
#[derive(Debug)]
pub struct Flows {
    fragments: Fragments,
    answers: Limit,
    parts: Parts,
    tracked: Tracked,
    opened: bool,
}

impl Default for Flows {
    /// Memory for few tracked flows: tests need no more.
    fn default() -> Self {
        Self::new(1_024, 600)
    }
}

impl Flows {
    /// Memory for so many tracked flows, among other things, and for handovers of `window` seconds.
    pub fn new(tracked_flows: usize, window: u32) -> Self {
        Self::with(Tracked::new(tracked_flows, window))
    }

    /// The same with tracked flows that are made already.
    pub fn with(tracked: Tracked) -> Self {
        let (fragments, answers, parts) = (Fragments::default(), Limit::default(), Parts::default());
        Self { fragments, answers, parts, tracked, opened: false }
    }

    /// First fragments as bytes, with which another process on this machine can go on, at `now`.
    pub fn store_fragments(&self, now: Moment) -> Vec<u8> {
        let mut stored = Vec::new();
        self.fragments.store(&mut stored, now);
        stored
    }

    /// Takes in what [`store_fragments`](Self::store_fragments) has written.
    pub fn restore_fragments(&mut self, fragments: &[u8]) {
        self.fragments.restore(fragments);
    }

    /// The flows that keep their endpoint through a handover.
    pub fn tracked(&mut self) -> &mut Tracked {
        &mut self.tracked
    }

    /// The same, to look at.
    pub fn look_at_tracked(&self) -> &Tracked {
        &self.tracked
    }

    /// Whether the packet just forwarded opens a flow, as far as can be told without remembering flows.
    pub fn has_opened(&self) -> bool {
        self.opened
    }

    /// The frames that follow the one just forwarded, where its packet had to be cut; all that leave are whole.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }
}

/// Decides what becomes of one frame, and makes of it what is to leave: the outer packet, or the answer. After
/// [`Verdict::Dropped`] the frame's content means nothing; after [`Verdict::Passed`] it is unchanged.
pub fn forward(frame: &mut Frame<'_>, snapshot: &Snapshot, flows: &mut Flows, now: Moment) -> Verdict {
    let plain = ahead::look_at(frame.bytes(), snapshot);
    forward_ahead(frame, plain.as_ref(), snapshot, (flows, now))
}

/// The same where all but the last step of the short way have been taken, with the same snapshot.
#[inline]
pub fn forward_ahead(
    frame: &mut Frame<'_>,
    plain: Option<&Plain>,
    snapshot: &Snapshot,
    (flows, now): (&mut Flows, Moment),
) -> Verdict {
    flows.parts.clear();
    let Some(plain) = plain else { return forward_thoroughly(frame, snapshot, flows, now) };
    flows.opened = plain.opens();
    match plain.encapsulate(frame, snapshot, &mut flows.tracked, now) {
        Outcome::Forwarded(service, index) => Verdict::Forwarded(service, index),
        Outcome::Dropped(reason, service) => Verdict::Dropped(reason, Some(service)),
        Outcome::Carry { service, index, hash } => carry_plain(frame, (service, index, hash), snapshot, (flows, now)),
    }
}

/// What comes behind the short way where it could not go to its end.
#[inline(never)]
fn carry_plain(
    frame: &mut Frame<'_>,
    (service, index, hash): (ServiceIndex, maglev::Index, FlowHash),
    snapshot: &Snapshot,
    (flows, now): (&mut Flows, Moment),
) -> Verdict {
    let Some(entry) = snapshot.services.get(service as usize) else {
        return Verdict::Dropped(DropReason::NoService, None);
    };
    let packet = match Addressed::read(frame.bytes()) {
        Ok(Some(addressed)) => Packet::read(frame.bytes(), &addressed),
        Ok(None) => Err(DropReason::Malformed),
        Err(reason) => Err(reason),
    };
    packet
        .and_then(|packet| carry(frame, &packet, (index, hash, &entry.endpoints), snapshot, (flows, now)))
        .map_or_else(
            |reason| Verdict::Dropped(reason, Some(service)),
            |carried| match carried {
                Carried::Forwarded => Verdict::Forwarded(service, index),
                Carried::Answered => Verdict::Answered(service),
            },
        )
}

/// Every packet's way: step by step, as the contract has it.
#[inline(never)]
fn forward_thoroughly(frame: &mut Frame<'_>, snapshot: &Snapshot, flows: &mut Flows, now: Moment) -> Verdict {
    let addressed = match Addressed::read(frame.bytes()) {
        Ok(Some(addressed)) => addressed,
        Ok(None) => return Verdict::Passed,
        Err(reason) => return Verdict::Dropped(reason, None),
    };
    if addressed.ethernet.is_group() {
        // A router takes no packet for one host out of a frame for many (RFC 1812 section 5.3.4): each node on the link would
        // send a copy. Neighbour discovery for a VIP comes by such frames, and is the kernel's.
        return match Packet::read(frame.bytes(), &addressed) {
            Ok(packet) if packet.is_neighbour_discovery() => Verdict::Passed,
            _ if snapshot.vips.holds(addressed.destination) => Verdict::Dropped(DropReason::GroupFrame, None),
            _ => Verdict::Passed,
        };
    }
    let mut packet = match Packet::read(frame.bytes(), &addressed) {
        Ok(packet) if packet.is_neighbour_discovery() => return Verdict::Passed,
        Ok(packet) => packet,
        Err(reason) if snapshot.vips.holds(addressed.destination) => return Verdict::Dropped(reason, None),
        Err(_) => return Verdict::Passed,
    };
    if packet.is_later_fragment() {
        flows.fragments.recall(&mut packet, &snapshot.settings.seed, now);
    }
    let service = match select::find_service(&packet, snapshot) {
        Ok(Some(service)) => service,
        Ok(None) => return Verdict::Passed,
        Err(reason) => return Verdict::Dropped(reason, None),
    };
    let Some(entry) = snapshot.services.get(service as usize) else {
        return Verdict::Dropped(DropReason::NoService, None);
    };
    serve(frame, &packet, (service, entry), snapshot, (flows, now))
        .unwrap_or_else(|reason| Verdict::Dropped(reason, Some(service)))
}

/// What a service does with a packet that matches it.
fn serve(
    frame: &mut Frame<'_>,
    packet: &Packet,
    (service, entry): (ServiceIndex, &ServiceEntry),
    snapshot: &Snapshot,
    (flows, now): (&mut Flows, Moment),
) -> Result<Verdict, DropReason> {
    let settings = &snapshot.settings;
    if packet.ttl == 0 {
        return Err(DropReason::TtlExpired);
    }
    if has_come_back(packet, snapshot) {
        return Err(DropReason::Loop);
    }
    if !entry.allows(packet.flow.source) {
        return Err(DropReason::NotAllowed);
    }
    if packet.fragment.is_some() && !packet.is_later_fragment() {
        flows.fragments.remember(packet, &settings.seed, now);
    }
    if packet.icmp == Some(Kind::EchoRequest) && !entry.forwards_echo() {
        if packet.fragment.is_some() {
            return Err(DropReason::FragmentedIcmp);
        }
        icmp::answer_echo(frame, packet, settings)?;
        return Ok(Verdict::Answered(service));
    }
    let Selection { hash, endpoint: of_slot, .. } = select::select(&packet.flow, entry, snapshot);
    let sign = Sign::of(packet, packet.upper(frame.bytes()));
    flows.opened = sign == Sign::Opens;
    let chosen = match &entry.handover {
        Some(handover) if handover.touched.holds(hash) => {
            let is_udp = packet.flow.protocol == protocol::UDP;
            let packet = Asking { hash, sign, place: Place::default(), is_udp };
            select::hand_over(of_slot, packet, (handover, &entry.endpoints), &mut flows.tracked, now)
        }
        _ => of_slot,
    };
    let index = chosen.ok_or(DropReason::NoEndpoint)?;
    match carry(frame, packet, (index, hash, &entry.endpoints), snapshot, (flows, now))? {
        Carried::Forwarded => Ok(Verdict::Forwarded(service, index)),
        Carried::Answered => Ok(Verdict::Answered(service)),
    }
}

/// What became of a packet whose endpoint was known.
enum Carried {
    Forwarded,
    Answered,
}

/// Puts the headers for an endpoint in front, or says that the packet is too big for the way.
fn carry(
    frame: &mut Frame<'_>,
    packet: &Packet,
    (index, hash, endpoints): (maglev::Index, FlowHash, &[EndpointEntry]),
    snapshot: &Snapshot,
    (flows, now): (&mut Flows, Moment),
) -> Result<Carried, DropReason> {
    let settings = &snapshot.settings;
    let endpoint = endpoints.get(usize::from(index)).ok_or(DropReason::NoEndpoint)?;
    let outer = endpoint.outer.as_ref().ok_or(DropReason::NoOuterSource)?;
    let path = snapshot.paths.get(endpoint.path).ok_or(DropReason::NoNextHop)?;
    let next_hop = path.next_hop.ok_or(DropReason::NoNextHop)?;
    let way = Way { outer, next_hop, hash };
    let room = (path.mtu as usize).saturating_sub(outer.overhead());
    if packet.total_len <= room || must_be_carried(packet, outer, settings) {
        way.encapsulate(frame, &Inner::of(packet), settings)?;
    } else if !packet.dont_fragment {
        cut::cut(frame, packet, (&way, room), settings, &mut flows.parts)?;
    } else {
        refuse_too_big(frame, packet, room, snapshot, (flows, now))?;
        return Ok(Carried::Answered);
    }
    Ok(Carried::Forwarded)
}

/// Whether a packet goes out although a router has said that it is too big for the way: no IPv6 client can be told to
/// send less than 1,280 bytes (RFC 8201 section 4), and no forged word of a router may cost him those.
fn must_be_carried(packet: &Packet, outer: &Outer, settings: &Settings) -> bool {
    let smallest = packet.family == Family::V6 && packet.total_len <= SMALLEST_IPV6_MTU;
    smallest && packet.total_len + outer.overhead() <= settings.underlay_mtu as usize
}

/// Tells the client that no more than `room` bytes fit.
fn refuse_too_big(
    frame: &mut Frame<'_>,
    packet: &Packet,
    room: usize,
    snapshot: &Snapshot,
    (flows, now): (&mut Flows, Moment),
) -> Result<(), DropReason> {
    let mtu = if packet.family == Family::V6 { room.max(SMALLEST_IPV6_MTU) } else { room };
    // A client that sends no more than it will be told would be told for ever.
    let helps = packet.total_len > mtu;
    let settings = &snapshot.settings;
    if !helps || !icmp::can_be_answered_by_error(packet) || !flows.answers.allows(packet.source, &settings.seed, now) {
        return Err(DropReason::TooBig);
    }
    icmp::answer_too_big(frame, packet, mtu, settings)
}

/// Whether a packet is a tunnel's of this node: one that its network has sent back (RFC 2473 section 4.1.2).
fn has_come_back(packet: &Packet, snapshot: &Snapshot) -> bool {
    let is_tunnel = match packet.flow.protocol {
        protocol::GRE | protocol::IPV4 | protocol::IPV6 => true,
        protocol::UDP => snapshot.gue_ports.contains(&packet.flow.ports.destination),
        _ => false,
    };
    is_tunnel && snapshot.settings.sources.hold(address_of(packet.source))
}
