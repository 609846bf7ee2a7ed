//! Parameters that nobody knows, keys that are there twice, and what is accepted with a warning: said over the socket and by the
//! commands.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::node::{Daemon, configuration, service, set};

/// Exit code, standard output and standard error.
fn run(args: &[&str], socket: Option<&Path>) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(args);
    if let Some(socket) = socket {
        command.arg("--socket").arg(socket);
    }
    let output = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_method_refuses_what_it_does_not_know() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("web", "203.0.113.10", 1)])).expect("valid");
    for method in [
        "hello",
        "apply",
        "patch",
        "get",
        "status",
        "lookup",
        "endpoints",
        "stats",
        "subscribe",
        "capture",
        "drain",
        "resume",
        "upgrade",
    ] {
        let error = daemon.ask(method, json!({ "colour": 1 })).expect_err(method);
        assert_eq!((&error["code"], &error["data"]["path"]), (&json!(-32602), &json!("colour")), "{method}: {error}");
        assert!(error["data"]["reason"].as_str().is_some_and(|reason| reason.starts_with("unknown key; ")), "{error}");
    }
    assert_eq!(daemon.ask("status", json!({})).expect("well")["draining"], false, "nothing was done");
}

#[test]
fn a_key_that_is_there_twice_is_refused_with_its_path() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let ask = |params: &str| {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"apply","params":{{{params}}}}}"#);
        let error = daemon.raw(line.as_bytes())["error"].take();
        (error["code"].as_i64().expect("refused"), error["data"]["path"].as_str().expect("where").to_owned())
    };
    assert_eq!(ask(r#""services":[],"allow_empty":false,"allow_empty":true"#), (-32602, "allow_empty".to_owned()));
    assert_eq!(ask(r#""services":[],"services":[]"#), (-32602, "services".to_owned()));
    let service = r#""services":[{"name":"a","vip":"203.0.113.1","vip":"203.0.113.2"}]"#;
    assert_eq!(ask(service), (6, "services[0].vip".to_owned()));
    assert_eq!(daemon.ask("get", json!({})).expect("well")["services"], json!([]));

    let file = dir.path().join("set.json");
    std::fs::write(&file, format!("{{{service}}}")).expect("free");
    let (code, _, said) = run(&["apply", "--set", file.to_str().expect("text")], Some(&daemon.socket));
    assert_eq!(code, Some(1));
    assert!(said.contains("set.json: services[0].vip: this key is there twice"), "{said}");
}

/// A service with one address twice, and one with fewer slots than endpoints.
fn unusual() -> Value {
    let mut twice = service("twice", "203.0.113.10", 2);
    twice["endpoints"][1]["address"] = twice["endpoints"][0]["address"].clone();
    let mut short = service("short", "203.0.113.11", 3);
    short["table_size"] = json!(2);
    set(&[twice, short])
}

#[test]
fn what_is_hardly_meant_is_said_by_apply_and_status_and_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let tried = daemon.ask("apply", json!({ "services": unusual()["services"], "dry_run": true })).expect("valid");
    let applied = daemon.ask("apply", unusual()).expect("valid");
    let status = daemon.ask("status", json!({})).expect("well");
    let twice = "twice: \"twice-0\" and \"twice-1\" are both at 2001:db8:10::1, which gets the share of both";
    let short = "short: 3 active endpoints and 2 slots: 1 get no flow; raise table_size";
    assert_eq!(applied["warnings"], json!([twice, short]));
    assert_eq!(tried["warnings"], applied["warnings"]);
    assert_eq!(status["warnings"], json!([short, twice]), "in the order of names");
    let (code, out, _) = run(&["status"], Some(&daemon.socket));
    assert_eq!(code, Some(0));
    assert!(out.starts_with(&format!("WARNING  {short}\nWARNING  {twice}\n\n")), "{out}");

    let files = ["pointsman.toml", "set.json"].map(|name| dir.path().join(name).to_str().expect("text").to_owned());
    std::fs::write(&files[0], configuration(dir.path(), "")).expect("free");
    std::fs::write(&files[1], unusual().to_string()).expect("free");
    let (code, out, said) = run(&["check", "--config", &files[0], "--set", &files[1]], None);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said, format!("warning: {twice}\nwarning: {short}\n"));
    assert!(out.contains("valid, 2 services, 5 endpoints"), "{out}");
}

#[test]
fn a_list_that_lets_nobody_in_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    for allow in [json!([]), json!(["2001:db8::/32"])] {
        let mut web = service("web", "203.0.113.10", 1);
        web["allow"] = allow;
        let error = daemon.ask("apply", set(&[web])).expect_err("nobody is let in");
        assert_eq!((&error["code"], &error["data"]["path"]), (&json!(6), &json!("services[0].allow")), "{error}");
    }
}
