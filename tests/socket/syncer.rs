//! `examples/syncer.py` against a node: it follows its file, drains what has left it, and outlives the node.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::node::Daemon;
use testkit::{Process, SOON, wait_until};

/// The syncer may have paused after some failures.
const AFTER_A_PAUSE: Duration = Duration::from_secs(60);

fn start(dir: &Path, seconds: u32) -> Process {
    let mut syncer = Command::new("python3");
    syncer.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/syncer.py"));
    syncer.arg(dir.join("endpoints")).arg(dir.join("control.sock")).arg(seconds.to_string());
    Process::start(syncer)
}

/// Writes the syncer's file anew, as a careful program does.
fn write(dir: &Path, endpoints: &[&str]) {
    let line = |name: &&str| format!("web 203.0.113.10 {name} 2001:db8:10::{name}\n");
    fs::write(dir.join("fresh"), endpoints.iter().map(line).collect::<String>()).expect("free");
    fs::rename(dir.join("fresh"), dir.join("endpoints")).expect("free");
}

/// Name and state of each endpoint in force.
fn endpoints(daemon: &Daemon) -> Vec<(String, String)> {
    let set = daemon.ask("get", json!({})).expect("well");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let services = set["services"].as_array().expect("a list").iter();
    let endpoints = services.flat_map(|service| service["endpoints"].as_array().expect("a list").clone());
    endpoints.map(|endpoint| (text(&endpoint["name"]), text(&endpoint["state"]))).collect()
}

fn expect(daemon: &Daemon, syncer: &Process, expected: &[(&str, &str)]) {
    let as_expected =
        || endpoints(daemon).iter().map(|(name, state)| (name.as_str(), state.as_str())).eq(expected.iter().copied());
    assert!(wait_until(AFTER_A_PAUSE, as_expected), "{expected:?}, not {:?}\n{}", endpoints(daemon), syncer.log());
}

#[test]
fn the_example_syncer_follows_its_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, &["a", "b"]);
    let syncer = start(dir, 6);
    assert!(wait_until(SOON, || syncer.log().contains("No such file")), "without a node it says so: {}", syncer.log());
    let daemon = Daemon::start(dir);
    expect(&daemon, &syncer, &[("a", "active"), ("b", "active")]);
    write(dir, &["b", "c"]);
    expect(&daemon, &syncer, &[("a", "draining"), ("b", "active"), ("c", "active")]);
    expect(&daemon, &syncer, &[("b", "active"), ("c", "active")]);

    // Half a line, and a node that will not take it.
    fs::write(dir.join("endpoints"), "web 203.0.113.10 b").expect("free");
    assert!(wait_until(SOON, || syncer.log().contains("unpack")), "{}", syncer.log());
    fs::write(dir.join("endpoints"), "web 198.51.100.1 b 2001:db8:10::b\n").expect("free");
    assert!(wait_until(AFTER_A_PAUSE, || syncer.log().contains("vip_not_allowed")), "{}", syncer.log());
    assert_eq!(endpoints(&daemon).len(), 2, "nothing of it is in force");
    write(dir, &["b", "d"]);
    expect(&daemon, &syncer, &[("b", "active"), ("d", "active")]);

    daemon.end();
    fs::remove_dir_all(dir.join("state")).expect("it has kept a set");
    let daemon = Daemon::start(dir);
    expect(&daemon, &syncer, &[("b", "active"), ("d", "active")]);
    write(dir, &["d"]);
    drop(syncer);

    // What an earlier run has pushed drains as well.
    let syncer = start(dir, 1_000);
    expect(&daemon, &syncer, &[("b", "draining"), ("d", "active")]);
    daemon.end();
}

#[test]
fn what_drains_goes_when_the_node_says_that_its_flows_have_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let daemon = Daemon::start_with(dir, "[handover]\nwindow = \"5s\"\n");
    write(dir, &["a", "b"]);
    let syncer = start(dir, 1_000);
    expect(&daemon, &syncer, &[("a", "active"), ("b", "active")]);
    write(dir, &["b"]);
    expect(&daemon, &syncer, &[("a", "draining"), ("b", "active")]);
    expect(&daemon, &syncer, &[("b", "active")]);
    daemon.end();
}

/// What the syncer asks, as one that plays the node reads it; each question is answered with `result`, and `behind` in the same
/// breath.
fn hear(node: &mut BufReader<UnixStream>, result: &Value, behind: &str) -> Value {
    let mut line = String::new();
    node.read_line(&mut line).expect("it asks");
    let question: Value = serde_json::from_str(&line).expect("JSON");
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
    node.get_mut().write_all(format!("{answer}\n{behind}").as_bytes()).expect("it listens");
    question
}

#[test]
fn an_event_right_behind_an_answer_is_heard() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let listener = UnixListener::bind(dir.join("control.sock")).expect("free");
    write(dir, &["b"]);
    let _syncer = start(dir, 1_000);
    let stream = listener.accept().expect("it connects").0;
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    let mut node = BufReader::new(stream);
    assert_eq!(hear(&mut node, &json!({}), "")["method"], "subscribe");
    let known = ["a", "b"].map(|name| json!({ "name": name, "address": format!("2001:db8:10::{name}") }));
    let services = json!([{ "name": "web", "vip": "203.0.113.10", "endpoints": known }]);
    assert_eq!(hear(&mut node, &json!({ "services": services }), "")["method"], "get");
    let told = json!({ "type": "drained", "service": "web", "endpoint": "a", "remembered": false });
    let event = json!({ "jsonrpc": "2.0", "method": "event", "params": told });
    let applied = |question: &Value| question["params"]["services"][0]["endpoints"].as_array().map(Vec::len);
    assert_eq!(applied(&hear(&mut node, &json!({}), &format!("{event}\n"))), Some(2));
    assert_eq!(hear(&mut node, &json!({}), "")["method"], "hello");
    assert_eq!(applied(&hear(&mut node, &json!({}), "")), Some(1));
}
