//! What becomes of a stored set whose services do not all go with the config, or the node, of today: only those that conflict
//! are left out, each is named, and none is forgotten.

use std::fs;
use std::path::Path;

use pointsman::config;
use pointsman::control::node::Node;
use pointsman::control::protocol::Method;
use serde_json::{Value, json};
use testkit::node::{Daemon, Vips, configuration, service, set};

const OWN: &str = "[[service]]\nname = \"own\"\nvip = \"203.0.113.10\"\nendpoints = []";

/// A directory whose node was pushed two services when it had no config of its own that conflicts.
fn with_set() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("web", "203.0.113.10", 2), service("dns", "203.0.113.53", 1)])).expect("valid");
    daemon.end();
    dir
}

/// The names of a list of services.
fn names(services: &Value) -> Vec<&str> {
    services.as_array().into_iter().flatten().filter_map(|service| service["name"].as_str()).collect()
}

fn left_out(status: &Value) -> Vec<(&str, &str)> {
    let all = status["left_out"].as_array().expect("a list").iter();
    all.map(|left| (left["service"].as_str().expect("a name"), left["reason"].as_str().expect("why"))).collect()
}

fn status(daemon: &Daemon) -> Value {
    daemon.ask("status", json!({})).expect("well")
}

#[test]
fn only_what_conflicts_is_left_out_at_a_start() {
    let dir = with_set();
    for (more, in_force, web) in [
        (OWN, vec!["dns", "own"], "\"web\" matches the same packets as \"own\" of the config"),
        (
            "[[service]]\nname = \"web\"\nvip = \"203.0.113.9\"",
            vec!["dns", "web"],
            "\"web\" is a service of the config",
        ),
    ] {
        let daemon = Daemon::start_with(dir.path(), more);
        let status = status(&daemon);
        assert_eq!((names(&status["services"]), left_out(&status)), (in_force, vec![("web", web)]));
        assert_eq!((&status["revision"], &status["store_problem"]), (&json!("r1"), &Value::Null));
        assert_eq!(names(&daemon.ask("get", json!({})).expect("well")["services"]), ["dns", "web"], "as it was pushed");
        daemon.end();
    }
    let daemon = Daemon::start(dir.path());
    let status = status(&daemon);
    assert_eq!((names(&status["services"]), left_out(&status)), (vec!["dns", "web"], vec![]), "it is not forgotten");
    daemon.end();
}

#[test]
fn a_narrower_vip_allow_leaves_out_what_is_outside() {
    let dir = with_set();
    let narrow = configuration(dir.path(), "").replace("203.0.113.0/24", "203.0.113.48/28");
    let status = answers_of(dir.path(), &narrow, status_of);
    let expected = "203.0.113.10 is not within control.vip_allow of this node";
    assert_eq!((names(&status["services"]), left_out(&status)), (vec!["dns"], vec![("web", expected)]));
}

fn status_of(node: &mut Node) -> Value {
    node.answer(Method::Status, json!({})).expect("well")
}

/// What a node by this config answers, which starts with what is on disk and ends again.
fn answers_of<T>(dir: &Path, text: &str, ask: impl FnOnce(&mut Node) -> T) -> T {
    fs::write(dir.join("pointsman.toml"), text).expect("free");
    let (mut node, workers) = testkit::node::node(config::parse(text).expect("valid"), Vips::default());
    node.restore().expect("a set that was in force keeps no node from starting");
    let answer = ask(&mut node);
    node.stop();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic").expect("memory"));
    answer
}

#[test]
fn a_reload_brings_back_what_no_longer_conflicts_and_takes_nothing_out_of_force() {
    let dir = with_set();
    let file = dir.path().join("pointsman.toml");
    let write = |text: &str| fs::write(&file, text).expect("free");
    answers_of(dir.path(), &configuration(dir.path(), OWN), |node| {
        let status = status_of;
        assert_eq!(left_out(&status(node)).len(), 1);
        // What is left out already is no reason to refuse another change; what is in force is.
        write(&configuration(dir.path(), &format!("hop_limit = 9\n{OWN}")));
        node.reload(|_| Ok(|| ())).expect("nothing more conflicts");
        assert_eq!(names(&status(node)["services"]), ["dns", "own"]);
        write(&configuration(dir.path(), &OWN.replace("203.0.113.10", "203.0.113.53")));
        let refused = node.reload(|_| Ok(|| ())).expect_err("it would take a service out of force");
        assert!(
            refused.contains("do not go together: \"dns\": \"dns\" matches the same packets as \"own\""),
            "{refused}"
        );
        assert_eq!(names(&status(node)["services"]), ["dns", "own"]);
        write(&configuration(dir.path(), &OWN.replace("203.0.113.10", "203.0.113.11")));
        node.reload(|_| Ok(|| ())).expect("nothing conflicts");
        assert_eq!((names(&status(node)["services"]), left_out(&status(node))), (vec!["dns", "own", "web"], vec![]));
    });
}

/// Hands a node over to another by this config; answers what is in force there, and what is left out.
fn handed_over(dir: &Path, from: &mut Node, text: &str) -> Result<(Vec<String>, usize), String> {
    let (mut node, workers) = testkit::node::node(config::parse(text).expect("valid"), Vips::default());
    let state = from.state().expect("plain data");
    let adopted = node.adopt(state);
    if adopted.is_ok() {
        node.look_after();
        node.follow_config();
    }
    let status = status_of(&mut node);
    node.stop();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic").expect("memory"));
    _ = fs::write(dir.join("pointsman.toml"), text);
    adopted.map(|()| (names(&status["services"]).into_iter().map(str::to_owned).collect(), left_out(&status).len()))
}

#[test]
fn an_upgrade_takes_nothing_out_of_force_and_brings_back_what_no_longer_conflicts() {
    let dir = with_set();
    let config = |own: &str| configuration(dir.path(), own);
    answers_of(dir.path(), &config(OWN), |node| {
        let (in_force, left_out) = handed_over(dir.path(), node, &config(OWN)).expect("as it is here");
        assert_eq!((in_force.join(" ").as_str(), left_out), ("dns own", 1));
        let (in_force, left_out) = handed_over(dir.path(), node, &config("")).expect("nothing conflicts");
        assert_eq!((in_force.join(" ").as_str(), left_out), ("dns web", 0));
        let refused = handed_over(dir.path(), node, &config(&OWN.replace("203.0.113.10", "203.0.113.53")));
        let refused = refused.expect_err("it would take a service out of force");
        assert!(refused.contains("does not go with the set in force: \"dns\": \"dns\" matches"), "{refused}");
    });
}

#[test]
fn a_patch_is_of_the_whole_set_and_mends_what_it_names() {
    let dir = with_set();
    let daemon = Daemon::start_with(dir.path(), OWN);
    let patch = |base: &str, revision: &str, more: Value| {
        let mut patch = json!({ "base": base, "revision": revision });
        patch.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        daemon.ask("patch", patch)
    };
    let web = "\"web\" is not in force: \"web\" matches the same packets as \"own\" of the config";
    let tried = patch("r1", "r2", json!({ "upsert": [service("new", "203.0.113.20", 1)], "dry_run": true }));
    assert_eq!(tried.expect("valid")["warnings"], json!([web]));
    let applied = patch("r1", "r2", json!({ "upsert": [service("new", "203.0.113.20", 1)] })).expect("valid");
    assert_eq!(
        (&applied["services"], &applied["changed"], &applied["warnings"]),
        (&json!(3), &json!(1), &json!([web]))
    );
    assert_eq!(names(&status(&daemon)["services"]), ["dns", "new", "own"]);
    let error = patch("r2", "r3", json!({ "upsert": [service("web", "203.0.113.10", 2)] })).expect_err("as before");
    assert_eq!(error["code"], 5);
    let error = daemon.ask("apply", daemon.ask("get", json!({})).expect("well")).expect_err("a whole set names all");
    assert_eq!((&error["code"], &error["data"]["path"]), (&json!(5), &json!("services[2].vip")));
    daemon.end();

    // The patch is on disk, and what it did not name, too.
    let daemon = Daemon::start(dir.path());
    let status_now = status(&daemon);
    assert_eq!((&status_now["revision"], names(&status_now["services"])), (&json!("r2"), vec!["dns", "new", "web"]));
    daemon.end();

    let daemon = Daemon::start_with(dir.path(), OWN);
    let moved = json!({ "base": "r2", "revision": "r3", "upsert": [service("web", "203.0.113.12", 2)] });
    assert_eq!(daemon.ask("patch", moved).expect("it does not conflict")["warnings"], json!([]));
    assert_eq!(names(&status(&daemon)["services"]), ["dns", "new", "own", "web"]);
    daemon.end();
    let daemon = Daemon::start_with(dir.path(), &OWN.replace("203.0.113.10", "203.0.113.12"));
    assert_eq!(left_out(&status(&daemon)).len(), 1);
    daemon.ask("patch", json!({ "base": "r3", "revision": "r4", "remove": ["web"] })).expect("it is in the set");
    assert_eq!(left_out(&status(&daemon)), []);
    daemon.end();
    let daemon = Daemon::start(dir.path());
    assert_eq!(names(&status(&daemon)["services"]), ["dns", "new"], "what was taken out does not come back");
}

#[test]
fn what_is_left_out_is_a_problem_in_status() {
    let dir = with_set();
    let daemon = Daemon::start_with(dir.path(), OWN);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["status", "--socket"])
        .arg(&daemon.socket)
        .output()
        .expect("it starts");
    let said = String::from_utf8(output.stdout).expect("text");
    let expected =
        "PROBLEM  the service web is not in force: \"web\" matches the same packets as \"own\" of the config\n";
    assert!(said.starts_with(expected), "{said}");
}
