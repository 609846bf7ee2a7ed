//! Endpoints that drain (sections 4 and 7 of the contract) as `replay` shows it: the last one of a service, one whose weight was
//! taken away, and datagrams.

use serde_json::{Value, json};

use crate::handover::{ACK, FLOWS, Play, SYN, endpoint, in_state, rounds};

fn service(endpoints: &[Value], more: &Value) -> Value {
    let mut service = json!({ "name": "web", "vip": "203.0.113.53", "endpoints": endpoints });
    service.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "services": [service] })
}

fn set(endpoints: &[Value]) -> Value {
    service(endpoints, &json!({}))
}

fn all(round: &[String], name: &str) -> bool {
    round.iter().all(|endpoint| endpoint == name)
}

#[test]
fn the_only_endpoint_keeps_its_flows_for_as_long_as_it_is_there() {
    let mut play = Play::new(set(&[endpoint("a")]));
    play.send(0, SYN, 0..FLOWS);
    play.apply(1, set(&[in_state("a", "draining")]));
    play.send(2, SYN, FLOWS..2 * FLOWS);
    // After the window, those that have said nothing; when nobody is tracked any more; and new ones at any time.
    for second in [700, 9_000, 20_000] {
        play.send(second, ACK, 0..FLOWS);
        play.send(second, SYN, FLOWS..2 * FLOWS);
    }
    play.apply(20_001, set(&[in_state("a", "draining"), endpoint("b")]));
    play.send(20_002, ACK, 0..FLOWS);
    play.send(20_002, SYN, FLOWS..2 * FLOWS);
    play.apply(20_003, set(&[endpoint("b")]));
    play.send(20_004, ACK, 0..FLOWS);
    let (endpoints, report) = play.run();
    let rounds = rounds(&endpoints);
    let expected = ["a", "none", "a", "none", "a", "none", "a", "none", "a", "b", "b"];
    for (number, (round, expected)) in rounds.iter().zip(expected).enumerate() {
        assert!(all(round, expected), "round {number} is not {expected}");
    }
    assert_eq!(rounds.len(), expected.len());
    let drops = report["counters"]["pointsman_drops_total"]["no_endpoint"].as_u64();
    assert_eq!(drops, Some(4 * u64::from(FLOWS)));
}

/// What is remembered ends a window after another endpoint has come, as at any other change.
#[test]
fn a_new_endpoint_ends_that_a_window_later() {
    let mut play = Play::new(set(&[endpoint("a")]));
    play.send(0, SYN, 0..1);
    play.apply(1, set(&[in_state("a", "draining")]));
    play.apply(5_000, set(&[in_state("a", "draining"), endpoint("b")]));
    play.send(5_500, ACK, 0..FLOWS);
    play.send(5_700, ACK, FLOWS..2 * FLOWS);
    let (endpoints, _) = play.run();
    let (kept, late) = endpoints[1..].split_at(usize::from(FLOWS));
    assert!(all(kept, "a") && all(late, "b"));
}

#[test]
fn a_node_without_a_history_knows_the_flows_of_endpoints_that_all_drain() {
    let long_ago = |name: &str| {
        let mut endpoint = in_state(name, "draining");
        endpoint["since"] = "2026-11-21T09:00:00Z".into();
        endpoint
    };
    let mut old = Play::new(set(&[endpoint("a"), endpoint("b"), endpoint("c")]));
    old.send(0, ACK, 0..FLOWS);
    let (old, _) = old.run();
    let mut fresh = Play::new(set(&[long_ago("a"), long_ago("b"), long_ago("c")]));
    fresh.send(0, ACK, 0..FLOWS);
    fresh.send(8_000, ACK, 0..FLOWS);
    fresh.send(8_000, SYN, FLOWS..2 * FLOWS);
    let (fresh, _) = fresh.run();
    let rounds = rounds(&fresh);
    assert_eq!((rounds[0], rounds[1]), (&old[..], &old[..]));
    assert!(all(rounds[2], "none"));
}

/// An endpoint that drains goes, and what it has left to another is that one's for good.
#[test]
fn endpoints_that_drain_one_after_another_keep_what_each_had_last() {
    let mut play = Play::new(set(&[endpoint("a"), endpoint("b")]));
    play.send(0, SYN, FLOWS..2 * FLOWS);
    play.apply(1, set(&[in_state("a", "draining"), endpoint("b")]));
    play.send(2, SYN, 0..FLOWS);
    play.apply(3, set(&[in_state("a", "draining"), in_state("b", "draining")]));
    play.apply(4, set(&[in_state("b", "draining")]));
    play.send(9_000, ACK, 0..FLOWS);
    let (endpoints, _) = play.run();
    let rounds = rounds(&endpoints);
    assert!(rounds[0].contains(&"a".to_owned()) && all(rounds[1], "b") && all(rounds[2], "b"));
}

/// A weight of 0 means draining, and what the weight was is nowhere: a node without a history takes that of the others.
#[test]
fn a_weight_of_nothing_is_as_good_as_draining() {
    let weighted = |name: &str, weight: u16| {
        let mut endpoint = endpoint(name);
        endpoint["weight"] = weight.into();
        endpoint
    };
    let mut old = Play::new(set(&[weighted("a", 50), weighted("b", 50), weighted("c", 50)]));
    old.send(0, ACK, 0..FLOWS);
    let (old, _) = old.run();
    let mut fresh = Play::new(set(&[weighted("a", 0), weighted("b", 50), weighted("c", 50)]));
    fresh.send(0, ACK, 0..FLOWS);
    fresh.send(1, SYN, FLOWS..2 * FLOWS);
    let (fresh, _) = fresh.run();
    let rounds = rounds(&fresh);
    assert!(old.contains(&"a".to_owned()) && rounds[0] == old, "every older flow stays");
    assert!(!rounds[1].contains(&"a".to_owned()), "no new one comes");
}

#[test]
fn datagrams_move_at_once_where_that_is_asked_for() {
    for (more, moves) in
        [(json!({}), false), (json!({ "udp_drain": "keep" }), false), (json!({ "udp_drain": "move" }), true)]
    {
        let mut play = Play::new(service(&[endpoint("a"), endpoint("b")], &more));
        play.datagrams(0, 0..FLOWS);
        play.apply(1, service(&[in_state("a", "draining"), endpoint("b")], &more));
        play.datagrams(2, 0..FLOWS);
        // TCP is as it was.
        play.send(2, ACK, 0..FLOWS);
        let (endpoints, report) = play.run();
        let rounds = rounds(&endpoints);
        assert!(rounds[0].contains(&"a".to_owned()) && rounds[2].contains(&"a".to_owned()), "{more}");
        assert_eq!(all(rounds[1], "b"), moves, "{more}");
        assert_eq!(rounds[1] == rounds[0], !moves, "{more}");
        assert_eq!(report["counters"]["pointsman_drops_total"]["no_endpoint"].as_u64().unwrap_or(0), 0);
    }
}

/// An endpoint that only gets fewer slots keeps its flows, and so does one that drains those that are tracked.
#[test]
fn only_flows_that_nobody_tracks_move() {
    let more = json!({ "udp_drain": "move" });
    let mut play = Play::new(service(&[endpoint("a"), endpoint("b")], &more));
    play.datagrams(0, 0..FLOWS);
    play.apply(1, service(&[endpoint("a"), endpoint("b"), endpoint("c")], &more));
    play.datagrams(2, 0..FLOWS);
    play.apply(3, service(&[in_state("a", "draining"), endpoint("b"), endpoint("c")], &more));
    play.datagrams(4, 0..FLOWS);
    play.datagrams(5, FLOWS..2 * FLOWS);
    let (endpoints, _) = play.run();
    let rounds = rounds(&endpoints);
    assert_eq!(rounds[0], rounds[1], "an active endpoint keeps its flows");
    let kept = rounds[2].iter().filter(|name| *name == "a").count();
    assert!(kept > 0 && kept < rounds[1].iter().filter(|name| *name == "a").count(), "{kept} were tracked");
    assert!(!rounds[3].contains(&"a".to_owned()), "nobody tracks these");
}

/// Where no other takes new flows, such a datagram has nowhere to go.
#[test]
fn datagrams_of_the_only_endpoint_that_drains_are_dropped_where_they_may_not_stay() {
    let more = json!({ "udp_drain": "move" });
    let mut play = Play::new(service(&[endpoint("a")], &more));
    play.datagrams(0, 0..FLOWS);
    play.apply(1, service(&[in_state("a", "draining")], &more));
    play.datagrams(2, 0..FLOWS);
    let (endpoints, _) = play.run();
    assert!(all(rounds(&endpoints)[0], "a") && all(rounds(&endpoints)[1], "none"));
}
