//! The examples of `docs/control-protocol.md`, asked of a node one after another on one connection: every line that a client
//! sends (→) is sent, and every line that it gets (←) is what the node says, but for what varies (…).

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use pointsman::control::protocol::Method;
use serde_json::{Value, json};
use testkit::node::Daemon;

/// A line of an example.
#[derive(Debug)]
enum Line {
    Sent(String),
    Got(Value),
}

/// The lines of all blocks that begin with an arrow.
fn examples() -> Vec<Line> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/control-protocol.md");
    let text = fs::read_to_string(document).expect("there");
    let line = |line: &str| match line.split_once(' ') {
        Some(("→", sent)) => Some(Line::Sent(sent.to_owned())),
        Some(("←", got)) => Some(Line::Got(serde_json::from_str(got).unwrap_or_else(|e| panic!("{e}: {got}")))),
        _ => None,
    };
    text.lines().filter_map(line).collect()
}

/// Whether a value is what the document shows. There, "…" is anything, "abc…" anything that begins so, a member named "…"
/// any other members, and a last item "…" any other items.
fn is_as_shown(seen: &Value, shown: &Value) -> bool {
    match (seen, shown) {
        (Value::String(seen), Value::String(shown)) if shown.ends_with('…') => {
            seen.starts_with(shown.trim_end_matches('…'))
        }
        (_, Value::String(shown)) if shown == "…" => true,
        (Value::Object(seen), Value::Object(shown)) => {
            let named = || shown.iter().filter(|(key, _)| *key != "…");
            let all = shown.contains_key("…") || named().count() == seen.len();
            all && named().all(|(key, shown)| seen.get(key).is_some_and(|seen| is_as_shown(seen, shown)))
        }
        (Value::Array(seen), Value::Array(shown)) => {
            let more = shown.last() == Some(&json!("…"));
            let items = &shown[..shown.len() - usize::from(more)];
            let enough = if more { seen.len() >= items.len() } else { seen.len() == items.len() };
            enough && seen.iter().zip(items).all(|(seen, shown)| is_as_shown(seen, shown))
        }
        _ => seen == shown,
    }
}

#[test]
fn the_node_says_what_the_document_shows() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut stream = daemon.connect();
    let mut answers = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let mut asked = String::new();
    for line in examples() {
        match line {
            Line::Sent(sent) => {
                stream.write_all(format!("{sent}\n").as_bytes()).expect("it reads");
                asked = sent;
            }
            Line::Got(shown) => {
                let said = answers.next().expect("it is connected").expect("an answer in time");
                let said: Value = serde_json::from_str(&said).expect("JSON");
                assert!(is_as_shown(&said, &shown), "asked     {asked}\nshown     {shown}\nanswered  {said}");
            }
        }
    }
    daemon.end();
}

#[test]
fn every_method_has_an_example() {
    let sent = |line| if let Line::Sent(sent) = line { Some(sent) } else { None };
    let method = |sent: String| serde_json::from_str::<Value>(&sent).ok()?["method"].as_str().map(str::to_owned);
    let shown: BTreeSet<String> = examples().into_iter().filter_map(sent).filter_map(method).collect();
    let missing: Vec<&str> = Method::ALL.iter().map(|(name, _)| *name).filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/control-protocol.md shows no example of {missing:?}");
}

#[test]
fn what_is_not_as_shown_is_seen() {
    let seen = json!({ "a": [1, "abc"], "b": { "c": null } });
    for shown in [
        json!({ "a": [1, "abc"], "b": { "c": null } }),
        json!({ "a": "…", "b": "…" }),
        json!({ "a": [1, "…"], "…": "…" }),
        json!({ "a": [1, "a…"], "b": { "…": "…" } }),
    ] {
        assert!(is_as_shown(&seen, &shown), "{shown}");
    }
    for shown in [
        json!({ "a": [1, "abc"] }),
        json!({ "a": [1], "b": "…" }),
        json!({ "a": [1, "abc", 2, "…"], "b": "…" }),
        json!({ "a": [2, "…"], "…": "…" }),
        json!({ "a": [1, "b…"], "b": "…" }),
        json!({ "c": 1, "…": "…" }),
        json!({ "a": "…", "b": { "c": 1 } }),
    ] {
        assert!(!is_as_shown(&seen, &shown), "{shown}");
    }
}
