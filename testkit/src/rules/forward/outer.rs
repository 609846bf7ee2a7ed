//! What must hold of the frames that carry a packet to an endpoint.

use std::net::IpAddr;

use pointsman::snapshot::Tag;

use super::node::{Node, UNDERLAY_MTU, next_hop, path_mtu};
use super::packet::{Ip, Link, be16, be32};
use super::parts::assert_make_up;
use super::plan::{Endpoint, Service, Tunnel};

/// What routers choose a path by: outer source, IPv6 flow label, UDP source port. A flow has but one.
pub type Mark = (Option<IpAddr>, u32, u16);

/// One outer packet.
struct Outer<'a> {
    len: usize,
    mark: Mark,
    inner: Ip<'a>,
}

/// `frames` carry the packet `came`, which `link` brought, to `endpoint`.
pub fn assert_carried(
    node: &Node,
    link: &Link<'_>,
    came: &Ip<'_>,
    to: (&Service, &Endpoint),
    frames: &[&[u8]],
) -> Mark {
    // No sender of IPv6 can be told to send less than 1280 bytes.
    let is_smallest = came.v6 && came.bytes.len() <= 1280;
    let mtu = if is_smallest { UNDERLAY_MTU as usize } else { path_mtu(to.1.address) };
    let outers: Vec<Outer<'_>> = frames.iter().map(|frame| read(node, link, came, to, frame)).collect();
    for outer in &outers {
        assert!(outer.len <= mtu, "{} bytes leave, the MTU is {mtu}", outer.len);
        assert_eq!(outer.mark, outers[0].mark, "the parts of a packet take one path");
    }
    match &outers[..] {
        [outer] => assert_eq!(outer.inner.bytes, came.bytes, "the inner packet is not changed by one byte"),
        outers => {
            assert!(to.0.tunnel.overhead(to.1.address) + came.bytes.len() > mtu, "cut, though it would have fitted");
            let inner: Vec<Ip<'_>> = outers.iter().map(|outer| outer.inner).collect();
            assert_make_up(&inner, came);
        }
    }
    outers[0].mark
}

fn read<'a>(node: &Node, link: &Link<'_>, came: &Ip<'_>, to: (&Service, &Endpoint), frame: &'a [u8]) -> Outer<'a> {
    let (tunnel, endpoint) = (to.0.tunnel, to.1.address);
    let outer = Link::read(frame).expect("an Ethernet header");
    assert_next_hop(&outer, link, endpoint);
    let (ip, carried) = match Ip::read(outer.ethertype, outer.rest) {
        Some(ip) => {
            assert_eq!(ip.bytes.len(), outer.rest.len(), "nothing lies behind the outer packet");
            assert_header(node, &ip, endpoint);
            assert_eq!(ip.class, came.class, "DSCP and ECN are copied");
            (Some(ip), ip.payload)
        }
        None => {
            assert_eq!(outer.ethertype, 0x8847, "MPLS on the link");
            (None, outer.rest)
        }
    };
    let (v6, tunnel_len) = assert_tunnel(node, ip.as_ref(), carried, came, tunnel);
    assert_eq!(v6, came.v6);
    let carried = &carried[tunnel_len..];
    let inner = Ip::read(if v6 { 0x86dd } else { 0x0800 }, carried).expect("a whole inner IP packet");
    assert_eq!(inner.bytes.len(), carried.len(), "nothing lies behind the inner packet");
    assert_eq!(outer.rest.len() - inner.bytes.len(), tunnel.overhead(endpoint));
    let port =
        if let Tunnel::Gue { .. } = tunnel { be16(outer.rest, outer.rest.len() - carried.len() - 12) } else { 0 };
    let mark = (ip.map(|ip| ip.source), ip.map_or(0, |ip| ip.flow_label), port);
    Outer { len: outer.rest.len(), mark, inner }
}

fn assert_next_hop(outer: &Link<'_>, came: &Link<'_>, endpoint: IpAddr) {
    let hop = next_hop(endpoint).expect("nothing leaves for an endpoint that cannot be reached");
    let tag = match hop.tag {
        Tag::None => None,
        Tag::Fixed(tag) => Some(tag),
        Tag::AsReceived => came.tag,
    };
    assert_eq!((outer.destination, outer.source, outer.tag), (&hop.destination.0[..], &hop.source.0[..], tag));
}

fn assert_header(node: &Node, ip: &Ip<'_>, endpoint: IpAddr) {
    let settings = &node.snapshot.settings;
    assert_eq!(ip.destination, endpoint, "the outer destination is the endpoint");
    assert_eq!(ip.ttl, settings.hop_limit);
    match (ip.source, settings.sources.v4, settings.sources.v6) {
        (IpAddr::V4(source), Some(ours), _) => {
            assert_eq!(source & !ours.entropy, ours.address);
            assert_eq!(ip.header.len(), 20, "no options");
            assert!(ip.header_is_right(), "the outer header's checksum");
            assert_eq!(be16(ip.header, 4), 0, "the identification");
            assert_eq!(be16(ip.header, 6), 0x4000, "DF, and no fragment");
        }
        (IpAddr::V6(source), _, Some(ours)) => {
            assert_eq!(source & !ours.entropy, ours.address);
            assert_ne!(ip.flow_label, 0);
        }
        _ => panic!("an outer source that the config does not name: {}", ip.source),
    }
}

/// Looks at the headers at the start of `bytes`, which lie between the outer IP header, if there is one, and the inner
/// packet. Answers whether they announce IPv6, and their length.
fn assert_tunnel(node: &Node, ip: Option<&Ip<'_>>, bytes: &[u8], came: &Ip<'_>, tunnel: Tunnel) -> (bool, usize) {
    let protocol = ip.map(|ip| ip.protocol);
    match (tunnel, ip) {
        (Tunnel::Gre { key }, _) => {
            assert_eq!(
                (protocol, be16(bytes, 0)),
                (Some(47), if key.is_some() { 0x2000 } else { 0 }),
                "flags, version"
            );
            assert!(key.is_none_or(|key| key == be32(bytes, 4)), "the key");
            (is_v6(be16(bytes, 2), [0x0800, 0x86dd]), if key.is_some() { 8 } else { 4 })
        }
        (Tunnel::Ipip, _) => (is_v6(protocol.expect("an outer IP header").into(), [4, 41]), 0),
        (Tunnel::Gue { port, checksum }, Some(ip)) => {
            assert_eq!((ip.protocol, be16(bytes, 2), usize::from(be16(bytes, 4))), (17, port, bytes.len()));
            assert!(be16(bytes, 0) >= 0xc000, "the source port is an ephemeral one");
            match checksum.unwrap_or(ip.v6) {
                true => assert!(be16(bytes, 6) != 0 && ip.segment_is_right(17, bytes), "the UDP checksum"),
                false => assert_eq!(be16(bytes, 6), 0, "no UDP checksum"),
            }
            assert_eq!((bytes[8], be16(bytes, 10)), (0, 0), "variant, length and flags of GUE");
            (is_v6(bytes[9].into(), [4, 41]), 12)
        }
        (Tunnel::Mpls { label, over_gre }, _) => {
            let at = if over_gre { 4 } else { 0 };
            assert_eq!(protocol, over_gre.then_some(47));
            assert!(!over_gre || be32(bytes, 0) == 0x8847, "GRE that carries MPLS");
            let entry = be32(bytes, at);
            let null = if came.v6 { 2 } else { 0 };
            assert_eq!(entry >> 12, label.unwrap_or(null), "the label");
            assert_eq!(entry >> 9 & 7, u32::from(came.class >> 5), "the traffic class");
            assert_eq!(entry & 0x1ff, 0x100 | u32::from(node.snapshot.settings.hop_limit), "bottom of stack, TTL");
            (came.v6, at + 4)
        }
        (Tunnel::Gue { .. }, None) => panic!("GUE without an outer IP header"),
    }
}

/// Which of two numbers, for IPv4 and IPv6, this is.
fn is_v6(number: u16, numbers: [u16; 2]) -> bool {
    assert!(numbers.contains(&number), "{number:#x} is no IP");
    number == numbers[1]
}
