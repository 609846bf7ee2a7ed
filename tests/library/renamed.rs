//! Endpoints and services that only get other names (section 4 of the contract), as `replay` shows it: a flow stays at its address.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::handover::{ACK, FLOWS, Play, SYN, rounds};

fn set(name: &str, endpoints: &[(&str, u8, &str)]) -> Value {
    let endpoint = |(name, host, state): &(&str, u8, &str)| json!({ "name": name, "address": format!("2001:db8:10::{host}"), "state": state });
    let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
    json!({ "services": [{ "name": name, "vip": "203.0.113.53", "endpoints": endpoints }] })
}

/// The hosts of a round's packets, by the names that they had then.
fn hosts(round: &[String], names: &[(&str, u8, &str)]) -> Vec<u8> {
    let hosts: BTreeMap<&str, u8> = names.iter().map(|(name, host, _)| (*name, *host)).collect();
    round.iter().map(|name| hosts.get(name.as_str()).copied().unwrap_or(0)).collect()
}

const BEFORE: [(&str, u8, &str); 3] = [("a", 1, "active"), ("b", 2, "active"), ("c", 3, "active")];

#[test]
fn flows_stay_at_their_addresses() {
    for (what, after) in [
        ("new names", [("x", 1, "active"), ("y", 2, "active"), ("z", 3, "active")]),
        ("the same ones, shifted", [("b", 1, "active"), ("c", 2, "active"), ("d", 3, "active")]),
        ("changed over", [("b", 1, "active"), ("a", 2, "active"), ("c", 3, "active")]),
        ("some", [("a", 1, "active"), ("y", 2, "active"), ("z", 3, "active")]),
        ("some, and one drains", [("x", 1, "draining"), ("y", 2, "active"), ("c", 3, "active")]),
    ] {
        let mut play = Play::new(set("web", &BEFORE));
        play.send(0, SYN, 0..FLOWS);
        play.apply(1, set("web", &after));
        play.send(2, ACK, 0..FLOWS);
        play.send(700, ACK, 0..FLOWS);
        let (endpoints, report) = play.run();
        let rounds = rounds(&endpoints);
        let first = hosts(rounds[0], &BEFORE);
        assert_eq!(first, hosts(rounds[1], &after), "{what}");
        assert_eq!(first, hosts(rounds[2], &after), "{what}: after the window");
        let tracked = report["counters"]["pointsman_tracked_flows"]["web"].as_u64().expect("a number");
        assert!(tracked > 0 && tracked < u64::from(FLOWS), "{what}: {tracked} tracked, not all");
    }
}

/// Names that say a place: the first endpoint goes, and all others move up.
#[test]
fn those_that_are_left_keep_their_flows_though_the_name_of_one_that_is_gone_is_theirs() {
    let after = [("a", 2, "active"), ("b", 3, "active")];
    let mut play = Play::new(set("web", &BEFORE));
    play.send(0, SYN, 0..FLOWS);
    play.apply(1, set("web", &after));
    play.send(2, ACK, 0..FLOWS);
    let (endpoints, _) = play.run();
    let rounds = rounds(&endpoints);
    let pairs = hosts(rounds[0], &BEFORE).into_iter().zip(hosts(rounds[1], &after));
    let (gone, left): (Vec<_>, Vec<_>) = pairs.partition(|(before, _)| *before == 1);
    assert!(gone.iter().all(|(_, now)| *now > 1) && left.iter().all(|(before, now)| before == now));
}

/// What slots remember and which flows are tracked follows, also where it is of an earlier change.
#[test]
fn a_handover_goes_on_under_the_new_names() {
    let draining = [("a", 1, "draining"), ("b", 2, "active"), ("c", 3, "active")];
    for (service, after) in [
        ("web", [("x", 1, "draining"), ("y", 2, "active"), ("z", 3, "active")]),
        ("www", draining),
        ("www", [("x", 1, "draining"), ("y", 2, "active"), ("z", 3, "active")]),
    ] {
        let mut play = Play::new(set("web", &BEFORE));
        play.send(0, SYN, 0..FLOWS);
        play.apply(1, set("web", &draining));
        // Half of them are tracked, and half remembered.
        play.send(2, ACK, 0..FLOWS / 2);
        play.apply(3, set(service, &after));
        play.send(4, ACK, 0..FLOWS);
        play.send(5, SYN, FLOWS..2 * FLOWS);
        play.send(900, ACK, 0..FLOWS);
        let (endpoints, report) = play.run();
        let half = usize::from(FLOWS / 2);
        let mut rest = endpoints[..].to_vec();
        let middle: Vec<String> = rest.drain(2 * half..3 * half).collect();
        let rounds = rounds(&rest);
        let first = hosts(rounds[0], &BEFORE);
        assert_eq!(first[..half], hosts(&middle, &draining));
        assert_eq!(first, hosts(rounds[1], &after), "{service}");
        assert!(!hosts(rounds[2], &after).contains(&1), "{service}: new flows");
        assert_eq!(first, hosts(rounds[3], &after), "{service}: after the window");
        assert_eq!(report["counters"]["pointsman_tracked_flows"].as_object().map(serde_json::Map::len), Some(1));
        let counted = &report["counters"]["pointsman_service_packets_total"];
        assert_eq!(counted[service], u64::from(FLOWS) * 9 / 2, "{service}: counted on under the new name: {counted}");
    }
}

/// The table is one of the new names, whatever was before: other nodes have the same.
#[test]
fn tables_are_those_of_the_set() {
    let after = [("x", 1, "active"), ("y", 2, "active"), ("z", 3, "active")];
    let print = |play: &mut Play| {
        play.send(0, SYN, 0..1);
        play.send(2, SYN, 0..1);
        play.run().1["services"][0]["fingerprint"].clone()
    };
    let mut renamed = Play::new(set("web", &BEFORE));
    renamed.apply(1, set("web", &after));
    assert_eq!(print(&mut renamed), print(&mut Play::new(set("web", &after))));
}

/// Every flow is hashed anew; what slots remember of the old hashes is no flow's.
#[test]
fn nothing_is_remembered_over_another_affinity() {
    let with = |affinity: &str, endpoints: &[(&str, u8, &str)]| {
        let mut set = set("web", endpoints);
        set["services"][0]["affinity"] = affinity.into();
        set
    };
    let draining = [("a", 1, "draining"), ("b", 2, "active"), ("c", 3, "active")];
    let mut play = Play::new(with("flow", &BEFORE));
    play.send(0, SYN, 0..FLOWS);
    play.apply(1, with("flow", &draining));
    play.apply(2, with("client", &draining));
    play.send(3, ACK, 0..FLOWS);
    let (endpoints, report) = play.run();
    assert!(!rounds(&endpoints)[1].contains(&"a".to_owned()));
    assert_eq!(report["counters"]["pointsman_handover_open"]["web"], 0);
}
