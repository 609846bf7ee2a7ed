//! IPv4 packets that are too big and may be cut: fragmentation (RFC 791 section 3.2) before encapsulation, so that the
//! endpoint's kernel puts them together.

use super::encap::{Inner, MOST_OUTER, Way};
use super::parse::Packet;
use super::parts::Parts;
use super::verdict::DropReason;
use crate::frame::Frame;
use crate::snapshot::Settings;
use crate::wire::ipv4::{self, Piece};

/// The longest packet, header excluded, that offsets reach to.
const LONGEST_PAYLOAD: usize = 65_535;

/// Cuts the packet in `frame` into parts of at most `room` bytes and encapsulates each: the first in place, the others
/// into `parts`.
pub fn cut(
    frame: &mut Frame<'_>,
    packet: &Packet,
    (way, room): (&Way<'_>, usize),
    settings: &Settings,
    parts: &mut Parts,
) -> Result<(), DropReason> {
    let inner = Inner::of(packet);
    let start = inner.strip;
    let (header, payload) = frame.bytes()[start..start + packet.total_len].split_at(packet.header_len);
    let (before, more) = packet.fragment.map_or((0, false), |fragment| (usize::from(fragment.offset), fragment.more));
    if before + payload.len() > LONGEST_PAYLOAD {
        return Err(DropReason::Malformed);
    }
    // Every part gets a checksum of its own, and must not bless what was broken on the way here.
    if !ipv4::has_right_checksum(header) {
        return Err(DropReason::Malformed);
    }
    let mut later = [0; ipv4::LONGEST_HEADER];
    let later_len = ipv4::header_of_later_fragments(header, &mut later);
    let first_len = whole_units(room, packet.header_len)?;
    let later_room = whole_units(room, later_len)?;

    let mut at = first_len;
    for chunk in payload[first_len.min(payload.len())..].chunks(later_room) {
        let last = at + chunk.len() == payload.len();
        let piece = Piece { total_len: later_len + chunk.len(), offset: before + at, more: more || !last };
        let header = &mut later[..later_len];
        piece.write(header);
        let mut outer = [0; MOST_OUTER];
        let len = way.write(&mut outer, &[header, chunk], &inner, settings);
        if !parts.push(&[&outer[MOST_OUTER - len..], header, chunk]) {
            return Err(DropReason::TooBig);
        }
        at += chunk.len();
    }
    let first = Piece { total_len: packet.header_len + first_len, offset: before, more: true };
    first.write(&mut frame.bytes_mut()[start..start + packet.header_len]);
    way.encapsulate(frame, &Inner { total_len: first.total_len, ..inner }, settings)
}

/// How many bytes of payload, in whole units of eight, fit beside a header.
fn whole_units(room: usize, header_len: usize) -> Result<usize, DropReason> {
    let fits = room.saturating_sub(header_len) & !7;
    if fits == 0 { Err(DropReason::TooBig) } else { Ok(fits) }
}
