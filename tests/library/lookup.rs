//! `lookup` says what happens: its answers are held against what becomes of real packets, as the golden packets' set, a set
//! that hands over, and a running worker that tracks flows have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pointsman::config::Poll;
use pointsman::control::lookup::{Answer, Query, explain};
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
use pointsman::wire::ethernet::MacAddress;
use pointsman::worker::{Pace, Worker};
use serde_json::json;

const WINDOW: u32 = 600;

fn builder() -> Builder {
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
    Builder::new(settings, WINDOW, 1)
}

/// Takes a set into force: services with a VIP, `more` members, and endpoints `NAME:STATE`.
fn apply(builder: &mut Builder, services: &[(&str, serde_json::Value, &[&str])], now: u32) {
    let services = services.iter().map(|(name, more, endpoints)| {
        let endpoints = endpoints.iter().map(|endpoint| {
            let (name, state) = endpoint.split_once(':').unwrap_or((endpoint, "active"));
            let number = name.bytes().map(u32::from).sum::<u32>();
            json!({ "name": name, "address": format!("2001:db8:10::{number:x}"), "state": state })
        });
        let mut service = json!({ "name": name, "endpoints": endpoints.collect::<Vec<_>>() });
        service.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        service
    });
    let set = json!({ "services": services.collect::<Vec<_>>() });
    builder.update(&endpoint_set::read(&set.into()).expect("valid"), (0, 0), Now::at(now));
    let hop = NextHop { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), tag: Tag::None };
    builder.resolve(|_| Some(hop));
}

fn query(src: &str, dst: &str, protocol: &str, sport: u16, dport: u16) -> Query {
    Query::read(&json!({ "src": src, "dst": dst, "protocol": protocol, "sport": sport, "dport": dport }).into())
        .expect("valid")
}

fn untracked(query: &Query, builder: &Builder) -> Answer {
    explain(query, &builder.snapshot(), |_| Some(Vec::new()))
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("-")
}

#[test]
fn says_everything_about_a_plain_flow() {
    let mut builder = builder();
    apply(&mut builder, &[("web", json!({ "vip": "203.0.113.1", "protocol": "tcp", "ports": [80] }), &["a", "b"])], 0);
    let answer = untracked(&query("198.18.0.7", "203.0.113.1", "tcp", 5, 80), &builder);
    assert_eq!((text(&answer.service), text(&answer.next_hop)), ("web", "02:02:02:02:02:02"));
    assert_eq!((answer.mtu, answer.memory, answer.tracked), (Some(1456), None, None));
    let (hash, slot, size) = (text(&answer.hash), answer.slot.expect("it has one"), answer.table_size.expect("it has"));
    assert!(hash.len() == 16 && slot < size);
    let endpoint = text(&answer.endpoint);
    let expected = format!("hash {hash} is slot {slot} of {size}, that of {endpoint}; next hop 02:02:02:02:02:02");
    assert_eq!(answer.reason, expected);
    assert_eq!(text(&answer.later_fragments), "the same way after the first, else dropped: fragment_without_first");
    assert_eq!(text(&answer.icmp_errors), "the same way");
}

#[test]
fn says_what_becomes_of_packets_that_do_not_show_their_flow() {
    let mut builder = builder();
    let endpoints: &[&str] = &["a", "b", "c"];
    let services = [
        ("client", json!({ "vip": "203.0.113.1", "affinity": "client" }), endpoints),
        ("every", json!({ "vip": "203.0.113.2" }), endpoints),
        ("six", json!({ "vip": "2001:db8:1::2" }), endpoints),
        ("web6", json!({ "vip": "2001:db8:1::3", "protocol": "udp", "ports": [53] }), endpoints),
        ("echo", json!({ "vip": "203.0.113.3", "protocol": "tcp", "ports": [80], "echo": "forward" }), endpoints),
        ("node", json!({ "vip": "203.0.113.4", "protocol": "tcp", "ports": [80] }), endpoints),
        ("empty", json!({ "vip": "203.0.113.5" }), &[]),
    ];
    apply(&mut builder, &services, 0);
    let needs_first = "the same way after the first, else dropped: fragment_without_first";
    let (v4, v6) = ("198.18.0.7", "2001:db8:c::7");
    for (flow, fragments, errors) in [
        (query(v4, "203.0.113.1", "udp", 5, 6), "the same way, also without the first", "the same way"),
        (query(v4, "203.0.113.2", "udp", 5, 6), needs_first, "the same way"),
        (query(v4, "203.0.113.2", "esp", 0, 0), "the same way, also without the first", "the same way"),
        (query(v4, "203.0.113.2", "icmp", 0, 0), needs_first, "the same way"),
        (query(v6, "2001:db8:1::2", "tcp", 5, 6), needs_first, "the same way"),
        (query(v6, "2001:db8:1::2", "icmpv6", 0, 0), needs_first, "the same way"),
        (query(v6, "2001:db8:1::3", "udp", 5, 53), needs_first, "the same way"),
        (query(v4, "203.0.113.3", "icmp", 0, 0), needs_first, "the same way"),
        (query(v4, "203.0.113.5", "udp", 1, 2), needs_first, "the same way"),
    ] {
        let answer = untracked(&flow, &builder);
        assert_eq!(
            (text(&answer.later_fragments), text(&answer.icmp_errors)),
            (fragments, errors),
            "{flow:?} {answer:?}"
        );
    }
    let pinged = untracked(&query(v4, "203.0.113.4", "icmp", 0, 0), &builder);
    assert_eq!((pinged.reason.as_str(), pinged.endpoint), ("a ping of this VIP is answered by the node itself", None));
    let empty = untracked(&query(v4, "203.0.113.5", "udp", 1, 2), &builder);
    assert!(empty.endpoint.is_none() && empty.reason.ends_with("; dropped: no_endpoint, none takes new flows"));
}

/// A TCP segment of the flow that a port makes.
fn segment(port: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 7, 203, 0, 113, 1]);
    pointsman::wire::ipv4::set_checksum(&mut frame[14..]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

/// A worker in a thread of its own says what it tracks, and what it says is where packets go.
#[test]
fn a_running_worker_is_asked_what_it_tracks() {
    let mut builder = builder();
    let web = json!({ "vip": "203.0.113.1", "protocol": "tcp", "ports": [80] });
    apply(&mut builder, &[("web", web.clone(), &["a", "b"])], 100_000);
    let mut publisher = Publisher::new().expect("eventfd");
    let inbox = publisher.subscribe(builder.publish().remove(0)).expect("eventfd");
    apply(&mut builder, &[("web", web, &["a:draining", "b:draining", "c", "d"])], 100_001);
    publisher.post(builder.publish());
    let pace = Pace { batch: 8, poll: Poll::Adaptive };
    let mut worker = Worker::new(Memory::new(8, 8).by_the_clock(), inbox, Arc::default(), Flows::default(), pace);
    // Half of the flows speak after the change, as connections that are older than it.
    let mut went: Vec<Option<u16>> = vec![None; 200];
    for port in (0..200).step_by(2) {
        worker.io().push(segment(port, 0x10));
        worker.step(|verdict: Verdict| went[usize::from(port)] = endpoint_of(verdict)).expect("memory");
        worker.io().take_sent();
    }
    let thread = std::thread::spawn(move || worker.run().map(drop));
    let snapshot = builder.snapshot();
    let names: Vec<String> = snapshot.services[0].service.endpoints.iter().map(|one| one.name.clone()).collect();
    for port in 0..200u16 {
        let flow = query("198.18.0.7", "203.0.113.1", "tcp", port, 80);
        let answer = explain(&flow, &snapshot, |hash| publisher.find_tracked(hash, Duration::from_secs(10)));
        let older = went[usize::from(port)].map(|index| names[usize::from(index)].clone());
        assert_eq!(answer.tracked, older, "port {port}: {answer:?}");
        assert!(["a", "b"].contains(&text(&answer.memory)), "every slot has changed");
        match older {
            Some(own) => {
                assert_eq!((text(&answer.endpoint), text(&answer.memory)), (own.as_str(), own.as_str()));
                assert!(answer.reason.contains(&format!("; the flow is tracked and keeps {own}; ")), "{answer:?}");
            }
            None => {
                assert!(["c", "d"].contains(&text(&answer.endpoint)), "a new flow: {answer:?}");
                assert!(answer.reason.contains("a flow older than the change goes there; it is not tracked; "));
            }
        }
        assert_eq!(text(&answer.icmp_errors), "the same way");
    }
    publisher.stop();
    // One that is gone tracks nothing, and nobody waits for it.
    thread.join().expect("no panic").expect("memory");
    let answer = explain(&query("198.18.0.7", "203.0.113.1", "tcp", 0, 80), &snapshot, |hash| {
        publisher.find_tracked(hash, Duration::from_millis(20))
    });
    assert!(answer.reason.contains("; it is not tracked; "), "nobody is there to track it: {answer:?}");
}

fn endpoint_of(verdict: Verdict) -> Option<u16> {
    match verdict {
        Verdict::Forwarded(_, index) => Some(index),
        _ => None,
    }
}

/// Answers to questions that nobody waits for any more are not taken for answers to later ones.
#[test]
fn questions_in_a_row_get_their_own_answers() {
    let mut builder = builder();
    apply(&mut builder, &[("web", json!({ "vip": "203.0.113.1" }), &["a", "b"])], 100_000);
    let mut publisher = Publisher::new().expect("eventfd");
    let mut inbox = publisher.subscribe(builder.publish().remove(0)).expect("eventfd");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Some((question, hash)) = inbox.question() {
                    // Some answers take longer than anybody waits for them.
                    (0..hash.0 % 7 * 500).for_each(|_| std::hint::spin_loop());
                    inbox.answer(question, Some(hash.0 as u32));
                }
            }
        });
        for hash in 0..20_000u64 {
            // Some have no time at all.
            let limit = Duration::from_secs(if hash % 3 == 0 { 0 } else { 10 });
            let found = publisher.find_tracked(pointsman::flow::FlowHash(hash), limit);
            let wrong = found.as_ref().is_some_and(|found| *found != [hash as u32]);
            if wrong || (found.is_none() && hash % 3 != 0) {
                stop.store(true, Ordering::Relaxed);
                panic!("{hash} got {found:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_query_has_one_family() {
    let mixed = json!({ "src": "198.18.0.7", "dst": "2001:db8::1", "protocol": "tcp" });
    assert!(Query::read(&mixed.into()).is_err());
}
