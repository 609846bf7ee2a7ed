//! The data path. [`forward`] is the heart: pure, without I/O, allocation, lock, log or clock. The daemon, `replay`
//! and the tests all call this one function.

pub mod encap;
mod icmp;
pub mod parse;
pub mod parts;
pub mod select;
pub mod verdict;

use crate::frame::Frame;
use crate::moment::Moment;
use crate::snapshot::{ServiceEntry, Snapshot};
use crate::vip_map::ServiceIndex;
use crate::wire::icmp::Kind;

use parse::{Addressed, Packet};
use parts::Parts;
use verdict::{DropReason, Verdict};

/// What one worker remembers between packets. Its memory is fixed from the start.
#[derive(Debug, Default)]
pub struct Flows {
    parts: Parts,
}

impl Flows {
    /// The frames that follow the one just forwarded, where its packet had to be cut; all that leave are whole.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }
}

/// Decides what becomes of one frame, and makes of it what is to leave: the outer packet, or the answer. After
/// [`Verdict::Dropped`] the frame's content means nothing; after [`Verdict::Passed`] it is unchanged.
pub fn forward(frame: &mut Frame<'_>, snapshot: &Snapshot, flows: &mut Flows, now: Moment) -> Verdict {
    flows.parts.clear();
    _ = now;
    let addressed = match Addressed::read(frame.bytes()) {
        Ok(Some(addressed)) => addressed,
        Ok(None) => return Verdict::Passed,
        Err(reason) => return Verdict::Dropped(reason, None),
    };
    let packet = match Packet::read(frame.bytes(), &addressed) {
        Ok(packet) => packet,
        Err(reason) if snapshot.vips.holds(addressed.destination) => return Verdict::Dropped(reason, None),
        Err(_) => return Verdict::Passed,
    };
    let service = match select::find_service(&packet, snapshot) {
        Ok(Some(service)) => service,
        Ok(None) => return Verdict::Passed,
        Err(reason) => return Verdict::Dropped(reason, None),
    };
    let Some(entry) = snapshot.services.get(service as usize) else {
        return Verdict::Dropped(DropReason::NoService, None);
    };
    serve(frame, &packet, (service, entry), snapshot).unwrap_or_else(|reason| Verdict::Dropped(reason, Some(service)))
}

/// What a service does with a packet that matches it.
fn serve(
    frame: &mut Frame<'_>,
    packet: &Packet,
    (service, entry): (ServiceIndex, &ServiceEntry),
    snapshot: &Snapshot,
) -> Result<Verdict, DropReason> {
    if packet.ttl == 0 {
        return Err(DropReason::TtlExpired);
    }
    if !entry.allows(packet.flow.source) {
        return Err(DropReason::NotAllowed);
    }
    if packet.icmp == Some(Kind::EchoRequest) && !entry.forwards_echo() {
        icmp::answer_echo(frame, packet, snapshot.settings.hop_limit)?;
        return Ok(Verdict::Answered(service));
    }
    let selection = select::select(&packet.flow, entry, snapshot);
    let index = selection.endpoint.ok_or(DropReason::NoEndpoint)?;
    let endpoint = entry.endpoints.get(usize::from(index)).ok_or(DropReason::NoEndpoint)?;
    let outer = endpoint.outer.as_ref().ok_or(DropReason::UnsupportedEncap)?;
    let next_hop = snapshot.next_hops.get(endpoint.next_hop as usize).and_then(Option::as_ref);
    let next_hop = next_hop.ok_or(DropReason::NoNextHop)?;
    encap::encapsulate(frame, packet, selection.hash, (outer, next_hop), &snapshot.settings)?;
    Ok(Verdict::Forwarded(service, index))
}
