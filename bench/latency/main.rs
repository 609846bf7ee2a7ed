//! What timing costs a packet: the worker's loop with and without it, in turns, so that both see the same machine.
//! `bench/README.md` says more.

use std::sync::Arc;
use std::time::Instant;

use pointsman::config::Poll;
use pointsman::control::update::Builder;
use pointsman::endpoint_set;
use pointsman::flow::Seed;
use pointsman::forward::Flows;
use pointsman::forward::encap::{Source, Sources};
use pointsman::forward::verdict::Verdict;
use pointsman::io::memory::Memory;
use pointsman::moment::Now;
use pointsman::publish::Publisher;
use pointsman::snapshot::{Dscp, NextHop, Settings, Tag};
use pointsman::stats::Board;
use pointsman::wire::ethernet::MacAddress;
use pointsman::worker::{Pace, Worker};

/// What is promised: nanoseconds a packet, in batches of this many.
const LIMIT: f64 = 1.0;
const PROMISED_BATCH: usize = 64;
/// Packets that each of the two workers forwards in a round, by size of a batch.
const PACKETS: usize = 1_000_000;
/// Each with workers of its own, since where their memory lies makes a difference, too.
const ROUNDS: usize = 9;

fn main() {
    println!(
        "packets a batch   without timing, ns a packet   timing, ns a packet: median (least to most of {ROUNDS} rounds)"
    );
    let mut kept = true;
    for batch in [1, 8, PROMISED_BATCH] {
        let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|round| measure(batch, round)).collect();
        let without = ordered(rounds.iter().map(|[without, _]| *without));
        let timing = ordered(rounds.iter().map(|[without, with]| with - without));
        let median = timing[ROUNDS / 2];
        let (least, most) = (timing[0], timing[ROUNDS - 1]);
        println!("{batch:>15} {:>29.1} {median:>21.2} ({least:.2} to {most:.2})", without[ROUNDS / 2]);
        kept &= batch != PROMISED_BATCH || median < LIMIT;
    }
    if !kept {
        eprintln!("timing costs {LIMIT} ns a packet or more");
        std::process::exit(1);
    }
}

fn ordered(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Nanoseconds a packet without and with timing.
fn measure(batch: usize, round: usize) -> [f64; 2] {
    let boards: [Arc<Board>; 2] = Default::default();
    let timed = || worker(batch, &boards[1]);
    let untimed = || worker(batch, &boards[0]).untimed();
    // Neither is always the first to be made.
    let mut workers = if round.is_multiple_of(2) {
        [untimed(), timed()]
    } else {
        let timed = timed();
        [untimed(), timed]
    };
    let turns = PACKETS / batch;
    let mut times: [Vec<u64>; 2] = [Vec::with_capacity(turns), Vec::with_capacity(turns)];
    for turn in 0..turns {
        // Each goes first as often as the other.
        for which in [turn % 2, (turn + 1) % 2] {
            let worker = &mut workers[which];
            (0..batch).for_each(|i| worker.io().push(frame((turn * batch + i) as u16)));
            let begin = Instant::now();
            worker.step(|_: Verdict| ()).expect("memory");
            times[which].push(begin.elapsed().as_nanos() as u64);
            worker.io().take_sent();
            // The control side reads once a second.
            if turn % (1_000_000 / batch) == 0 {
                boards[which].timing().collect();
            }
        }
    }
    let recorded = boards.map(|board| board.timing().read().latency.count);
    assert!(recorded[0] == 0 && recorded[1] > 0, "timed and not: {recorded:?}");
    times.map(|times| middle(times) / batch as f64)
}

/// The mean of the middle half: what else the machine does is in neither.
fn middle(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    let half = &times[times.len() / 4..times.len() * 3 / 4];
    half.iter().sum::<u64>() as f64 / half.len() as f64
}

fn worker(batch: usize, board: &Arc<Board>) -> Worker<Memory> {
    let v6 = Source { address: "2001:db8:51b::1".parse().expect("v6"), entropy: std::net::Ipv6Addr::UNSPECIFIED };
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
    let set = r#"{"services":[{"name":"web","vip":"203.0.113.1","endpoints":[{"name":"a","address":"2001:db8:10::a"},
        {"name":"b","address":"2001:db8:10::b"}]}]}"#;
    builder.update(&endpoint_set::parse(set).expect("valid"), (0, 0), Now::at(0));
    let hop = NextHop { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), tag: Tag::None };
    builder.resolve(|_| Some(hop));
    let mut publisher = Publisher::new().expect("eventfd");
    let inbox = publisher.subscribe(builder.publish().remove(0)).expect("eventfd");
    let io = Memory::new(2 * batch, 2 * batch).by_the_clock();
    Worker::new(io, inbox, board.clone(), Flows::default(), Pace { batch, poll: Poll::Busy })
}

/// A TCP segment of a flow of its own, by its port.
fn frame(port: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 7, 203, 0, 113, 1]);
    pointsman::wire::ipv4::set_checksum(&mut frame[14..]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}
