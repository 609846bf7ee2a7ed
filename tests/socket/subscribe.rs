//! Patches, events and a config read again: a whole node without root, as a syncer and an operator use it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use serde_json::{Value, json};
use testkit::node::{Daemon, UNWELCOME, answer, configuration, service, set};

/// A client that is told events.
struct Subscriber(BufReader<UnixStream>);

impl Subscriber {
    fn new(daemon: &Daemon) -> Self {
        let mut stream = daemon.connect();
        stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\"}\n").expect("it reads");
        let mut subscriber = Self(BufReader::new(stream));
        assert!(subscriber.line()["result"]["generation"].is_u64());
        subscriber
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn event(&mut self) -> Value {
        loop {
            let mut line = self.line();
            assert_eq!((&line["jsonrpc"], &line["method"]), (&json!("2.0"), &json!("event")));
            assert!(line.get("id").is_none(), "a notification");
            let event = line["params"].take();
            // A signal goes to the process, and so to the daemons of the other tests, too.
            if event != json!({ "type": "reloaded", "changed": [] }) {
                return event;
            }
        }
    }

    /// The next event of a type; others are passed over.
    fn next(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// Waits until it is told an error that says this.
    fn error(&mut self, said: &str) {
        while !self.next("error")["message"].as_str().is_some_and(|message| message.contains(said)) {}
    }
}

#[test]
fn a_patch_changes_what_it_names_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("a", "203.0.113.1", 2), service("b", "203.0.113.2", 2)])).expect("valid");
    let patch = json!({ "base": "r1", "revision": "r2", "upsert": [service("c", "203.0.113.3", 1)], "remove": ["a"] });
    let result = daemon.ask("patch", patch.clone()).expect("valid");
    assert_eq!((&result["revision"], &result["services"], &result["endpoints"]), (&json!("r2"), &json!(2), &json!(3)));
    assert_eq!(result["changed"], 2);
    let names = |set: &Value| -> Vec<String> {
        let services = set["services"].as_array().expect("a list");
        services.iter().map(|service| service["name"].as_str().expect("a name").to_owned()).collect()
    };
    let before = daemon.ask("get", json!({})).expect("it has one");
    assert_eq!(names(&before), ["b", "c"]);

    let stale = daemon.ask("patch", patch).expect_err("another revision");
    assert_eq!((&stale["code"], &stale["data"]["path"]), (&json!(1), &json!("base")));
    assert!(stale["message"].as_str().is_some_and(|said| said.contains("\"r2\"")), "{stale}");
    for (patch, code, path) in [
        (json!({ "base": "r2", "upsert": [service("d", "203.0.113.2", 1)] }), 6, "upsert[0].vip"),
        (json!({ "base": "r2", "upsert": [service("b", "203.0.113.2", 0)] }), 2, "upsert[0].endpoints"),
        (json!({ "base": "r2", "upsert": [service("d", "198.51.100.1", 1)] }), 3, "upsert[0].vip"),
        (json!({ "base": "r2", "remove": ["nobody"] }), 6, "remove[0]"),
        (json!({ "upsert": [] }), 6, "base"),
    ] {
        let error = daemon.ask("patch", patch.clone()).expect_err("it is wrong");
        assert_eq!((&error["code"], &error["data"]["path"]), (&json!(code), &json!(path)), "{patch}");
    }
    assert_eq!(daemon.ask("get", json!({})).expect("it has one"), before, "errors change nothing");
    let emptied =
        json!({ "base": "r2", "revision": "r3", "upsert": [service("b", "203.0.113.2", 0)], "allow_empty": true });
    assert_eq!(daemon.ask("patch", emptied).expect("permitted")["endpoints"], 1);
    let vips: Vec<String> = daemon.vips.lock().expect("no panic").iter().map(ToString::to_string).collect();
    assert_eq!(vips, ["203.0.113.2/32", "203.0.113.3/32"]);

    daemon.end();
    let daemon = Daemon::start(dir.path());
    assert_eq!(daemon.ask("hello", json!({})).expect("polite")["revision"], "r3", "a patch is on disk, too");
}

/// A new VIP must not be where packets of another service, which the patch does not name, are sent to.
#[test]
fn a_patch_is_checked_against_all_that_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("a", "203.0.113.1", 1)])).expect("valid");
    let patch = json!({ "base": "r1", "upsert": [service("b", "203.0.113.2", 1), service("x", "2001:db8:10::1", 0)] });
    let error = daemon.ask("patch", patch).expect_err("packets would come back");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(error["code"] == 6 && message.contains("packets would come back"), "{error}");
    let patch = json!({ "base": "r1", "upsert": [service("x", "2001:db8:10::1", 0)] });
    let error = daemon.ask("patch", patch).expect_err("packets would come back");
    assert_eq!(error["data"]["path"], "upsert[0].vip", "{error}");
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("a", "203.0.113.1", 2)])).expect("valid");
    let before = daemon.ask("status", json!({})).expect("well");
    let mut tried = set(&[service("a", "203.0.113.1", 1), service("b", "203.0.113.2", 1)]);
    tried["dry_run"] = json!(true);
    let result = daemon.ask("apply", tried).expect("valid");
    assert_eq!((&result["dry_run"], &result["services"], &result["endpoints"]), (&json!(true), &json!(2), &json!(2)));
    let changes: Vec<String> = result["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|change| format!("{} {} {}", change["type"], change["service"], change["endpoint"]))
        .collect();
    assert_eq!(changes, [r#""endpoint" "a" "a-1""#, r#""service" "b" null"#, r#""endpoint" "b" "b-0""#]);
    assert_eq!(daemon.ask("status", json!({})).expect("well")["generation"], before["generation"]);
    let mut tried = set(&[service("a", "203.0.113.1", 0)]);
    tried["dry_run"] = json!(true);
    assert_eq!(daemon.ask("apply", tried).expect_err("as without")["code"], 2);
}

#[test]
fn where_vips_are_not_let_in_all_is_as_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("a", "203.0.113.1", 2)])).expect("valid");
    let before = daemon.ask("get", json!({})).expect("it has one");
    let mut subscriber = Subscriber::new(&daemon);
    let unwelcome = set(&[service("a", "203.0.113.2", 1), service("x", UNWELCOME, 1)]);
    let error = daemon.ask("apply", unwelcome).expect_err("no room");
    assert_eq!(error["message"], "VIPs are not let in: there is no room");
    assert_eq!(daemon.ask("get", json!({})).expect("it has one"), before);
    let vips: Vec<String> = daemon.vips.lock().expect("no panic").iter().map(ToString::to_string).collect();
    assert_eq!(vips, ["203.0.113.1/32"]);
    let flow = json!({ "src": "198.51.100.7", "dst": "203.0.113.1", "protocol": "tcp", "sport": 1, "dport": 80 });
    assert_eq!(daemon.ask("lookup", flow).expect("valid")["service"], "a", "workers have the set of before");
    let patch = json!({ "base": "r1", "revision": "r2", "upsert": [service("b", "203.0.113.3", 1)] });
    assert_eq!(daemon.ask("patch", patch).expect("welcome")["changed"], 1, "and it can go on from there");
    assert_eq!(subscriber.event()["service"], "b", "of what did not come nothing is told");
}

#[test]
fn subscribers_are_told_what_happens() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut subscriber = Subscriber::new(&daemon);
    let result = daemon.ask("apply", set(&[service("a", "203.0.113.1", 1)])).expect("valid");
    assert_eq!(
        subscriber.event(),
        json!({ "type": "service", "service": "a", "vip": "203.0.113.1", "change": "added" })
    );
    let came = json!({ "type": "endpoint", "service": "a", "endpoint": "a-0", "address": "2001:db8:10::1", "weight": 1,
        "state": "active", "was": null });
    assert_eq!(subscriber.event(), came);
    let applied = subscriber.event();
    assert_eq!((&applied["type"], &applied["revision"]), (&json!("applied"), &json!("r1")));
    assert_eq!((&applied["generation"], &applied["changed"]), (&result["generation"], &json!(1)));

    let mut draining = service("a", "203.0.113.1", 2);
    draining["endpoints"][0]["state"] = json!("draining");
    daemon.ask("apply", set(&[draining])).expect("valid");
    let drains = subscriber.next("endpoint");
    assert_eq!(
        (&drains["endpoint"], &drains["state"], &drains["was"]),
        (&json!("a-0"), &json!("draining"), &json!("active"))
    );
    subscriber.next("applied");
    daemon.ask("drain", json!({})).expect("it drains");
    assert_eq!(subscriber.event(), json!({ "type": "drain", "draining": true, "announced": 0 }));
    daemon.ask("resume", json!({})).expect("it resumes");
    assert_eq!(subscriber.next("drain")["draining"], false);

    let question = b"{\"jsonrpc\":\"2.0\",\"id\":\"mine\",\"method\":\"hello\"}\n";
    subscriber.0.get_mut().write_all(question).expect("it reads");
    assert_eq!(subscriber.line()["id"], "mine", "a subscriber can ask, too");
}

/// Nothing of a draining endpoint is tracked here, so what counts is that slots forget it.
#[test]
fn a_draining_endpoint_is_told_of_when_nothing_is_left_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start_with(dir.path(), "[handover]\nwindow = \"1s\"");
    daemon.ask("apply", set(&[service("a", "203.0.113.1", 2)])).expect("valid");
    let mut subscriber = Subscriber::new(&daemon);
    let mut draining = service("a", "203.0.113.1", 2);
    draining["endpoints"][1]["state"] = json!("draining");
    daemon.ask("apply", set(&[draining])).expect("valid");
    let show = || daemon.ask("endpoints", json!({ "service": "a" })).expect("it is there")["endpoints"][1].take();
    let drained = subscriber.next("drained");
    assert_eq!(drained, json!({ "type": "drained", "service": "a", "endpoint": "a-1", "remembered": false }));
    let shown = show();
    assert_eq!(
        (&shown["state"], &shown["tracked_flows"], &shown["remembered_slots"]),
        (&json!("draining"), &json!(0), &json!(0))
    );
    assert_eq!(shown["slots"], 0, "it gets no new flows");
    assert_eq!(daemon.ask("endpoints", json!({ "service": "b" })).expect_err("none")["data"]["path"], "service");
}

#[test]
fn a_subscriber_that_does_not_read_disturbs_nobody_and_learns_what_it_missed() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let (mut lazy, mut eager) = (Subscriber::new(&daemon), Subscriber::new(&daemon));
    let rounds = 40;
    for round in 0..rounds {
        let count = if round % 2 == 0 { 500 } else { 1 };
        daemon.ask("apply", set(&[service("a", "203.0.113.1", count)])).expect("valid");
        let last = (0..).map(|_| eager.event()).find(|event| event["type"] == "applied");
        assert!(last.is_some(), "the other one is told all the same");
    }
    let missed = lazy.next("missed");
    assert!(missed["count"].as_u64().is_some_and(|count| count > 0), "{missed}");
    daemon.ask("apply", set(&[service("a", "203.0.113.1", 1)])).expect("valid");
    lazy.next("applied");
}

/// The room for a packet in the tunnels of each service.
fn inner_mtus(status: &Value) -> Vec<u64> {
    let services = status["services"].as_array().into_iter().flatten();
    services.filter_map(|service| service["inner_mtu"].as_u64()).collect()
}

fn hang_up() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).expect("it is ours");
}

/// The group and the mode of its socket.
fn access(daemon: &Daemon) -> (u32, u32) {
    let about = std::fs::metadata(&daemon.socket).expect("there");
    (about.gid(), about.mode() & 0o777)
}

/// Has a node read another config, which it finds whole: the signals of other tests reach it, too.
fn reconfigure(daemon: &Daemon, text: String) {
    let fresh = daemon.config_file.with_extension("new");
    std::fs::write(&fresh, text).expect("a file");
    std::fs::rename(fresh, &daemon.config_file).expect("a file");
    hang_up();
}

#[test]
fn what_can_change_without_a_restart_does_and_the_rest_is_refused_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("web", "203.0.113.1", 2)])).expect("valid");
    let mut subscriber = Subscriber::new(&daemon);
    let rewrite = |text: String| reconfigure(&daemon, text);
    let own = "hop_limit = 33\n[[service]]\nname = \"own\"\nvip = \"203.0.113.53\"\n\
        endpoints = [{ name = \"x\", address = \"2001:db8:10::99\" }]";
    rewrite(configuration(dir.path(), own));
    let reloaded = subscriber.next("reloaded");
    assert_eq!(reloaded["changed"], json!(["underlay.hop_limit", "[[service]]"]));
    let status = || daemon.ask("status", json!({})).expect("well");
    assert_eq!(status()["services"].as_array().map(Vec::len), Some(2));
    assert_eq!(daemon.vips.lock().expect("no panic").len(), 2, "its VIP is let in");
    let before = access(&daemon);
    assert_ne!(before.1, 0o600);

    for (text, reason) in [
        (
            configuration(dir.path(), "").replace("\"none\"", "\"eth7\""),
            "interface.name cannot change by a reload: a restart does it",
        ),
        (configuration(dir.path(), "[hash]\nseed = \"ff\""), "hash.seed: "),
        (
            configuration(dir.path(), &own.replace("203.0.113.53", "203.0.113.1")),
            "pointsman.toml and the syncer's set, which `get` shows, do not go together: \"web\": \"web\" matches",
        ),
        (
            configuration(dir.path(), &own.replace("2001:db8:10::99", "203.0.113.53")),
            "pointsman.toml: service[0].endpoints: ",
        ),
        (configuration(dir.path(), "").replace("203.0.113.0/24", "198.51.100.0/24"), "not within control.vip_allow"),
        (configuration(dir.path(), "").replace("allow_users", "group = \"no such group\"\nallow_users"), "no group"),
        // Seen last of all, when workers forward by it already.
        (
            configuration(dir.path(), &format!("mtu = 1400\n{}", own.replace("203.0.113.53", UNWELCOME)))
                .replace("allow_users", "mode = \"0600\"\nallow_users"),
            "no room",
        ),
    ] {
        rewrite(text);
        subscriber.error(reason);
        let status = status();
        assert!(status["reload_problem"].as_str().is_some_and(|said| said.contains(reason)), "{status}");
        assert_eq!(status["services"].as_array().map(Vec::len), Some(2), "nothing has changed");
        assert_eq!(inner_mtus(&status), [1456, 1456], "{reason}: {status}");
        assert_eq!(access(&daemon), before, "{reason}");
    }
    rewrite(configuration(dir.path(), ""));
    while status()["services"].as_array().map(Vec::len) != Some(1) {
        subscriber.next("reloaded");
    }
    assert_eq!(status()["reload_problem"], Value::Null);
}

/// From now on this thread may give its files only to groups of its own, also where it is root's.
fn give_up_chown() {
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None).expect("Linux knows");
    let [effective, permitted, inheritable] =
        [effective, permitted, inheritable].map(|set| set.difference(CapabilitySet::CHOWN));
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable }).expect("they become fewer");
}

#[test]
fn a_config_whose_group_cannot_have_the_socket_is_refused_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start_in(dir.path(), "", give_up_chown);
    daemon.ask("apply", set(&[service("web", "203.0.113.1", 2)])).expect("valid");
    let mut subscriber = Subscriber::new(&daemon);
    let before = access(&daemon);
    let text = configuration(dir.path(), "mtu = 1400");
    let text = text.replace("allow_users", "mode = \"0600\"\ngroup = \"4242\"\nallow_users");
    reconfigure(&daemon, text);
    let said = "control.group: this user may not give the control socket to the group \"4242\"";
    subscriber.error(said);
    let status = daemon.ask("status", json!({})).expect("well");
    assert!(status["reload_problem"].as_str().is_some_and(|problem| problem.contains(said)), "{status}");
    assert_eq!((access(&daemon), inner_mtus(&status)), (before, vec![1456]), "nothing has changed");
}

#[test]
fn who_may_write_follows_the_config() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut subscriber = Subscriber::new(&daemon);
    let ask = |mut stream: &UnixStream, method: &str| {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": {} });
        writeln!(stream, "{question}").expect("it reads");
        answer(stream)
    };
    let (writer, watcher) = (daemon.connect(), daemon.connect());
    assert_eq!(ask(&writer, "resume")["result"]["draining"], false);
    assert_eq!(ask(&watcher, "capture")["result"]["workers"], 2);
    let text = std::fs::read_to_string(&daemon.config_file).expect("a file");
    let nobody = text.replace(
        &format!("allow_users = [\"{}\"]", rustix::process::getuid().as_raw()),
        "allow_users = []\nmode = \"0600\"",
    );
    reconfigure(&daemon, nobody);
    subscriber.next("reloaded");
    assert_eq!(daemon.ask("apply", set(&[])).expect_err("a reader")["code"], 4);
    assert_eq!(access(&daemon).1, 0o600);
    assert_eq!(ask(&writer, "resume")["error"]["code"], 4, "also where it was connected before");
    assert_eq!(answer(&watcher)["error"]["code"], 4, "it is shown no more packets");
    assert_eq!((&watcher).read(&mut [0]).expect("in time"), 0, "and let go");

    reconfigure(&daemon, text);
    subscriber.next("reloaded");
    assert_eq!(ask(&writer, "resume")["result"]["draining"], false, "it may again");
}

/// Each answer is kept until it is read, so that many large ones would take much memory.
#[test]
fn readers_that_do_not_read_are_answered_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let services: Vec<Value> = (0..20).map(|n| service(&format!("s{n}"), &format!("203.0.113.{n}"), 1_000)).collect();
    daemon.ask("apply", set(&services)).expect("valid");
    let mut subscriber = Subscriber::new(&daemon);
    let text = std::fs::read_to_string(&daemon.config_file).expect("a file");
    let user = format!("allow_users = [\"{}\"]", rustix::process::getuid().as_raw());
    std::fs::write(&daemon.config_file, text.replace(&user, "allow_users = []")).expect("a file");
    hang_up();
    subscriber.next("reloaded");
    let ask = |_| {
        let mut reader = daemon.connect();
        reader.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"endpoints\"}\n").expect("it reads");
        reader
    };
    let readers: Vec<UnixStream> = (0..40).map(ask).collect();
    let is_refused = |reader: &&UnixStream| answer(reader)["error"]["message"].to_string().contains("too slowly");
    let refused = readers.iter().filter(is_refused).count();
    assert!(refused > 0 && refused < 40, "{refused} of 40");
    daemon.ask("hello", json!({})).expect("all has been read");
}
