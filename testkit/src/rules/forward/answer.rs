//! What must hold of the node's own answers.

use super::node::{OWN_MAC, path_mtu};
use super::packet::{Ip, Link, be16, be32};
use super::plan::Service;

/// `frame` answers the packet `asked`, which `link` brought.
pub fn assert_answer(service: &Service, link: &Link<'_>, asked: &Ip<'_>, frame: &[u8]) {
    let back = Link::read(frame).expect("an Ethernet header");
    assert_eq!((back.destination, back.source, back.tag), (link.source, &OWN_MAC[..], link.tag), "from the interface");
    assert_eq!(back.ethertype, link.ethertype);
    assert!(!asked.source.is_multicast() && !asked.source.is_unspecified(), "{} is nobody's", asked.source);
    let answer = Ip::read(back.ethertype, back.rest).expect("a whole IP packet");
    assert_eq!(answer.bytes.len(), back.rest.len(), "nothing lies behind the answer");
    assert_eq!((answer.source, answer.destination), (asked.destination, asked.source), "from the VIP to the sender");
    assert!(answer.header_is_right(), "the answer's header checksum");
    assert_eq!(answer.header.len(), if answer.v6 { 40 } else { 20 }, "no options");
    assert!(answer.ttl > 0);
    let (protocol, echo_reply) = if answer.v6 { (58, 129) } else { (1, 0) };
    assert_eq!(answer.protocol, protocol);
    if answer.payload[0] == echo_reply {
        assert_echo(asked, &answer);
    } else {
        assert!(answer.segment_is_right(protocol, answer.payload), "the error's checksum");
        assert_error(service, asked, &answer);
    }
}

/// The same message with another type; its checksum is right where the request's was.
fn assert_echo(asked: &Ip<'_>, answer: &Ip<'_>) {
    let (request, reply) = (asked.icmp().expect("only an echo request has a reply"), answer.payload);
    assert_eq!(request[..2], [if asked.v6 { 128 } else { 8 }, 0], "an echo request");
    assert_eq!((reply[1], &reply[4..]), (0, &request[4..]), "code, identifier, number and data come back");
    if asked.segment_is_right(answer.protocol, request) {
        assert!(
            answer.segment_is_right(answer.protocol, reply),
            "the reply's checksum: {reply:02x?} to {request:02x?}"
        );
    }
}

/// Too big: says how much would have fitted, and quotes the packet.
fn assert_error(service: &Service, asked: &Ip<'_>, answer: &Ip<'_>) {
    let (message, quoted) = answer.payload.split_at(8);
    // What every host takes: RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 c.
    let (kind, mtu, longest, smallest_mtu) = match asked.v6 {
        true => ([2, 0], be32(message, 4), 1280, 1280),
        false => ([3, 4], be16(message, 6).into(), 576, 68),
    };
    assert_eq!(message[..2], kind, "too big is the only error there is");
    assert!(asked.dont_fragment, "it could have been cut");
    assert!(asked.bytes.len() > mtu as usize, "it would have fitted");
    let room = |address| path_mtu(address).saturating_sub(service.tunnel.overhead(address));
    let rooms = service.endpoints.iter().map(|endpoint| room(endpoint.address).max(smallest_mtu));
    assert!(rooms.into_iter().any(|room| room == mtu as usize), "an MTU of {mtu} is no endpoint's");
    assert_eq!(quoted, &asked.bytes[..quoted.len()], "the packet is quoted");
    assert_eq!(
        answer.bytes.len(),
        longest.min(answer.header.len() + 8 + asked.bytes.len()),
        "as much as fits is quoted"
    );
    assert!(asked.v6 || asked.offset == 0, "later fragments are not answered");
    assert!(!asked.is_icmp_error(), "an error is not answered by an error");
}
