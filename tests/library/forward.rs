//! The data path under any input: never a panic, every frame accounted for, and of every verdict what
//! `testkit::rules::forward` says must hold.

use std::sync::Arc;

use pointsman::config::{self, Poll};
use pointsman::control::update::Builder;
use pointsman::endpoint_set;
use pointsman::forward::encap::Sources;
use pointsman::forward::verdict::{DropReason, Verdict};
use pointsman::forward::{Flows, forward};
use pointsman::frame::{Frame, Span};
use pointsman::io::memory::Memory;
use pointsman::moment::{Moment, Now};
use pointsman::publish::{Inbox, Publisher};
use pointsman::snapshot::{NextHop, Settings, Tag};
use pointsman::stats::Board;
use pointsman::wire::ethernet::MacAddress;
use pointsman::worker::{Pace, Worker};

use testkit::golden::{Random, golden_frames};
use testkit::project;
use testkit::rules::forward::{self as rules, Node, Watch};

/// The node of the golden packets, without its network.
fn builder() -> Builder {
    let golden = project::file("tests/golden");
    let config = config::load(&golden.join("config.toml")).expect("valid");
    let set = std::fs::read_to_string(golden.join("set.json")).expect("there");
    let sources = Sources { v4: config.underlay.source_v4, v6: config.underlay.source_v6 };
    let settings = Settings {
        seed: config.seed,
        dscp: config.underlay.dscp,
        underlay_mtu: 1500,
        hop_limit: 64,
        mac: MacAddress::default(),
        sources,
    };
    let mut builder = Builder::new(settings, 600, 1);
    builder.update(&endpoint_set::parse(&set).expect("valid"), (0, 0), Now::at(0));
    let hop = NextHop { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), tag: Tag::AsReceived };
    builder.resolve(|_| Some(hop));
    builder
}

fn subscribe(builder: &mut Builder) -> (Publisher, Inbox) {
    let mut publisher = Publisher::new().expect("eventfd");
    let inbox = publisher.subscribe(builder.publish().remove(0)).expect("eventfd");
    (publisher, inbox)
}

fn pace(batch: usize) -> Pace {
    Pace { batch, poll: Poll::Busy }
}

/// A frame that never was: a golden one with some bytes changed, cut or padded; one in sixteen is nothing but noise.
fn mutate(random: &mut Random, golden: &[Vec<u8>], into: &mut Vec<u8>) {
    into.clear();
    if random.below(16) == 0 {
        let len = random.below(128);
        into.extend((0..len).map(|_| random.any() as u8));
        return;
    }
    into.extend_from_slice(&golden[random.below(golden.len())]);
    for _ in 0..random.below(4) {
        if !into.is_empty() {
            // Headers are what matters, so most changes fall there.
            let at = random.below(into.len().min(100));
            into[at] = random.any() as u8;
        }
    }
    match random.below(8) {
        0 => into.truncate(random.below(into.len() + 1)),
        1 => into.extend(std::iter::repeat_n(0, random.below(50))),
        _ => {}
    }
}

#[test]
fn ten_million_frames_and_no_panic() {
    let node = Node::default();
    let golden = golden_frames();
    let (mut random, mut bytes) = (Random(20_261_121), Vec::new());
    let mut watch = Watch::new(&node);
    for _ in 0..10_000_000 {
        mutate(&mut random, &golden, &mut bytes);
        watch.receive(&bytes, 1);
    }
    let tally = watch.tally;
    assert!(tally.is_balanced());
    assert_eq!(tally.received.packets + watch.passed, 10_000_000);
    assert!(tally.sent.packets > 1_000_000 && tally.answered.packets > 10_000, "{tally:?}");
}

/// An input that once broke a rule.
fn crash(name: &str) -> Vec<u8> {
    let crashes = project::file("testkit/src/rules/forward/crashes");
    std::fs::read(crashes.join(name)).expect("there")
}

/// The reply to a ping of nothing but zeros had the checksum 0, which is wrong only there: the sum of zeros is not
/// 0xffff.
#[test]
fn a_ping_of_zeros_has_a_right_reply() {
    rules::run(&Node::default(), &crash("ping-of-zeros"));
}

/// The fuzzer's corpus: inputs that reach everything it has found a way to.
#[test]
fn the_corpus_breaks_no_rule() {
    let node = Node::default();
    let corpus = project::file("fuzz/corpus/forward");
    let mut files = 0;
    for file in std::fs::read_dir(corpus).expect("there is a corpus") {
        let path = file.expect("readable").path();
        println!("{}", path.display());
        rules::run(&node, &std::fs::read(path).expect("readable"));
        files += 1;
    }
    assert!(files > 100, "{files} files");
}

#[test]
fn a_worker_accounts_for_every_frame() {
    let mut builder = builder();
    let (_publisher, inbox) = subscribe(&mut builder);
    let golden = golden_frames();
    let board = Arc::new(Board::default());
    let mut worker = Worker::new(Memory::new(128, 64), inbox, board.clone(), Flows::default(), pace(32));
    let (mut random, mut bytes, mut left) = (Random(7), Vec::new(), 0);
    for round in 0..2_000 {
        for _ in 0..random.below(100) {
            mutate(&mut random, &golden, &mut bytes);
            worker.io().push(bytes.clone());
        }
        worker.step(|_: Verdict| ()).expect("memory");
        assert!(worker.io().is_whole(), "round {round}: a frame is lost or twice");
        if random.below(3) == 0 {
            left += worker.io().take_sent().len() as u64;
        }
    }
    left += worker.io().take_sent().len() as u64;
    let (tally, _) = board.read();
    assert!(tally.is_balanced() && tally.received.packets > 10_000, "{tally:?}");
    assert_eq!(tally.sent.packets + tally.answered.packets + tally.parts, left, "what is counted as sent has left");
    assert!(tally.drops[DropReason::Truncated as usize] > 0);

    let mut report = pointsman::stats::Report::default();
    builder.count_into(&mut report);
    let by_service: u64 = report.pointsman_service_packets_total.values().sum();
    let by_endpoint: u64 = report.pointsman_endpoint_packets_total.values().flat_map(|of| of.values()).sum();
    assert_eq!((by_service, by_endpoint), (tally.sent.packets, tally.sent.packets));
}

#[test]
fn a_frame_without_a_vip_counts_where_steering_chose_it() {
    let mut builder = builder();
    let (_publisher, inbox) = subscribe(&mut builder);
    let mut worker = Worker::new(Memory::new(4, 4), inbox, Arc::default(), Flows::default(), pace(4));
    worker.io().push([0; 60]);
    worker.step(|verdict: Verdict| assert_eq!(verdict, Verdict::Dropped(DropReason::NotAVip, None))).expect("memory");
    assert_eq!(worker.tally().drops[DropReason::NotAVip as usize], 1);
}

/// A packet that has to be cut needs a frame for each part beyond the first.
#[test]
fn a_packet_is_cut_only_where_there_are_frames_for_all_its_parts() {
    let mut udp = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    udp.extend([0x45, 0, 0x05, 0xdc, 0, 1, 0, 0, 64, 17, 0, 0, 198, 18, 0, 7, 203, 0, 113, 53]);
    pointsman::wire::ipv4::set_checksum(&mut udp[14..]);
    udp.extend([0x9c, 0x40, 0, 53, 0x05, 0xc8, 0, 0]);
    udp.resize(14 + 1500, 0);
    for (frames, left) in [(2, 2), (1, 0)] {
        let mut builder = builder();
        let (_publisher, inbox) = subscribe(&mut builder);
        let mut worker = Worker::new(Memory::new(frames, 8), inbox, Arc::default(), Flows::default(), pace(4));
        worker.io().push(udp.clone());
        worker.step(|_: Verdict| ()).expect("memory");
        assert!(worker.io().is_whole() && worker.tally().is_balanced());
        assert_eq!(worker.io().take_sent().len(), left);
        assert_eq!(worker.tally().drops[DropReason::NoFrame as usize], u64::from(left == 0));
    }
}

#[test]
fn what_cannot_be_sent_is_dropped_by_reason() {
    let settings = builder().snapshot().settings;
    let set = r#"{"services":[{"name":"s","vip":"203.0.113.1","encap":{"type":"TYPE"},
        "endpoints":[{"name":"e","address":"2001:db8::1"}]}]}"#;
    let frame: Vec<u8> = golden_frames().remove(0);
    let verdict = |encap: &str, hop: Option<NextHop>, headroom: usize, sources: Sources| {
        let mut builder = Builder::new(Settings { sources, ..settings }, 600, 1);
        builder.update(&endpoint_set::parse(&set.replace("TYPE", encap)).expect("valid"), (0, 0), Now::at(0));
        builder.resolve(|_| hop);
        let mut bytes = vec![0; headroom];
        bytes.extend(&frame);
        bytes[headroom + 30..headroom + 34].copy_from_slice(&[203, 0, 113, 1]);
        let span = Span { start: headroom, len: frame.len() };
        forward(
            &mut Frame::new(&mut bytes, span).expect("inside"),
            &builder.snapshot(),
            &mut Flows::default(),
            Moment::default(),
        )
    };
    let hop = Some(NextHop { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), tag: Tag::None });
    let v6 = pointsman::forward::encap::Source {
        address: "2001:db8::ff".parse().expect("v6"),
        entropy: std::net::Ipv6Addr::UNSPECIFIED,
    };
    let sources = Sources { v4: None, v6: Some(v6) };
    assert_eq!(verdict("gre", hop, 44, sources), Verdict::Forwarded(0, 0));
    assert_eq!(verdict("gre", hop, 43, sources), Verdict::Dropped(DropReason::NoHeadroom, Some(0)));
    assert_eq!(verdict("gre", None, 44, sources), Verdict::Dropped(DropReason::NoNextHop, Some(0)));
    assert_eq!(verdict("gue", hop, 52, sources), Verdict::Forwarded(0, 0));
    let none = Sources::default();
    assert_eq!(verdict("gre", hop, 44, none), Verdict::Dropped(DropReason::NoOuterSource, Some(0)));
}
