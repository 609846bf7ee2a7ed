//! The short way is nothing but short: whatever comes, what becomes of it is what the thorough way makes of it, to the last
//! byte and counter.

use std::sync::LazyLock;

use proptest::prelude::*;

use testkit::golden::{Random, golden_frames};
use testkit::project;

use super::super::ahead::{Ahead, Frames};
use super::super::track::Change;
use super::super::{Flows, forward_ahead, forward_thoroughly};
use super::*;
use crate::control::update::Builder;
use crate::flow::Seed;
use crate::forward::encap::{Source, Sources};
use crate::forward::verdict::Verdict;
use crate::frame::Span;
use crate::moment::{Now, SECOND};
use crate::snapshot::{Dscp, NextHop, Settings, Tag};
use crate::wire::ethernet::MacAddress;

const HEADROOM: usize = 128;

/// Where TCP has its flags, from the transport header on.
const FLAGS: usize = 13;

fn builder(underlay_mtu: u32) -> Builder {
    let v6 = Source { address: "2001:db8:51b::1".parse().expect("v6"), entropy: 0xff.into() };
    let sources = Sources { v4: None, v6: Some(v6) };
    Builder::new(
        Settings {
            seed: Seed([7; 16]),
            dscp: Dscp::Copy,
            underlay_mtu,
            hop_limit: 64,
            mac: MacAddress::default(),
            sources,
        },
        600,
        1,
    )
}

fn apply(builder: &mut Builder, set: &str, second: u32) -> Snapshot {
    let mac = MacAddress([2, 0, 0, 0, 0, 9]);
    builder.update(&crate::endpoint_set::parse(set).expect("valid"), (0, 0), Now::at(second));
    builder.resolve(|_| Some(NextHop { destination: mac, source: mac, tag: Tag::AsReceived }));
    builder.snapshot()
}

/// Services of all kinds, and some more that get nothing, before a change of their endpoints and in the midst of their
/// handover.
fn snapshots((underlay_mtu, more): (u32, usize)) -> [Snapshot; 2] {
    let mut builder = builder(underlay_mtu);
    [(0, "active"), (10, "draining")].map(|(second, state)| {
        let endpoints = format!(
            r#"[{{"name":"a","address":"2001:db8:10::a","state":"{state}"}},{{"name":"b","address":"2001:db8:10::b"}},
                {{"name":"c","address":"192.0.2.7"}}]"#
        );
        let service = |name: &str, vip: &str, more: &str| {
            format!(r#"{{"name":"{name}","vip":"{vip}","endpoints":{endpoints}{more}}}"#)
        };
        let services = [
            service("every", "203.0.113.1", ""),
            service("web", "203.0.113.2", r#","protocol":"tcp","ports":[80],"allow":["10.0.0.0/9"]"#),
            service("client", "2001:db8:1::1", r#","affinity":"client""#),
            service("gue", "2001:db8:1::2", r#","protocol":"udp","encap":{"type":"gue"}"#),
        ];
        let more = (0..more).map(|number| service(&format!("more-{number}"), &format!("198.51.100.{number}"), ""));
        let all: Vec<String> = services.into_iter().chain(more).collect();
        apply(&mut builder, &format!(r#"{{"services":[{}]}}"#, all.join(",")), second)
    })
}

/// A node with a narrow underlay, one with a wide one, and one with so many services that batches go by other steps.
static SNAPSHOTS: LazyLock<[[Snapshot; 2]; 3]> = LazyLock::new(|| [(600, 0), (1_500, 0), (1_500, 100)].map(snapshots));

/// A frame for one of four VIPs: a TCP segment, a datagram, or one that says it is something else.
fn frame(vip: usize, number: u8, (port, flags): (u8, u8), len: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let mut upper = [0x9c, port, 0, 80, 0, 20, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0];
    if number == protocol::UDP {
        // As QUIC's first packets begin.
        upper[8..13].copy_from_slice(&[0xc0, 0, 0, 0, 1]);
    }
    upper[FLAGS] = flags;
    let total = (len - 14) as u16;
    if vip < 2 {
        frame.extend([8, 0, 0x45, 0, (total >> 8) as u8, total as u8, 0, 0, 0x40, 0, 64, number, 0, 0]);
        frame.extend([10, 0, 0, 9, 203, 0, 113, 1 + vip as u8]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, ((total - 40) >> 8) as u8, (total - 40) as u8, number, 64]);
        frame.extend([0x20, 1, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, vip as u8 - 1]);
    }
    frame.extend(upper);
    frame.resize(len, 0);
    frame
}

/// All that a packet leaves behind: what becomes of it, what leaves, and what of it is counted.
#[derive(Debug, PartialEq)]
struct Trace {
    verdict: Verdict,
    left: Vec<Vec<u8>>,
    has_opened: bool,
    tracked: Vec<Change>,
}

/// What a way makes of a frame.
fn trace(bytes: &[u8], flows: &mut Flows, way: impl FnOnce(&mut Frame<'_>, &mut Flows) -> Verdict) -> Trace {
    let mut buffer = vec![0; HEADROOM];
    buffer.extend(bytes);
    let mut frame = Frame::new(&mut buffer, Span { start: HEADROOM, len: bytes.len() }).expect("inside");
    let verdict = way(&mut frame, flows);
    let mut left = Vec::new();
    if !matches!(verdict, Verdict::Dropped(..)) {
        left.push(frame.bytes().to_vec());
        left.extend(flows.parts().iter().map(<[u8]>::to_vec));
    }
    let has_opened = matches!(verdict, Verdict::Forwarded(..)) && flows.has_opened();
    Trace { verdict, left, has_opened, tracked: flows.tracked().take_changes().collect() }
}

struct Batch<'a>(&'a [Vec<u8>]);

impl Frames for Batch<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn packet(&mut self, at: usize) -> &[u8] {
        &self.0[at]
    }
}

/// Sends a batch both ways; answers how many frames could go the short one.
fn compare(frames: &[Vec<u8>], snapshot: &Snapshot, [short, thorough]: &mut [Flows; 2], now: Moment) -> usize {
    let mut ahead = Ahead::new(frames.len());
    ahead.look(&mut Batch(frames), snapshot, &short.tracked);
    for (bytes, plain) in frames.iter().zip(ahead.iter()) {
        let one = trace(bytes, short, |frame, flows| forward_ahead(frame, plain, snapshot, (flows, now)));
        let other = trace(bytes, thorough, |frame, flows| {
            flows.parts.clear();
            forward_thoroughly(frame, snapshot, flows, now)
        });
        assert_eq!(one, other, "{bytes:02x?}");
    }
    ahead.iter().flatten().count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn the_short_way_ends_where_the_thorough_one_does(
        packets in prop::collection::vec(
            ((0usize..4, prop_oneof![Just(6u8), Just(17u8), any::<u8>()]), (0u8..6, any::<u8>()), 80usize..1_400),
            1..12,
        ),
        changes in prop::collection::vec((0usize..12, 12usize..80, any::<u8>()), 0..6),
        node in 0usize..3,
    ) {
        let packet = |((vip, number), upper, len)| frame(vip, number, upper, len);
        let mut frames: Vec<Vec<u8>> = packets.into_iter().map(packet).collect();
        for (number, at, to) in changes {
            let count = frames.len();
            frames[number % count][at] = to;
        }
        let mut flows = [Flows::default(), Flows::default()];
        for (snapshot, second) in SNAPSHOTS[node].iter().zip([1, 11]) {
            compare(&frames, snapshot, &mut flows, Moment(second * SECOND));
        }
    }
}

/// The golden set as it is, and with one endpoint of each service on its way out.
fn golden_snapshots() -> [Snapshot; 2] {
    let set = std::fs::read_to_string(project::file("tests/golden/set.json")).expect("there");
    let mut set: serde_json::Value = serde_json::from_str(&set).expect("JSON");
    let mut builder = builder(1_500);
    let before = apply(&mut builder, &set.to_string(), 0);
    for service in set["services"].as_array_mut().expect("a list") {
        if let Some(endpoint) = service["endpoints"].as_array_mut().and_then(|endpoints| endpoints.first_mut()) {
            endpoint["state"] = "draining".into();
        }
    }
    [before, apply(&mut builder, &set.to_string(), 10)]
}

#[test]
fn golden_packets_and_changed_ones_end_alike_both_ways() {
    let (golden, snapshots, mut random) = (golden_frames(), golden_snapshots(), Random(1));
    let mut flows = [Flows::default(), Flows::default()];
    let (mut all, mut plain) = (0, 0);
    for (snapshot, first) in snapshots.iter().zip([0, 10]) {
        plain += compare(&golden, snapshot, &mut flows, Moment(first * SECOND));
        for second in 0..2_000 {
            let mut batch: Vec<Vec<u8>> = (0..64).map(|_| golden[random.below(golden.len())].clone()).collect();
            for frame in batch.iter_mut().filter(|frame| !frame.is_empty()) {
                for _ in 0..random.below(3) {
                    let at = random.below(frame.len().min(80));
                    frame[at] = random.below(256) as u8;
                }
            }
            all += batch.len();
            plain += compare(&batch, snapshot, &mut flows, Moment((first + second / 8) * SECOND));
        }
    }
    assert!(plain > all / 10, "{plain} of {all}");
}

#[test]
fn plain_packets_go_it() {
    let snapshot = &SNAPSHOTS[0][1];
    for (vip, number) in [(0, 6), (0, 17), (1, 6), (2, 6), (2, 17), (3, 17)] {
        assert!(
            Plain::read(&frame(vip, number, (1, 0x10), 100), snapshot, |_| FlowHash(0)).is_some(),
            "{vip} {number}"
        );
    }
    assert!(Plain::read(&frame(0, 1, (1, 0x10), 100), snapshot, |_| FlowHash(0)).is_none());
}
