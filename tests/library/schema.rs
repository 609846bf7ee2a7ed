//! `docs/endpoint-set.schema.json` says what pointsman reads, as far as a schema can: held by a validator that is not ours
//! (python3-jsonschema).

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pointsman::endpoint_set;
use serde_json::{Value, json};
use testkit::project;

/// Debian's own, which has Debian's python3-jsonschema.
const PYTHON: &str = "/usr/bin/python3";

/// Whether there is no validator; it is said.
fn skipped() -> bool {
    let there = Command::new(PYTHON).args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
    testkit::left_out(!there.is_ok_and(|status| status.success()), "python3-jsonschema")
}

/// Whether each document is valid by the schema.
fn by_schema(documents: &[Value]) -> Vec<bool> {
    let mut validator = Command::new(PYTHON)
        .arg(project::file("tests/library/schema/validate.py"))
        .arg(project::file("docs/endpoint-set.schema.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
    let mut input = validator.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = validator.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the validator failed");
    writer.join().expect("no panic").expect("it reads all");
    let said = String::from_utf8(output.stdout).expect("text");
    let valid: Vec<bool> = said.lines().map(|line| line == "true").collect();
    assert_eq!(valid.len(), documents.len());
    valid
}

fn json_file(path: &str) -> Value {
    let path = project::file(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sets of the documents: every JSON object with `services`, in a block or in a request.
fn documented() -> Vec<Value> {
    let files = fs::read_dir(project::file("docs")).expect("there").map(|entry| entry.expect("readable").path());
    let documents = files.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let documents: Vec<PathBuf> = documents.chain([project::file("README.md")]).collect();
    let texts = documents.iter().map(|path| fs::read_to_string(path).expect("readable"));
    texts.flat_map(|text| sets_in(&text)).collect()
}

fn sets_in(text: &str) -> Vec<Value> {
    let objects = text
        .match_indices('{')
        .filter_map(|(at, _)| serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>().next()?.ok());
    objects.filter(|object| object["services"].is_array() && object.get("generation").is_none()).collect()
}

#[test]
fn every_set_of_the_project_is_valid() {
    if skipped() {
        return;
    }
    let mut sets: Vec<Value> =
        ["conf/set.json", "tests/golden/set.json", "testkit/src/rules/forward/everything.json"].map(json_file).into();
    let documented = documented();
    assert!(documented.len() > 1, "the documents have examples");
    // Those that a document shows as wrong are told apart by pointsman itself.
    sets.extend(documented.into_iter().filter(|set| endpoint_set::read(&set.clone().into()).is_ok()));
    for (set, valid) in sets.iter().zip(by_schema(&sets)) {
        assert!(endpoint_set::read(&set.clone().into()).is_ok() && valid, "{set:#}");
    }
}

#[test]
fn what_pointsman_reads_is_valid_and_so_is_what_it_writes() {
    if skipped() {
        return;
    }
    let inputs = fs::read_dir(project::file("fuzz/corpus/set")).expect("there is a corpus");
    let inputs = inputs.map(|entry| fs::read(entry.expect("readable").path()).expect("readable"));
    let sets = inputs.filter_map(|input| serde_json::from_slice::<Value>(&input).ok());
    let sets: Vec<(Value, Value)> =
        sets.filter_map(|set| endpoint_set::read(&set.clone().into()).ok().map(|read| (set, json!(read)))).collect();
    assert!(sets.len() > 10, "{} sets", sets.len());
    let (read, written): (Vec<Value>, Vec<Value>) = sets.into_iter().unzip();
    for documents in [read, written] {
        for (set, valid) in documents.iter().zip(by_schema(&documents)) {
            assert!(valid, "{set:#}");
        }
    }
}

/// A set of one service with these members beside, or in the place of, its name and VIP.
fn with(members: Value) -> Value {
    let mut service = json!({ "name": "s", "vip": "203.0.113.1" });
    let (Value::Object(service_members), Value::Object(members)) = (&mut service, members) else {
        unreachable!("both are objects")
    };
    service_members.extend(members);
    json!({ "services": [service] })
}

/// The same of one endpoint.
fn with_endpoint(members: Value) -> Value {
    let mut endpoint = json!({ "name": "e", "address": "192.0.2.1" });
    let (Value::Object(endpoint_members), Value::Object(members)) = (&mut endpoint, members) else {
        unreachable!("both are objects")
    };
    endpoint_members.extend(members);
    with(json!({ "endpoints": [endpoint] }))
}

#[test]
fn what_pointsman_refuses_the_schema_refuses() {
    if skipped() {
        return;
    }
    let mut sets =
        vec![json!([]), json!({}), json!({ "services": {} }), json!({ "services": null }), json!({ "services": [7] })];
    sets.extend([
        json!({ "services": [], "revision": 1 }),
        json!({ "services": [], "colour": 1 }),
        json!({ "services": [{}] }),
    ]);
    let services = [
        json!({ "name": null }),
        json!({ "name": "" }),
        json!({ "name": "a\n" }),
        json!({ "name": "x".repeat(513) }),
        json!({ "name": 1 }),
        json!({ "vip": null }),
        json!({ "vip": "x" }),
        json!({ "vip": "203.0.113.0/33" }),
        json!({ "vip": "2001:db8::/129" }),
        json!({ "vip": "203.0.113" }),
        json!({ "colour": 1 }),
        json!({ "protocol": "tpc" }),
        json!({ "protocol": "256" }),
        json!({ "protocol": 6 }),
        json!({ "ports": [] }),
        json!({ "ports": 80 }),
        json!({ "ports": [0] }),
        json!({ "ports": [65536] }),
        json!({ "ports": ["x"] }),
        json!({ "ports": [80.5] }),
        json!({ "ports": [null] }),
        json!({ "ports": vec![1; 1025] }),
        json!({ "protocol": "icmp", "ports": [1] }),
        json!({ "protocol": "1", "ports": [1] }),
        json!({ "encap": {} }),
        json!({ "encap": "gre" }),
        json!({ "encap": { "type": "vxlan" } }),
        json!({ "encap": { "type": "gre", "key": -1 } }),
        json!({ "encap": { "type": "gre", "key": 4_294_967_296u64 } }),
        json!({ "encap": { "type": "ipip", "key": 1 } }),
        json!({ "encap": { "type": "gre", "port": 1 } }),
        json!({ "encap": { "type": "gue", "port": 0 } }),
        json!({ "encap": { "type": "gue", "checksum": 1 } }),
        json!({ "encap": { "type": "gue", "label": 16 } }),
        json!({ "encap": { "type": "mpls", "label": 15 } }),
        json!({ "encap": { "type": "mpls", "label": 1_048_576 } }),
        json!({ "encap": { "type": "mpls", "over": "udp" } }),
        json!({ "encap": { "type": "mpls", "checksum": true } }),
        json!({ "encap": { "type": "gre", "over": "gre" } }),
        json!({ "encap": { "type": "gre", "colour": 1 } }),
        json!({ "affinity": "sticky" }),
        json!({ "echo": true }),
        json!({ "udp_drain": "leave" }),
        json!({ "allow": ["x"] }),
        json!({ "allow": "0.0.0.0/0" }),
        json!({ "allow": vec!["192.0.2.1"; 1025] }),
        json!({ "table_size": 1 }),
        json!({ "table_size": 1_048_574 }),
        json!({ "table_size": "13" }),
        json!({ "endpoints": {} }),
        json!({ "endpoints": [{}] }),
        json!({ "endpoints": ["192.0.2.1"] }),
    ];
    let endpoints = [
        json!({ "name": "" }),
        json!({ "name": null }),
        json!({ "address": "x" }),
        json!({ "address": null }),
        json!({ "address": "192.0.2.0/24" }),
        json!({ "weight": -1 }),
        json!({ "weight": 1001 }),
        json!({ "weight": "1" }),
        json!({ "state": "gone" }),
        json!({ "since": "now" }),
        json!({ "since": "2026-11-21" }),
        json!({ "since": 0 }),
        json!({ "since": "2026-11-21T10:00:00" }),
        json!({ "colour": 1 }),
    ];
    sets.extend(services.map(with));
    sets.extend(endpoints.map(with_endpoint));
    for (set, valid) in sets.iter().zip(by_schema(&sets)) {
        assert!(endpoint_set::read(&set.clone().into()).is_err() && !valid, "{set:#}");
    }
}

/// What the schema's description says that it cannot say. One that it learns to say belongs above.
#[test]
fn what_the_schema_cannot_say_pointsman_refuses_all_the_same() {
    if skipped() {
        return;
    }
    let twice = |one: Value, other: Value| json!({ "services": [one, other] });
    let service = |name: &str, vip: &str| json!({ "name": name, "vip": vip });
    let endpoint = json!({ "name": "e", "address": "192.0.2.1" });
    let sets = vec![
        with(json!({ "vip": "203.0.113.300" })),
        with(json!({ "vip": "203.0.113.1/24" })),
        with(json!({ "vip": "224.0.0.1" })),
        with(json!({ "vip": "0.0.0.0/0" })),
        with(json!({ "name": "é".repeat(300) })),
        with(json!({ "ports": ["9-8"] })),
        with(json!({ "ports": [80.0] })),
        with(json!({ "ports": ["65536"] })),
        with(json!({ "table_size": 65536 })),
        with(json!({ "endpoints": [endpoint, endpoint] })),
        with_endpoint(json!({ "address": "ff02::1" })),
        with_endpoint(json!({ "address": "::ffff:192.0.2.1" })),
        with_endpoint(json!({ "since": "2026-06-31T10:00:00Z" })),
        twice(service("a", "203.0.113.1"), service("a", "203.0.113.2")),
        twice(service("a", "203.0.113.1"), service("b", "203.0.113.1")),
    ];
    for (set, valid) in sets.iter().zip(by_schema(&sets)) {
        assert!(endpoint_set::read(&set.clone().into()).is_err() && valid, "{set:#}");
    }
}
