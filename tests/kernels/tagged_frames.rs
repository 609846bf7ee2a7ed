//! 802.1Q tags of clients: with a static next hop a frame leaves with the tag that it came with, and an answer goes back
//! with it. The client, and the next hop, is a tap device, since not every kernel has VLAN devices. Needs root.

use serde_json::json;
use testkit::{Driver, Edge, Tap, Topology, on_every_driver};

/// The tap's side of the link: client and next hop.
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];
const OWN_MAC_TEXT: &str = "02:00:00:00:00:aa";
const VIP: [u8; 4] = [203, 0, 113, 10];
const ENDPOINT: &str = "2001:db8:10::a";
/// Priority 3, VLAN 7.
const TAG: [u8; 4] = [0x81, 0, 0x60, 7];

on_every_driver!(frames_leave_with_the_tag_they_came_with);

fn frames_leave_with_the_tag_they_came_with(driver: Driver, queues: u32) {
    let topology = Topology::new(queues);
    topology.show_tags("edge", &topology.edge);
    let mut tap = Tap::new(topology.fabric());
    let mac = topology.edge.run(&["cat", "/sys/class/net/eth0/address"]);
    let mac: Vec<u8> = mac.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect();
    let edge = Edge::builder(&topology.edge, driver).underlay(&format!("next_hop = \"{OWN_MAC_TEXT}\"")).start();
    edge.apply(json!([{ "name": "web", "vip": "203.0.113.10", "protocol": "tcp", "ports": [80],
        "endpoints": [{ "name": "a", "address": ENDPOINT }] }]));
    for tag in [&TAG[..], &[]] {
        let packet = ipv4(6, &syn());
        tap.send(&frame(&mac, tag, &packet));
        let outer = tap.receive(|frame| frame.starts_with(&OWN_MAC) && frame.ends_with(&packet));
        assert_eq!(outer[6..12], mac[..], "from the interface");
        assert_eq!(outer[12..12 + tag.len()], *tag);
        assert_eq!(outer[12 + tag.len()..][..2], [0x86, 0xdd]);
        assert_eq!(outer.len(), 14 + tag.len() + 44 + packet.len());

        tap.send(&frame(&mac, tag, &ipv4(1, &[8, 0, 0xf7, 0xfd, 0, 1, 0, 1])));
        let reply =
            tap.receive(|frame| frame.starts_with(&OWN_MAC) && frame.ends_with(&[0, 0, 0xff, 0xfd, 0, 1, 0, 1]));
        assert_eq!(reply[12..12 + tag.len()], *tag);
        assert_eq!(reply[12 + tag.len()..][..2], [8, 0]);
    }
    edge.metrics().assert_balanced();
}

fn frame(to: &[u8], tag: &[u8], packet: &[u8]) -> Vec<u8> {
    [to, &OWN_MAC, tag, &[8, 0], packet].concat()
}

/// From 198.18.0.7 to the VIP.
fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 1, 0x40, 0, 64, protocol, 0, 0, 198, 18, 0, 7];
    packet.extend(VIP);
    let sum: u32 = packet.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// To port 80.
fn syn() -> [u8; 20] {
    let mut segment = [0; 20];
    segment[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    (segment[12], segment[13]) = (0x50, 2);
    segment
}
