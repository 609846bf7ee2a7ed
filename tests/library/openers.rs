//! Which packets open a flow: while an endpoint drains, none of them may go there.

use serde_json::json;

use crate::handover::{FLOWS, Play, endpoint, in_state};

/// A whole IPv4 packet of this protocol from a client of its own.
fn packet(protocol: u8, flow: u16, upper: &[u8]) -> Vec<u8> {
    let [high, low] = flow.to_be_bytes();
    let [long, short] = (20 + upper.len() as u16).to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, long, short, 0, 0, 0x40, 0, 64];
    frame.extend([protocol, 0, 0, 198, 51, high, low, 203, 0, 113, 53]);
    frame.extend(upper);
    frame
}

fn datagram(flow: u16, first: u8, version: u32, len: u16) -> Vec<u8> {
    let mut upper = vec![0x80, 1, 1, 187];
    upper.extend((8 + len).to_be_bytes());
    upper.extend([0, 0, first]);
    upper.extend(version.to_be_bytes());
    // Connection IDs of eight bytes and of none.
    upper.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    upper.resize(8 + usize::from(len), 0);
    packet(17, flow, &upper)
}

fn sctp(flow: u16, tag: u8, chunk: u8) -> Vec<u8> {
    packet(
        132,
        flow,
        &[0x80, 1, 0, 80, 0, 0, 0, tag, 1, 2, 3, 4, chunk, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1],
    )
}

fn dccp(flow: u16, kind: u8) -> Vec<u8> {
    packet(33, flow, &[0x80, 1, 0, 80, 5, 0, 0, 0, kind << 1 | 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
}

fn segment(flow: u16, flags: u8) -> Vec<u8> {
    packet(6, flow, &[0x80, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0])
}

/// How many of 400 such packets of different flows go to an endpoint that drains, of two.
fn to_draining(make: impl Fn(u16) -> Vec<u8>) -> usize {
    let set = |endpoints: &[serde_json::Value]| json!({ "services": [{ "name": "s", "vip": "203.0.113.53", "endpoints": endpoints }] });
    let mut play = Play::new(set(&[endpoint("a"), endpoint("b")]));
    play.apply(1, set(&[in_state("a", "draining"), endpoint("b")]));
    play.frame(0, segment(1, 0x10));
    (0..FLOWS).for_each(|flow| play.frame(2, make(flow)));
    let (endpoints, _) = play.run();
    assert!(endpoints.iter().all(|name| name != "none"));
    endpoints.iter().skip(1).filter(|name| *name == "a").count()
}

#[test]
fn quic_of_any_version_opens_a_connection_by_its_invariants() {
    for (what, first, version) in [
        ("version 1", 0xc3, 1),
        ("version 2", 0xd3, 0x6b33_43cf),
        ("draft 29", 0xc3, 0xff00_001d),
        ("mvfst", 0xc3, 0xface_b002),
        ("a version that nobody has", 0xc3, 0x1a2a_3a4a),
        ("version 1 with a greased fixed bit", 0x83, 1),
        ("version 2 with a greased fixed bit", 0x93, 0x6b33_43cf),
        ("an unknown version's other type", 0xe3, 0xbabb_a1ea),
    ] {
        assert_eq!(to_draining(|flow| datagram(flow, first, version, 1_200)), 0, "{what}");
    }
}

#[test]
fn later_packets_of_quic_belong_to_older_connections() {
    for (what, first, version, len) in [
        ("a short header", 0x43, 1, 1_200),
        ("Handshake", 0xe3, 1, 1_200),
        ("0-RTT", 0xd3, 1, 1_200),
        ("Retry of version 2", 0xc3, 0x6b33_43cf, 1_200),
        ("Handshake of draft 29", 0xe3, 0xff00_001d, 1_200),
        ("version negotiation", 0xc3, 0, 1_200),
        ("too short for a first packet", 0xc3, 0xface_b002, 1_199),
    ] {
        let kept = to_draining(|flow| datagram(flow, first, version, len));
        assert!(kept > 100, "{what}: {kept} of 400 stay");
    }
}

#[test]
fn sctp_and_dccp_open_by_init_and_request() {
    assert_eq!((to_draining(|flow| sctp(flow, 0, 1)), to_draining(|flow| dccp(flow, 0))), (0, 0));
    for kept in [
        to_draining(|flow| sctp(flow, 7, 0)),
        to_draining(|flow| sctp(flow, 7, 1)),
        to_draining(|flow| sctp(flow, 7, 10)),
        to_draining(|flow| dccp(flow, 2)),
    ] {
        assert!(kept > 100, "{kept} of 400 stay");
    }
}

#[test]
fn a_syn_opens_whatever_else_it_says_but_not_with_an_end_or_an_answer() {
    for flags in [0x02, 0xc2, 0x0a, 0x22, 0x42] {
        assert_eq!(to_draining(|flow| segment(flow, flags)), 0, "{flags:#x}");
    }
    for flags in [0x12, 0x10, 0x00, 0x03, 0x06] {
        assert!(to_draining(|flow| segment(flow, flags)) > 100, "{flags:#x}");
    }
}
