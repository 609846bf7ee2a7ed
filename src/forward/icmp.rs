//! Answers that the node itself gives for a VIP.

use super::parse::{Family, Packet};
use super::verdict::DropReason;
use crate::flow::address_bits;
use crate::frame::Frame;
use crate::wire::checksum::Sum;
use crate::wire::l4::protocol;
use crate::wire::{ethernet, icmp};

/// Turns the echo request in `frame` into its reply (RFC 792, RFC 4443 section 4.2), from the VIP to the client by the
/// way it came.
pub fn answer_echo(frame: &mut Frame<'_>, packet: &Packet, hop_limit: u8) -> Result<(), DropReason> {
    if !can_be_answered(packet.flow.source) {
        return Err(DropReason::BadSource);
    }
    let ip_at = packet.ethernet.header_len();
    frame.truncate(ip_at + packet.total_len);
    let bytes = frame.bytes_mut();
    ethernet::swap_addresses(bytes);
    let (ip, message) = bytes[ip_at..].split_at_mut(packet.header_len);
    let icmp_protocol = match packet.family {
        Family::V4 => {
            crate::wire::ipv4::turn_round(ip, hop_limit);
            protocol::ICMP
        }
        Family::V6 => {
            crate::wire::ipv6::turn_round(ip, hop_limit);
            protocol::ICMPV6
        }
    };
    retype(message, icmp::echo_reply_type(icmp_protocol));
    Ok(())
}

/// Gives a message another type and mends its checksum (RFC 1624); the addresses of a pseudo-header have changed
/// places only, which leaves their sum alone.
fn retype(message: &mut [u8], new: u8) {
    let old = u16::from_be_bytes([message[0], message[1]]);
    let sum = u16::from_be_bytes([message[2], message[3]]);
    message[0] = new;
    let checksum = Sum::default().add_word(!sum).add_word(!old).add_bytes(&message[0..2]).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

/// Whether an address can be that of one sender: not unspecified, not multicast, not the limited broadcast address.
fn can_be_answered(source: u128) -> bool {
    let v4 = |octets: [u8; 4]| address_bits(std::net::IpAddr::from(octets));
    let multicast_v6 = source >> 120 == 0xff;
    let multicast_v4 = (v4([224, 0, 0, 0])..=v4([239, 255, 255, 255])).contains(&source);
    let unspecified = source == 0 || source == v4([0; 4]);
    !(multicast_v6 || multicast_v4 || unspecified || source == v4([255; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_sender_is_answered() {
        let answered = |text: &str| can_be_answered(address_bits(text.parse().expect("an address")));
        for sender in ["198.51.100.7", "2001:db8::1", "223.255.255.255", "240.0.0.1"] {
            assert!(answered(sender), "{sender}");
        }
        for nobody in ["0.0.0.0", "::", "224.0.0.1", "239.1.2.3", "255.255.255.255", "ff02::1"] {
            assert!(!answered(nobody), "{nobody}");
        }
    }
}
