//! A client's bytes, in pieces: every line gets its answer, and every answer is one line of JSON-RPC.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use pointsman::control::lookup::{Query, explain};
use pointsman::control::proposal::{Patch, Proposal};
use pointsman::control::protocol::{Call, Fault, LONGEST_LINE, Lines, Method, Request, read, write};
use pointsman::endpoint_set;
use pointsman::model::EndpointSet;
use pointsman::snapshot::Snapshot;
use serde_json::{Map, Value, json};

use super::set::build;

/// A node's set, in the order of names.
static SET: LazyLock<EndpointSet> = LazyLock::new(|| {
    let set = endpoint_set::parse(include_str!("../../../../conf/set.json")).expect("valid");
    Proposal::whole(set).set
});
/// What is looked up is looked up here.
static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| build(&SET).snapshot());

/// The first byte says how long the pieces are in which the rest comes; 0: all at once.
pub fn run(input: &[u8]) {
    let Some((length, stream)) = input.split_first() else { return };
    let mut lines = Lines::new(LONGEST_LINE);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let length = if *length == 0 { stream.len().max(1) } else { usize::from(*length) };
    for piece in stream.chunks(length) {
        lines.push(piece);
        while let Some(line) = lines.next_line() {
            seen.push(line.expect("shorter than any limit"));
        }
    }
    let mut whole: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    whole.pop();
    assert_eq!(seen, whole, "lines are what stands before each end of line");
    seen.iter().for_each(|line| check_line(line));
}

fn check_line(line: &[u8]) {
    let Request { id, call } = read(line);
    let asked = serde_json::from_slice::<Value>(line).ok();
    let asked = asked.as_ref().and_then(Value::as_object);
    let result = call.and_then(|call| {
        assert_eq!(named(asked), Some(call.method), "what is asked is what the line says");
        answer(call)
    });
    let Some(id) = id else {
        assert!(asked.is_some_and(|asked| asked.get("id").is_none()), "a question went unanswered");
        return;
    };
    assert!(id.is_null() || asked.is_some_and(|asked| asked.get("id") == Some(&id)), "an id from nowhere: {id}");
    check_answer(&write(&id, &result), &id);
}

fn named(asked: Option<&Map<String, Value>>) -> Option<Method> {
    let name = asked?.get("method")?.as_str()?;
    Method::ALL.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
}

/// As far as an answer can be had without a node.
fn answer(call: Call) -> Result<Value, Fault> {
    match call.method {
        Method::Lookup => {
            let query = Query::read(&call.params).map_err(Fault::invalid_params)?;
            Ok(json!(explain(&query, &SNAPSHOT, |_| Some(Vec::new()))))
        }
        Method::Apply => {
            let set = endpoint_set::read(&call.params).map_err(Fault::invalid_set)?;
            Ok(json!(set))
        }
        Method::Patch => {
            let patch = Patch::read(&call.params).map_err(Fault::invalid_set)?;
            let names: BTreeSet<String> = patch.names().cloned().collect();
            let set = patch.of(&SET).map_err(Fault::invalid_set)?.set;
            check_patched(&set, &names);
            Ok(json!(set))
        }
        _ => Ok(call.params.to_value()),
    }
}

/// What a patch does not name is as it was, and all is in order.
fn check_patched(set: &EndpointSet, named: &BTreeSet<String>) {
    assert!(set.services.windows(2).all(|pair| pair[0].name < pair[1].name), "in the order of names, each once");
    for service in SET.services.iter().filter(|service| !named.contains(&service.name)) {
        assert!(set.services.contains(service), "{} is not as it was", service.name);
    }
}

fn check_answer(line: &str, id: &Value) {
    let line = line.strip_suffix('\n').expect("an answer is a line");
    assert!(!line.contains('\n'), "an answer is one line: {line}");
    let answer: Value = serde_json::from_str(line).expect("an answer is JSON");
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), id));
    match (answer.get("result"), answer.get("error")) {
        (Some(_), None) => {}
        (None, Some(error)) => {
            assert!(error["code"].is_i64(), "{error}");
            assert!(error["message"].as_str().is_some_and(super::is_one_line), "{error}");
            assert!(error.get("data").is_none_or(|data| data["path"].is_string() && data["reason"].is_string()));
        }
        _ => panic!("neither a result nor an error: {line}"),
    }
}
