//! Reading the messages that speak of a smaller MTU.

use std::net::IpAddr;

use crate::forward::encap::Sources;
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{Ethernet, ethertype};
use crate::wire::icmp::HEADER_LEN;
use crate::wire::l4::protocol;
use crate::wire::{Family, IpHeader};

/// Type and code of "fragmentation needed and DF set" (RFC 792).
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// The type of Packet Too Big (RFC 4443 section 3.2); its code means nothing.
const PACKET_TOO_BIG: u8 = 2;

/// The protocols that outer headers name. All else that left by the same address is the host's own.
const TUNNELS: [u8; 4] = [protocol::IPV4, protocol::IPV6, protocol::GRE, protocol::UDP];

/// No message lowers an IPv4 path below this, in bytes. Linux has the same bound: whoever can make up a message could
/// otherwise have every packet cut to crumbs.
const LEAST_V4: u32 = 552;
/// A message that speaks of less is not believed (RFC 8201 section 4).
const LEAST_V6: u32 = 1280;

/// The MTUs that links had when routers did not yet tell theirs (RFC 1191 section 7.1), above [`LEAST_V4`].
const PLATEAUS: [u16; 8] = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006];

/// What a router says of the way to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// Where the outer packet was to go; not yet known to be an endpoint.
    pub endpoint: IpAddr,
    /// The longest outer IP packet that gets there, in bytes.
    pub mtu: u32,
}

/// What an ICMP or ICMPv6 message, from its type on, says of a packet that this node sent into a tunnel; `None` where
/// it speaks of anything else, or is broken. The ICMPv6 checksum is not looked at: the kernel has done so.
pub fn read(message: &[u8], family: Family, sources: &Sources) -> Option<Lowered> {
    let (fixed, quote) = message.split_first_chunk::<HEADER_LEN>()?;
    let quoted = family.read_quoted(quote).ok()?;
    if !sources.hold(quoted.source) || !TUNNELS.contains(&quoted.protocol) {
        return None;
    }
    let mtu = match family {
        Family::V4 if fixed[..2] == FRAGMENTATION_NEEDED && Sum::default().add_bytes(message).finish() == 0 => {
            let said = match u16::from_be_bytes([fixed[6], fixed[7]]) {
                0 => plateau_below(quoted.total_len),
                said => said,
            };
            u32::from(said).max(LEAST_V4)
        }
        Family::V6 if fixed[0] == PACKET_TOO_BIG => {
            let said = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
            Some(said).filter(|said| *said >= LEAST_V6)?
        }
        _ => return None,
    };
    Some(Lowered { endpoint: family.destination(quote)?, mtu })
}

/// The same for a whole Ethernet frame; `None` also where it is not for one of the node's own outer addresses.
pub fn read_frame(frame: &[u8], sources: &Sources) -> Option<Lowered> {
    let ethernet = Ethernet::read(frame).ok()?;
    let packet = frame.get(ethernet.header_len()..)?;
    let family = match ethernet.ethertype {
        ethertype::IPV4 => Family::V4,
        ethertype::IPV6 => Family::V6,
        _ => return None,
    };
    let (header, destination) = (family.read(packet).ok()?, family.destination(packet)?);
    let message = packet.get(header.header_len..header.total_len)?;
    let whole = family == Family::V4 || icmpv6_sum(&header, destination, message) == 0;
    if header.protocol != family.icmp() || !whole || header.fragment.is_some() || !sources.hold(destination) {
        return None;
    }
    read(message, family, sources)
}

/// The checksum over pseudo-header (RFC 8200 section 8.1) and message: 0 where the message has its own right.
fn icmpv6_sum(header: &IpHeader, destination: IpAddr, message: &[u8]) -> u16 {
    let mut sum = Sum::default().add_bytes(message).add_word(protocol::ICMPV6.into());
    for address in [header.source, destination] {
        if let IpAddr::V6(address) = address {
            sum = sum.add_bytes(&address.octets());
        }
    }
    // A payload length has 16 bits, so the upper half of its 32-bit field is 0.
    sum.add_word(message.len() as u16).finish()
}

/// The next MTU to try for a packet that was too big, where the router does not say (RFC 1191 section 5).
fn plateau_below(total_len: usize) -> u16 {
    PLATEAUS.into_iter().find(|&plateau| usize::from(plateau) < total_len).unwrap_or(LEAST_V4 as u16)
}

#[cfg(test)]
mod tests;
