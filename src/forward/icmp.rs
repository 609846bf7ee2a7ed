//! Answers that the node itself gives for a VIP: to pings, and to packets that are too big.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::parse::Packet;
use super::verdict::DropReason;
use crate::frame::Frame;
use crate::snapshot::Settings;
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::{Family, icmp, ipv4, ipv6};

/// The smallest MTU of IPv4, in bytes: what every link carries uncut (RFC 791 section 3.2), so that nobody is told a smaller
/// one. Tunnels with less room than this, or than [`SMALLEST_IPV6_MTU`] for IPv6 inside, are of no use.
const SMALLEST_IPV4_MTU: usize = 68;
/// The smallest MTU of IPv6 (RFC 8200 section 5): nobody may be told a smaller one (RFC 8201 section 4), and errors are
/// no longer (RFC 4443 section 2.4 c).
pub const SMALLEST_IPV6_MTU: usize = 1280;
/// How long an ICMP error is at most (RFC 1812 section 4.3.2.3).
const LONGEST_ICMP_ERROR: usize = 576;
/// So much is quoted at least behind the IP header, in bytes (RFC 792).
const LEAST_QUOTED: usize = 8;
/// Precedence "internetwork control" (RFC 1812 section 4.3.2.5).
const CONTROL: u8 = 0xc0;

/// The smallest MTU of a family, in bytes.
pub fn smallest_mtu(family: Family) -> usize {
    match family {
        Family::V4 => SMALLEST_IPV4_MTU,
        Family::V6 => SMALLEST_IPV6_MTU,
    }
}

/// Ethernet with a tag, IPv6, ICMP.
const LONGEST: usize = ethernet::HEADER_LEN + ethernet::TAG_LEN + ipv6::HEADER_LEN + icmp::HEADER_LEN;

/// The headers of an answer, as far as they are written.
struct Headers {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Headers {
    /// Ethernet's: back to where the packet came from, by the same VLAN. It leaves from the interface's own address, whomever
    /// the frame was for: a switch that floods, or an interface in promiscuous mode, brings other stations' frames, and theirs
    /// are no addresses to send from.
    fn back(packet: &Packet, settings: &Settings) -> Self {
        let mut headers = Self { bytes: [0; LONGEST], len: 0 };
        let Ethernet { source, tag, ethertype, .. } = packet.ethernet;
        headers.len = Ethernet { destination: source, source: settings.mac, tag, ethertype }.write(&mut headers.bytes);
        headers
    }

    fn add(&mut self, header: &[u8]) {
        self.bytes[self.len..self.len + header.len()].copy_from_slice(header);
        self.len += header.len();
    }

    /// Puts them in the place of the frame's first `strip` bytes.
    fn put_in_place_of(&self, strip: usize, frame: &mut Frame<'_>) -> Result<(), DropReason> {
        if frame.replace_front(strip, &self.bytes[..self.len]) { Ok(()) } else { Err(DropReason::NoHeadroom) }
    }
}

/// Turns the echo request in `frame` into its reply (RFC 792, RFC 4443 section 4.2), from the VIP to the client by the
/// way it came. IPv4 options and extension headers were for the way here and are left out. Of a reply that is longer than the
/// underlay's MTU as much leaves as that holds (RFC 1122 section 3.2.2.6, RFC 4443 section 4.2).
pub fn answer_echo(frame: &mut Frame<'_>, packet: &Packet, settings: &Settings) -> Result<(), DropReason> {
    let (ip_at, protocol, hop_limit) = (packet.ethernet.header_len(), packet.family.icmp(), settings.hop_limit);
    let message_at = ip_at + packet.header_len;
    frame.truncate(ip_at + packet.total_len);
    check(frame, packet)?;
    check_destination(&frame.bytes()[ip_at..message_at], packet.family)?;
    let longest = room_behind(ip_header_len(packet.family), settings)?;
    if packet.total_len - packet.header_len > longest {
        icmp::mend_for_cut(protocol, &mut frame.bytes_mut()[message_at..], longest);
        frame.truncate(message_at + longest);
    }
    let (question, message) = frame.bytes_mut()[ip_at..].split_at_mut(packet.header_len);
    icmp::turn_to_reply(protocol, message);
    let mut headers = Headers::back(packet, settings);
    match packet.family {
        Family::V4 => {
            let total_len = ipv4::HEADER_LEN + message.len();
            headers.add(&ipv4::turned_round(question, hop_limit, total_len as u16));
        }
        Family::V6 => {
            headers.add(&ipv6::turned_round(question, hop_limit, protocol, message.len() as u16));
        }
    }
    headers.put_in_place_of(message_at, frame)
}

/// Length of an answer's IP header, in bytes.
fn ip_header_len(family: Family) -> usize {
    match family {
        Family::V4 => ipv4::HEADER_LEN,
        Family::V6 => ipv6::HEADER_LEN,
    }
}

/// How long an ICMP message of the node's own can be behind an IP header, in bytes: no answer is larger than the underlay's
/// MTU.
fn room_behind(ip_header: usize, settings: &Settings) -> Result<usize, DropReason> {
    let room = (settings.underlay_mtu as usize).checked_sub(ip_header);
    room.filter(|room| *room >= icmp::HEADER_LEN).ok_or(DropReason::TooBig)
}

/// Turns the packet in `frame` into the answer that it is too big, from the VIP to the client by the way it came:
/// fragmentation needed (RFC 792, RFC 1191 section 4) or Packet Too Big (RFC 4443 section 3.2). `mtu` in bytes. It quotes as
/// much as the RFCs and the underlay's MTU allow, and is not given where that is less than what shows the flow (RFC 792).
pub fn answer_too_big(
    frame: &mut Frame<'_>,
    packet: &Packet,
    mtu: usize,
    settings: &Settings,
) -> Result<(), DropReason> {
    let (ip_at, hop_limit) = (packet.ethernet.header_len(), settings.hop_limit);
    check(frame, packet)?;
    let (vip, client) = (packet.flow.destination, packet.flow.source);
    let before = ip_header_len(packet.family) + icmp::HEADER_LEN;
    let longest = match packet.family {
        Family::V4 => LONGEST_ICMP_ERROR,
        Family::V6 => SMALLEST_IPV6_MTU,
    };
    let room = room_behind(before, settings)?.min(longest - before);
    let quote_len = packet.total_len.min(room);
    if quote_len < packet.total_len.min(packet.header_len + LEAST_QUOTED) {
        return Err(DropReason::TooBig);
    }
    frame.truncate(ip_at + quote_len);
    let mut headers = Headers::back(packet, settings);
    match packet.family {
        Family::V4 => {
            let (vip, client) = (Ipv4Addr::from(vip as u32), Ipv4Addr::from(client as u32));
            let mut ip = ipv4::template(vip, client, hop_limit, packet.family.icmp());
            ipv4::fill(&mut ip, 0, CONTROL, (before + quote_len) as u16);
            headers.add(&ip);
            headers.add(&icmp::fragmentation_needed(mtu as u16, &frame.bytes()[ip_at..]));
        }
        Family::V6 => {
            let (vip, client) = (Ipv6Addr::from(vip), Ipv6Addr::from(client));
            let mut ip = ipv6::template(vip, client, hop_limit, packet.family.icmp());
            ipv6::fill(&mut ip, 0, 0, 0, (icmp::HEADER_LEN + quote_len) as u16);
            headers.add(&ip);
            headers.add(&icmp::packet_too_big(mtu as u32, (vip, client), &frame.bytes()[ip_at..]));
        }
    }
    headers.put_in_place_of(ip_at, frame)
}

/// Refuses what this node is not the final destination of, or what a final destination has to discard.
fn check_destination(header: &[u8], family: Family) -> Result<(), DropReason> {
    let (is_routed_on, has_unknown_option) = match family {
        Family::V4 => (ipv4::is_routed_on(header), false),
        Family::V6 => (ipv6::is_routed_on(header), ipv6::has_unknown_option(header)),
    };
    match (is_routed_on, has_unknown_option) {
        (true, _) => Err(DropReason::SourceRouted),
        (_, true) => Err(DropReason::UnknownOption),
        _ => Ok(()),
    }
}

/// Refuses an IPv4 header that was broken on its way: the answer would go to whatever address is in it now.
fn check(frame: &Frame<'_>, packet: &Packet) -> Result<(), DropReason> {
    let header = &frame.bytes()[packet.ethernet.header_len()..][..packet.header_len];
    let whole = packet.family == Family::V6 || ipv4::has_right_checksum(header);
    if whole { Ok(()) } else { Err(DropReason::Malformed) }
}

/// Whether a packet may be answered by an error: not another error, and of IPv4 no later fragment (RFC 1122 section 3.2.2, RFC
/// 4443 section 2.4 e). What no single sender can have sent has been dropped before.
pub fn can_be_answered_by_error(packet: &Packet) -> bool {
    use icmp::Kind::{Error, NeighbourDiscovery, OtherError};
    // A redirect of IPv6 is one of neighbour discovery.
    let is_error = matches!(packet.icmp, Some(Error | OtherError | NeighbourDiscovery));
    let is_later_part = packet.family == Family::V4 && packet.is_later_fragment();
    !is_error && !is_later_part
}
