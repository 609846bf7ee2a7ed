use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::forward::encap::Source;
use crate::wire::ethernet::MacAddress;
use crate::wire::{icmp, ipv4, ipv6};

const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
const ENDPOINT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
const ENDPOINT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0xa);
const OWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// An address of the entropy prefix 2001:db8:51b::/96.
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0x1234, 0x5678);

fn sources() -> Sources {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 0);
    Sources {
        v4: Some(Source { address: OWN_V4, entropy: Ipv4Addr::UNSPECIFIED }),
        v6: Some(Source { address: v6, entropy: Ipv6Addr::from_bits(0xffff_ffff) }),
    }
}

/// The first 28 bytes of an outer packet of 1500.
fn quote_v4(source: Ipv4Addr, protocol: u8) -> Vec<u8> {
    let mut header = ipv4::template(source, ENDPOINT_V4, 64, protocol);
    ipv4::fill(&mut header, 0, 0, 1500);
    [&header[..], &[0; 8]].concat()
}

fn quote_v6(source: Ipv6Addr, protocol: u8) -> Vec<u8> {
    let mut header = ipv6::template(source, ENDPOINT_V6, 64, protocol);
    ipv6::fill(&mut header, 0, 0, 1, 1460);
    [&header[..], &[0; 8]].concat()
}

fn message_v4(mtu: u16, quote: &[u8]) -> Vec<u8> {
    [&icmp::fragmentation_needed(mtu, quote)[..], quote].concat()
}

fn message_v6(mtu: u32, quote: &[u8]) -> Vec<u8> {
    message_v6_to(OWN_V6, mtu, quote)
}

fn message_v6_to(to: Ipv6Addr, mtu: u32, quote: &[u8]) -> Vec<u8> {
    [&icmp::packet_too_big(mtu, (ROUTER_V6, to), quote)[..], quote].concat()
}

fn read_v4(message: &[u8]) -> Option<u32> {
    let lowered = read(message, Family::V4, &sources())?;
    assert_eq!(lowered.endpoint, ENDPOINT_V4);
    Some(lowered.mtu)
}

fn read_v6(message: &[u8]) -> Option<u32> {
    let lowered = read(message, Family::V6, &sources())?;
    assert_eq!(lowered.endpoint, ENDPOINT_V6);
    Some(lowered.mtu)
}

fn frame(ethertype: u16, tag: Option<u16>, header: &[u8], message: &[u8]) -> Vec<u8> {
    let ethernet = Ethernet { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), tag, ethertype };
    let mut front = [0; 18];
    let len = ethernet.write(&mut front);
    [&front[..len], header, message].concat()
}

fn frame_v4(to: Ipv4Addr, tag: Option<u16>) -> Vec<u8> {
    let message = message_v4(1400, &quote_v4(OWN_V4, 47));
    let mut header = ipv4::template(ROUTER_V4, to, 64, protocol::ICMP);
    ipv4::fill(&mut header, 0, 0, (20 + message.len()) as u16);
    frame(ethertype::IPV4, tag, &header, &message)
}

fn frame_v6(to: Ipv6Addr, tag: Option<u16>) -> Vec<u8> {
    let message = message_v6_to(to, 1400, &quote_v6(OWN_V6, 47));
    let mut header = ipv6::template(ROUTER_V6, to, 64, protocol::ICMPV6);
    ipv6::fill(&mut header, 0, 0, 0, message.len() as u16);
    frame(ethertype::IPV6, tag, &header, &message)
}

#[test]
fn reads_what_a_router_says_of_a_tunnelled_packet() {
    for protocol in TUNNELS {
        assert_eq!(read_v4(&message_v4(1400, &quote_v4(OWN_V4, protocol))), Some(1400));
        assert_eq!(read_v6(&message_v6(1400, &quote_v6(OWN_V6, protocol))), Some(1400));
    }
    let with_code = [&[2, 9][..], &message_v6(1400, &quote_v6(OWN_V6, 47))[2..]].concat();
    assert_eq!(read_v6(&with_code), Some(1400), "receivers ignore the code");
}

#[test]
fn ignores_what_this_node_did_not_send_into_a_tunnel() {
    let other_v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 1, 0, 1);
    assert_eq!(read_v4(&message_v4(1400, &quote_v4(ROUTER_V4, 47))), None);
    assert_eq!(read_v6(&message_v6(1400, &quote_v6(other_v6, 47))), None);
    assert_eq!(read_v4(&message_v4(1400, &quote_v4(OWN_V4, protocol::TCP))), None, "the host's own");
    assert_eq!(read_v6(&message_v6(1400, &quote_v6(OWN_V6, protocol::TCP))), None, "the host's own");
    let nobody = Sources::default();
    assert_eq!(read(&message_v4(1400, &quote_v4(OWN_V4, 47)), Family::V4, &nobody), None);
    assert_eq!(read(&message_v6(1400, &quote_v6(OWN_V6, 47)), Family::V6, &nobody), None);
}

#[test]
fn ignores_other_messages_and_broken_ones() {
    let (v4, v6) = (message_v4(1400, &quote_v4(OWN_V4, 47)), message_v6(1400, &quote_v6(OWN_V6, 47)));
    for len in 0..8 + 40 {
        assert_eq!(read_v6(&v6[..len]), None, "{len} bytes");
        assert_eq!(read_v4(&v4[..len.min(27)]), None, "{len} bytes");
    }
    let mut host_unreachable = v4.clone();
    host_unreachable[1] = 1;
    host_unreachable[3] += 3;
    assert_eq!(read_v4(&host_unreachable), None);
    let mut damaged = v4;
    damaged[9] ^= 1;
    assert_eq!(read_v4(&damaged), None, "wrong checksum");
    let mut unreachable = v6.clone();
    unreachable[0] = 1;
    assert_eq!(read_v6(&unreachable), None);
    assert_eq!(read_v4(&v6), None);
    assert_eq!(read_v6(&message_v6(1400, &[0x45; 60])), None, "quotes another IP version");
    assert_eq!(read_v4(&message_v4(1400, &[0x65; 60])), None, "quotes another IP version");
}

#[test]
fn nobody_gets_below_the_least() {
    let (v4, v6) = (quote_v4(OWN_V4, 47), quote_v6(OWN_V6, 47));
    assert_eq!(read_v4(&message_v4(68, &v4)), Some(552));
    assert_eq!(read_v4(&message_v4(553, &v4)), Some(553));
    assert_eq!(read_v6(&message_v6(1279, &v6)), None, "to be discarded, says RFC 8201");
    assert_eq!(read_v6(&message_v6(1280, &v6)), Some(1280));
    assert_eq!(read_v6(&message_v6(u32::MAX, &v6)), Some(u32::MAX), "which lowers nothing");
}

#[test]
fn guesses_where_an_old_router_does_not_say() {
    for (sent, guess) in [(65535, 32000), (9000, 8166), (1500, 1492), (1492, 1006), (1006, 552), (300, 552)] {
        let mut header = ipv4::template(OWN_V4, ENDPOINT_V4, 64, 47);
        ipv4::fill(&mut header, 0, 0, sent);
        assert_eq!(read_v4(&message_v4(0, &header)), Some(guess), "{sent} bytes were too many");
    }
}

#[test]
fn reads_whole_frames_to_the_node() {
    for tag in [None, Some(7)] {
        assert_eq!(
            read_frame(&frame_v4(OWN_V4, tag), &sources()),
            Some(Lowered { endpoint: ENDPOINT_V4.into(), mtu: 1400 })
        );
        assert_eq!(
            read_frame(&frame_v6(OWN_V6, tag), &sources()),
            Some(Lowered { endpoint: ENDPOINT_V6.into(), mtu: 1400 })
        );
    }
    let padded = [frame_v4(OWN_V4, None), vec![0; 20]].concat();
    assert!(read_frame(&padded, &sources()).is_some());
}

#[test]
fn ignores_frames_that_are_broken_or_for_others() {
    assert_eq!(read_frame(&frame_v4(ENDPOINT_V4, None), &sources()), None);
    assert_eq!(read_frame(&frame_v6(ENDPOINT_V6, None), &sources()), None);
    for whole in [frame_v4(OWN_V4, None), frame_v6(OWN_V6, Some(7))] {
        for len in 0..whole.len() {
            assert_eq!(read_frame(&whole[..len], &sources()), None, "{len} bytes");
        }
    }
    let mut damaged = frame_v6(OWN_V6, None);
    *damaged.last_mut().expect("not empty") ^= 1;
    assert_eq!(read_frame(&damaged, &sources()), None, "wrong checksum");
    let mut fragment = frame_v4(OWN_V4, None);
    fragment[20] = 0x20;
    assert_eq!(read_frame(&fragment, &sources()), None, "more fragments");
}
