//! Packets of a flow that is asked about, as a client would send them.

use std::net::IpAddr;

use super::Query;
use crate::flow::FlowHash;
use crate::forward::track::Sign;
use crate::forward::verdict::{DropReason, Verdict};
use crate::forward::{Flows, forward};
use crate::frame::{Frame, Span};
use crate::moment::{Moment, SECOND};
use crate::snapshot::{Cell, Snapshot};
use crate::wire::l4::{WITH_PORTS, protocol};
use crate::wire::{Family, ethernet, icmp, ipv4, ipv6};

/// Room for outer headers.
const HEADROOM: usize = 256;
/// What the first fragment of a packet has behind its IP header; a multiple of eight, and enough for any ports.
const UPPER: usize = 24;
const TTL: u8 = 64;
const IDENTIFICATION: u16 = 1;
/// All packets of one look-up come at once.
const NOW: Moment = Moment(SECOND);

/// Where a part of a packet belongs.
#[derive(Clone, Copy)]
struct Part {
    /// In bytes, a multiple of eight.
    offset: u16,
    more: bool,
}

impl Query {
    /// A packet of the flow that is whole, and does not open it.
    pub(super) fn whole(&self) -> Vec<u8> {
        packet((self.src, self.dst), self.protocol.0, &self.upper(), None)
    }

    /// The first and the last part of a packet of the flow.
    pub(super) fn fragments(&self) -> [Vec<u8>; 2] {
        let ends = (self.src, self.dst);
        let first = packet(ends, self.protocol.0, &self.upper(), Some(Part { offset: 0, more: true }));
        let last = packet(ends, self.protocol.0, &[0; 8], Some(Part { offset: UPPER as u16, more: false }));
        [first, last]
    }

    /// An ICMP error about an answer to the client, who sends it: that it was too big, with eight bytes of it behind its IP
    /// header.
    pub(super) fn error(&self) -> Vec<u8> {
        let mut upper = self.upper();
        if WITH_PORTS.contains(&self.protocol.0) {
            let (source, destination) = upper[..4].split_at_mut(2);
            source.swap_with_slice(destination);
        }
        if self.is_ping() {
            icmp::turn_to_reply(self.protocol.0, &mut upper);
        }
        let mut quote = packet((self.dst, self.src), self.protocol.0, &upper, None).split_off(ethernet::HEADER_LEN);
        quote.truncate(quote.len() - UPPER + 8);
        let (number, message) = match (self.src, self.dst) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => (protocol::ICMPV6, icmp::packet_too_big(1280, (src, dst), &quote)),
            _ => (protocol::ICMP, icmp::fragmentation_needed(1280, &quote)),
        };
        packet((self.src, self.dst), number, &[&message[..], &quote].concat(), None)
    }

    /// What is behind the IP header of a packet.
    fn upper(&self) -> Vec<u8> {
        let mut upper = vec![0; UPPER];
        if WITH_PORTS.contains(&self.protocol.0) {
            upper[..2].copy_from_slice(&self.sport.to_be_bytes());
            upper[2..4].copy_from_slice(&self.dport.to_be_bytes());
        }
        match self.protocol.0 {
            // No options; an ACK, which belongs to a connection.
            protocol::TCP => (upper[12], upper[13]) = (0x50, 0x10),
            protocol::UDP => upper[5] = UPPER as u8,
            _ if self.is_ping() => upper[0] = if self.dst.is_ipv4() { 8 } else { 128 },
            _ => {}
        }
        upper
    }
}

fn packet(ends: (IpAddr, IpAddr), number: u8, upper: &[u8], part: Option<Part>) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(Family::of(ends.1).ethertype().to_be_bytes());
    match ends {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = ipv4::template(source, destination, TTL, number);
            ipv4::fill(&mut header, 0, 0, (ipv4::HEADER_LEN + upper.len()) as u16);
            if let Some(Part { offset, more }) = part {
                header[4..6].copy_from_slice(&IDENTIFICATION.to_be_bytes());
                header[6..8].copy_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
                ipv4::set_checksum(&mut header);
            }
            frame.extend(header);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let extension = part.map(|Part { offset, more }| {
                let [high, low] = (offset | u16::from(more)).to_be_bytes();
                [number, 0, high, low, 0, 0, 0, IDENTIFICATION as u8]
            });
            let extension = extension.as_ref().map_or(&[][..], |extension| &extension[..]);
            let first = if extension.is_empty() { number } else { protocol::FRAGMENT };
            let mut header = ipv6::template(source, destination, TTL, first);
            ipv6::fill(&mut header, 0, 0, 0, (extension.len() + upper.len()) as u16);
            frame.extend(header);
            frame.extend(extension);
        }
        // A query is of one family.
        _ => {}
    }
    frame.extend(upper);
    frame
}

/// What would become of these frames one after the other, at a worker with this memory.
pub(super) fn verdict(frames: &[&Vec<u8>], snapshot: &Snapshot, flows: &mut Flows) -> Verdict {
    let mut last = Verdict::Passed;
    for frame in frames {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend(*frame);
        let span = Span { start: HEADROOM, len: frame.len() };
        last = match Frame::new(&mut buffer, span) {
            Some(mut frame) => forward(&mut frame, snapshot, flows, NOW),
            None => Verdict::Dropped(DropReason::Truncated, None),
        };
    }
    last
}

/// Memory of a worker that tracks nothing but this flow, if that.
pub(super) fn flows(tracked: Option<(FlowHash, Cell)>) -> Flows {
    let mut flows = Flows::new(1, 600);
    if let Some((hash, cell)) = tracked {
        flows.tracked().insert(hash, cell, Sign::Connection, NOW);
    }
    flows
}
