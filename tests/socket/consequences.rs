//! What an update or a start does to flows that are under way is said: before, as a warning, and as a problem.

use serde_json::{Value, json};
use testkit::node::{Daemon, service, set};

const SEEDS: [&str; 2] = ["[hash]\nseed = \"00112233445566778899aabbccddeeff\"\n", ""];

/// What a dry run and then the update itself warn of; both say the same.
fn warned(daemon: &Daemon, set: &Value) -> Vec<String> {
    let mut tried = set.clone();
    tried["dry_run"] = true.into();
    let texts = |answer: &Value| {
        let warnings = answer["warnings"].as_array().expect("a list").iter();
        warnings.map(|warning| warning.as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let before = texts(&daemon.ask("apply", tried).expect("valid"));
    let after = texts(&daemon.ask("apply", set.clone()).expect("valid"));
    assert_eq!(before, after);
    after
}

#[test]
fn names_and_affinity_that_change_are_warned_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut web = service("web", "203.0.113.10", 3);
    assert_eq!(warned(&daemon, &set(&[web.clone()])), [""; 0]);
    for (number, endpoint) in web["endpoints"].as_array_mut().expect("a list").iter_mut().enumerate() {
        endpoint["name"] = format!("pod-{number}").into();
    }
    let said = warned(&daemon, &set(&[web.clone()]));
    assert_eq!(said, ["web: 3 of its 3 endpoints have other names at the same addresses; flows follow the address"]);
    web["name"] = "www".into();
    let said = warned(&daemon, &set(&[web.clone()]));
    assert_eq!(said, ["www: it was web; its flows go on as if only the name had changed"]);
    web["affinity"] = "client".into();
    let said = warned(&daemon, &set(&[web.clone()]));
    assert!(said.len() == 1 && said[0].starts_with("www: affinity goes from flow to client"), "{said:?}");
    assert!(said[0].contains("about 67 %"), "{said:?}");
    assert_eq!(warned(&daemon, &set(&[web])), [""; 0], "nothing changes");
    daemon.end();
}

#[test]
fn udp_drain_is_echoed_where_it_was_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut dns = service("dns", "203.0.113.53", 1);
    dns["udp_drain"] = "move".into();
    daemon.ask("apply", set(&[dns.clone(), service("web", "203.0.113.10", 1)])).expect("valid");
    let got = daemon.ask("get", json!({})).expect("it has one");
    assert_eq!((&got["services"][0]["udp_drain"], &got["services"][1]["udp_drain"]), (&json!("move"), &Value::Null));
    dns["udp_drain"] = "leave".into();
    let refused = daemon.ask("apply", set(&[dns])).expect_err("no such word");
    assert_eq!(refused["data"]["path"], "services[0].udp_drain", "{refused}");
    daemon.end();
}

/// Two nodes with different seeds choose differently, and show it.
#[test]
fn another_seed_is_seen_in_every_fingerprint() {
    let prints = SEEDS.map(|seed| {
        let dir = tempfile::tempdir().expect("a directory");
        let daemon = Daemon::start_with(dir.path(), seed);
        daemon.ask("apply", set(&[service("web", "203.0.113.10", 3)])).expect("valid");
        let status = daemon.ask("status", json!({})).expect("well");
        daemon.end();
        let own = status["hash_seed_fingerprint"].as_str().expect("text").to_owned();
        assert!(own.len() == 16 && own.bytes().all(|digit| digit.is_ascii_hexdigit()), "{own}");
        assert!(!"00112233445566778899aabbccddeeff".contains(&own));
        (own, status["services"][0]["fingerprint"].clone())
    });
    assert!(prints[0].0 != prints[1].0 && prints[0].1 != prints[1].1, "{prints:?}");
}

#[test]
fn a_start_with_another_seed_says_what_that_breaks() {
    let dir = tempfile::tempdir().expect("a directory");
    let problem = |seed: &str, apply: &[Value]| {
        let daemon = Daemon::start_with(dir.path(), seed);
        let status = daemon.ask("status", json!({})).expect("well");
        apply.iter().for_each(|set| _ = daemon.ask("apply", set.clone()).expect("valid"));
        daemon.end();
        (status["seed_problem"].clone(), status["services"][0]["handover"].clone())
    };
    let sets = [set(&[service("web", "203.0.113.10", 3)]), set(&[service("web", "203.0.113.10", 4)])];
    assert_eq!(problem(SEEDS[0], &sets).0, Value::Null);
    let (said, handover) = problem(SEEDS[0], &[]);
    assert!(said.is_null() && handover["slots"].as_u64() > Some(0), "{said} {handover}");
    let (said, handover) = problem(SEEDS[1], &[]);
    let said = said.as_str().expect("a problem");
    assert!(said.starts_with("hash.seed is another one than before (fingerprint "), "{said}");
    assert_eq!(handover, Value::Null, "slots of other hashes are forgotten");
    assert_eq!(problem(SEEDS[1], &[]), (Value::Null, Value::Null), "said once");
}
