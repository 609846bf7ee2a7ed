//! How many services there are makes no difference to a packet: what is looked up is a hash table. Measured as a ratio
//! of two times in one run, each the best of many rounds that take turns, since the machine has other things to do.

use std::time::{Duration, Instant};

use pointsman::control::update::Builder;
use pointsman::endpoint_set;
use pointsman::flow::Seed;
use pointsman::forward::encap::{Source, Sources};
use pointsman::forward::verdict::Verdict;
use pointsman::forward::{Flows, forward};
use pointsman::frame::{Frame, Span};
use pointsman::io::HEADROOM;
use pointsman::moment::{Moment, Now};
use pointsman::snapshot::{Dscp, NextHop, Settings, Snapshot, Tag};
use pointsman::wire::ethernet::MacAddress;
use serde_json::json;

/// Services that packets go to, in both cases.
const USED: u32 = 10;
const FLOWS: u32 = 64;
const ROUNDS: usize = 400;
/// The same work on the same cache lines should take the same time; a scan of the services would take hundreds.
const MOST: f64 = 1.5;

/// A node with so many services of ten endpoints, each with a VIP, a port and clients of its own.
fn node(services: u32) -> Snapshot {
    let endpoint = |n: u32| json!({ "name": format!("e{n}"), "address": format!("2001:db8:10::{n:x}") });
    let endpoints: Vec<_> = (1..=10).map(endpoint).collect();
    let service = |n: u32| {
        json!({ "name": format!("s{n:05}"), "vip": vip(n).map(|byte| byte.to_string()).join("."), "protocol": "tcp",
                "ports": [80], "allow": ["198.18.0.0/15", "2001:db8::/32"], "endpoints": endpoints })
    };
    let set = json!({ "services": (0..services).map(service).collect::<Vec<_>>() });
    let v6 = Source { address: "2001:db8:51b::1".parse().expect("v6"), entropy: 0.into() };
    let sources = Sources { v4: None, v6: Some(v6) };
    let settings = Settings {
        seed: Seed([7; 16]),
        dscp: Dscp::Copy,
        underlay_mtu: 1500,
        hop_limit: 64,
        mac: MacAddress::default(),
        sources,
    };
    let mut builder = Builder::new(settings, 600, 1);
    builder.update(&endpoint_set::read(&set.into()).expect("valid"), (0, 0), Now::at(0));
    let hop = NextHop { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), tag: Tag::None };
    builder.resolve(|_| Some(hop));
    builder.snapshot()
}

fn vip(service: u32) -> [u8; 4] {
    let [_, _, high, low] = service.to_be_bytes();
    [203, 0, high, low]
}

/// A SYN of some client to some service.
fn syn(service: u32, flow: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, flow as u8]);
    frame.extend(vip(service));
    frame.extend([0x80, flow as u8, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    frame
}

/// How long the frames take, each put in its place anew.
fn time(snapshot: &Snapshot, frames: &[Vec<u8>], flows: &mut Flows) -> Duration {
    let mut buffer = [0; 512];
    let start = Instant::now();
    for bytes in frames {
        let span = Span { start: HEADROOM, len: bytes.len() };
        buffer[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut frame = Frame::new(&mut buffer, span).expect("inside");
        let verdict = forward(&mut frame, snapshot, flows, Moment::default());
        assert!(matches!(verdict, Verdict::Forwarded(..)), "{verdict:?}");
    }
    start.elapsed()
}

#[test]
fn ten_thousand_services_cost_no_more_a_packet_than_ten() {
    let (few, many) = (node(USED), node(10_000));
    let to = |services: u32| (0..services).flat_map(|s| (0..FLOWS).map(move |f| syn(s, f))).collect::<Vec<_>>();
    let (frames, over_all) = (to(USED), to(10_000));
    let mut flows = Flows::default();
    let mut best = [Duration::MAX; 3];
    for round in 0..ROUNDS {
        best[0] = best[0].min(time(&few, &frames, &mut flows));
        best[1] = best[1].min(time(&many, &frames, &mut flows));
        if round % (ROUNDS / 4) == 0 {
            best[2] = best[2].min(time(&many, &over_all, &mut flows));
        }
    }
    let a_packet = |time: Duration, frames: &[Vec<u8>]| time.as_nanos() as f64 / frames.len() as f64;
    let [few, many] = [a_packet(best[0], &frames), a_packet(best[1], &frames)];
    println!("10 services: {few:.1} ns a packet; the same 10 of 10,000: {many:.1} ns");
    println!("all 10,000, with what the cache cannot hold: {:.1} ns", a_packet(best[2], &over_all));
    assert!(many < few * MOST, "{many:.1} ns a packet with 10,000 services, {few:.1} ns with ten");
}
