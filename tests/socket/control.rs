//! The control socket of a whole node, without root: a real socket, real workers, packet memory in place of a network.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use pointsman::config;
use pointsman::control::server::{Limits, Server};
use serde_json::{Value, json};

use testkit::node::{Daemon, LIMIT, answer, service, set};

#[test]
fn a_set_is_applied_shown_and_looked_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let hello = daemon.ask("hello", json!({ "client": "test", "protocol": 1 })).expect("polite");
    assert_eq!((&hello["server"], &hello["protocol"]), (&json!("pointsman"), &json!(1)));

    let pushed = set(&[service("web", "203.0.113.10", 3), service("six", "2001:db8:1::10", 1)]);
    let result = daemon.ask("apply", pushed).expect("valid");
    assert_eq!((&result["revision"], &result["services"], &result["endpoints"]), (&json!("r1"), &json!(2), &json!(4)));
    assert_eq!((&result["changed"], &result["warnings"]), (&json!(2), &json!([])));
    assert_eq!(daemon.vips.lock().expect("no panic").len(), 2, "the gate is open");

    let got = daemon.ask("get", json!({})).expect("it has one");
    assert_eq!(got["services"][1]["name"], "web", "in the order of names");
    let again = daemon.ask("apply", got).expect("what it gives, it takes");
    assert_eq!(again["changed"], 0);
    assert!(again["generation"].as_u64() > result["generation"].as_u64());

    let status = daemon.ask("status", json!({})).expect("well");
    let web = &status["services"][1];
    assert_eq!(web["endpoints"], json!({ "active": 3, "draining": 0, "down": 0 }));
    assert_eq!((&web["table_size"], &web["inner_mtu"], &web["mss"]), (&json!(1021), &json!(1456), &json!(1416)));
    assert_eq!(status["services"][0]["mss"], 1396);
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));

    let flow = json!({ "src": "198.51.100.7", "dst": "203.0.113.10", "protocol": "tcp", "sport": 1, "dport": 80 });
    let found = daemon.ask("lookup", flow).expect("valid");
    assert_eq!(found["service"], "web");
    assert!(found["endpoint"].as_str().is_some_and(|name| name.starts_with("web-")));
    let stats = daemon.ask("stats", json!({})).expect("well");
    assert_eq!(stats["pointsman_received_packets_total"], json!({ "0": 0, "1": 0 }));
    daemon.end();
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[test]
fn a_refused_set_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start_with(dir.path(), "[[service]]\nname = \"own\"\nvip = \"203.0.113.53\"");
    daemon.ask("apply", set(&[service("web", "203.0.113.10", 1)])).expect("valid");
    let before = daemon.ask("get", json!({})).expect("it has one");
    let no_vip = json!({ "name": "a" });
    let at = |address: IpAddr| json!({ "name": "web", "vip": "203.0.113.10", "endpoints": [{ "name": "e", "address": address }] });
    let own = pointsman::underlay::own_addresses().into_iter().find(|own| !own.is_loopback() && !is_link_local(*own));
    let config_source = IpAddr::from([192, 0, 2, 1]);
    for (services, code, name, path) in [
        (json!([service("web", "203.0.113.10", 1), no_vip]), 6, "invalid_set", "services[1].vip"),
        (json!({}), 6, "invalid_set", "services"),
        (json!([service("web", "203.0.113.10", 0)]), 2, "would_empty", "services[0].endpoints"),
        (json!([service("web", "198.51.100.1", 1)]), 3, "vip_not_allowed", "services[0].vip"),
        (json!([at(IpAddr::from([203, 0, 113, 53]))]), 6, "invalid_set", "services[0].endpoints"),
        (json!([at(config_source)]), 6, "invalid_set", "services[0].endpoints"),
        (json!([at(own.unwrap_or(config_source))]), 6, "invalid_set", "services[0].endpoints"),
        (json!([service("own", "203.0.113.1", 1)]), 5, "owned_by_config", "services[0].name"),
        (json!([service("web", "203.0.113.53", 1)]), 5, "owned_by_config", "services[0].vip"),
    ] {
        let error = daemon.ask("apply", json!({ "revision": "bad", "services": services })).expect_err(name);
        assert_eq!((&error["code"], &error["data"]["path"]), (&json!(code), &json!(path)), "{error}");
        assert!(error["message"].as_str().is_some_and(|message| message.starts_with(name)), "{error}");
        assert!(error["data"]["reason"].is_string(), "{error}");
        assert_eq!(daemon.ask("get", json!({})).expect("it has one"), before);
    }
    let emptied = json!({ "revision": "r2", "services": [service("web", "203.0.113.10", 0)], "allow_empty": true });
    daemon.ask("apply", emptied).expect("permitted");
    let error = daemon.ask("apply", json!({ "services": [], "allow_empty": "yes" })).expect_err("not a boolean");
    assert_eq!((&error["code"], &error["data"]["path"]), (&json!(-32602), &json!("allow_empty")));
    let error = daemon.ask("lookup", json!({ "src": "x", "dst": "203.0.113.10" })).expect_err("no protocol");
    assert_eq!(error["code"], -32602);
}

#[test]
fn the_set_outlives_the_daemon() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("web", "203.0.113.10", 3)])).expect("valid");
    let before = daemon.ask("status", json!({})).expect("well");
    daemon.end();

    let daemon = Daemon::start(dir.path());
    let after = daemon.ask("status", json!({})).expect("well");
    assert_eq!(after["revision"], "r1");
    assert_eq!(after["services"], before["services"], "the same tables");
    assert_eq!(daemon.vips.lock().expect("no panic").len(), 1, "before any syncer has come");
    daemon.end();

    let file = dir.path().join("state/endpoint-set.json");
    let half = std::fs::read(&file).expect("written");
    std::fs::write(&file, &half[..half.len() / 2]).expect("cut");
    let daemon = Daemon::start(dir.path());
    let status = daemon.ask("status", json!({})).expect("it starts all the same");
    assert_eq!(status["services"], json!([]));
    assert!(status["store_problem"].as_str().is_some_and(|problem| problem.contains("damaged")), "{status}");
}

#[test]
fn broken_clients_disturb_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut half = daemon.connect();
    half.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hel").expect("it reads");
    let _silent = daemon.connect();
    let answers = |line: &[u8]| daemon.raw(line)["error"]["code"].clone();
    assert_eq!(answers(b"garbage \xff\x00"), -32700);
    assert_eq!(answers(b"[]"), -32600);
    assert_eq!(answers(br#"{"jsonrpc":"2.0","id":1,"method":"destroy"}"#), -32601);
    assert_eq!(answers(br#"{"jsonrpc":"2.0","id":1,"method":"get","params":7}"#), -32602);
    half.write_all(b"lo\"}\n").expect("it reads");
    assert_eq!(answer(&half)["result"]["server"], "pointsman", "the other half came later");

    // Several questions in one write, and an end of line of another system, are no trouble.
    let mut many = daemon.connect();
    many.write_all(
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"get\"}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"get\"}\r\n",
    )
    .expect("it reads");
    let mut lines = BufReader::new(&many).lines();
    for id in 1..=2 {
        let line = lines.next().expect("an answer").expect("in time");
        assert!(line.contains(&format!("\"id\":{id}")), "{line}");
    }
    // One that asks and goes without reading.
    (0..50).for_each(|_| {
        _ = daemon.connect().write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
    });
    assert!(daemon.ask("hello", json!({})).is_ok());
}

#[test]
fn a_line_of_100_mib_is_refused_while_others_are_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut flood = daemon.connect();
    let writer = std::thread::spawn(move || {
        let block = vec![b'x'; 1 << 20];
        let written = (0..100).take_while(|_| flood.write_all(&block).is_ok()).count();
        let mut said = String::new();
        _ = flood.read_to_string(&mut said);
        (written, said)
    });
    let mut longest = Duration::ZERO;
    while !writer.is_finished() {
        let asked = Instant::now();
        daemon.ask("hello", json!({})).expect("served");
        longest = longest.max(asked.elapsed());
    }
    let (written, said) = writer.join().expect("no panic");
    assert!((64..100).contains(&written), "cut off after {written} MiB");
    assert!(said.contains("a line is longer than 64 MiB") || said.is_empty(), "{said}");
    assert!(longest < Duration::from_secs(2), "somebody else waited {longest:?}");
}

#[test]
fn there_is_room_for_a_bounded_number_of_clients() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let crowd: Vec<UnixStream> = (0..64).map(|_| daemon.connect()).collect();
    assert_eq!(answer(&daemon.connect())["error"]["message"], "64 clients are connected already");
    drop(crowd);
    let end = Instant::now() + LIMIT;
    loop {
        let mut stream = daemon.connect();
        // Refused while the crowd is still being shown out; the answer then comes unasked.
        _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\"}\n");
        if answer(&stream).get("result").is_some() {
            break;
        }
        assert!(Instant::now() < end, "the crowd has gone, and still there is no room");
    }
}

/// Whether the daemon has let a client go, within the limit; what it said until then is read.
fn is_let_go(stream: &mut UnixStream) -> bool {
    let mut said = [0; 1 << 16];
    loop {
        match stream.read(&mut said) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn who_does_not_finish_a_line_or_does_not_read_is_let_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { patience: Duration::from_secs(1), ..Limits::default() };
    let daemon = Daemon::start_limited(dir.path(), limits);
    daemon.ask("apply", set(&[service("web", "203.0.113.10", 1_000)])).expect("valid");
    let (mut patient, mut half, mut deaf) = (daemon.connect(), daemon.connect(), daemon.connect());
    half.write_all(b"{\"jsonrpc\":").expect("it reads");
    deaf.set_write_timeout(Some(Duration::from_millis(100))).expect("a socket");
    let question = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"get\"}\n";
    // Until neither side takes more of the other.
    while deaf.write_all(question).is_ok() {}
    assert!(is_let_go(&mut half) && is_let_go(&mut deaf));
    patient.write_all(question).expect("one that is silent between its lines is kept");
    assert!(answer(&patient).get("result").is_some());
}

#[test]
fn the_most_silent_client_makes_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { silence: Duration::ZERO, ..Limits::default() };
    let daemon = Daemon::start_limited(dir.path(), limits);
    let mut crowd: Vec<UnixStream> = (0..64).map(|_| daemon.connect()).collect();
    assert_eq!(daemon.ask("hello", json!({})).expect("there is room")["server"], "pointsman");
    assert!(is_let_go(&mut crowd[0]), "it came first and has never asked anything");
    crowd[63].write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\"}\n").expect("it is still there");
    assert!(answer(&crowd[63]).get("result").is_some());
}

#[test]
fn unfinished_lines_take_no_more_than_their_share_of_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let part = vec![b' '; 1 << 20];
    let mut crowd: Vec<UnixStream> = (0..5).map(|_| daemon.connect()).collect();
    // 63 MiB of a line that may have 64, four times, and then too much.
    for stream in &mut crowd[..4] {
        (0..63).for_each(|_| stream.write_all(&part).expect("it reads"));
    }
    let last = &mut crowd[4];
    let refused = (0..63).any(|_| last.write_all(&part).is_err());
    let said = answer(last);
    let message = said["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("256 MiB of unfinished lines"), "{said}, refused: {refused}");
}

#[test]
fn a_node_without_routes_drains_all_the_same_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("web", "203.0.113.10", 1)])).expect("valid");
    for (method, draining) in [("drain", true), ("drain", true), ("resume", false), ("resume", false)] {
        let answer = daemon.ask(method, json!({})).expect("it may always be asked");
        assert_eq!((&answer["draining"], &answer["announced"]), (&json!(draining), &json!([])));
        let warning = answer["warnings"][0].as_str().expect("a warning");
        assert!(warning.starts_with("announce.routes is false"), "{warning}");
        let status = daemon.ask("status", json!({})).expect("it answers");
        assert_eq!((&status["draining"], &status["announced"]), (&json!(draining), &json!([])));
        assert_eq!(daemon.vips.lock().expect("no panic").len(), 1, "forwarding goes on");
    }
    daemon.end();
}

#[test]
fn the_commands_talk_to_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let file = dir.path().join("set.json");
    std::fs::write(&file, set(&[service("web", "203.0.113.10", 2)]).to_string()).expect("written");
    let run = |args: &[&str]| -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(args)
            .arg("--socket")
            .arg(&daemon.socket)
            .output()
            .expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("text"))
    };
    let file_name = file.display().to_string();
    assert!(run(&["apply", "--set", &file_name]).0);
    let (well, status) = run(&["status"]);
    assert!(well && status.contains("web") && status.contains("203.0.113.10"), "{status}");
    let (_, status) = run(&["status", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&status).expect("JSON")["revision"], "r1");
    assert!(run(&["get"]).1.contains("2001:db8:10::2"));
    assert!(run(&["stats"]).0);
    let (well, said) = run(&["drain"]);
    assert!(well && said.contains("draining") && said.contains("warning: announce.routes is false"), "{said}");
    assert!(run(&["resume"]).1.contains("not draining: 0 VIPs are announced"));
    let flow = ["lookup", "--src", "198.51.100.7", "--dst", "203.0.113.10", "--protocol", "tcp", "--dport", "80"];
    assert!(run(&flow).1.contains("endpoint  web-"));
    let config = dir.path().join("config.toml");
    let text = format!("[interface]\nname = \"none\"\n[control]\nsocket = \"{}\"\n", daemon.socket.display());
    std::fs::write(&config, text).expect("written");
    let mut cleanup = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let output = cleanup.args(["cleanup", "--detach", "--config"]).arg(&config).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("the daemon is alive"), "{said}");
    std::fs::write(&file, r#"{"services":[{"name":"a","vip":"203.0.113.300"}]}"#).expect("written");
    let (well, said) = run(&["apply", "--set", &file_name]);
    assert!(!well && said.contains("invalid_set: services[0].vip: \"203.0.113.300\" is not an IP address"), "{said}");
}

#[test]
fn two_daemons_do_not_share_a_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let config = format!("[interface]\nname = \"x\"\n[control]\nsocket = \"{}\"", daemon.socket.display());
    let config = config::parse(&config).expect("valid");
    let error = Server::bind(&config.control).err().expect("in use").to_string();
    assert!(error.ends_with("another pointsman listens there"), "{error}");
    assert!(daemon.ask("hello", json!({})).is_ok());
    let socket = daemon.socket.clone();
    daemon.end();
    let dead = std::os::unix::net::UnixListener::bind(&socket).expect("free again");
    drop(dead);
    assert!(Server::bind(&config.control).is_ok(), "a dead daemon's socket is replaced");
}

/// Whoever asks every second can leave out what grows with the set.
#[test]
fn what_is_not_wanted_of_an_answer_is_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("web", "203.0.113.10", 3)])).expect("valid");
    for (method, part, left_out) in [
        ("status", "services", &["services"][..]),
        ("stats", "endpoints", &["pointsman_endpoint_packets_total", "pointsman_endpoint_bytes_total"]),
    ] {
        let (whole, same) = (daemon.ask(method, json!({})), daemon.ask(method, json!({ part: true })));
        let (whole, same) = (whole.expect("an answer"), same.expect("an answer"));
        let less = daemon.ask(method, json!({ part: false })).expect("an answer");
        for key in left_out {
            let is_empty = |answer: &Value| {
                answer[key].as_array().is_none_or(Vec::is_empty)
                    && answer[key].as_object().is_none_or(|all| all.is_empty())
            };
            assert!(is_empty(&less) && !is_empty(&whole) && !is_empty(&same), "{key} of {less}");
        }
        let rest = |answer: &Value| {
            let keys = answer.as_object().expect("an object").keys();
            keys.filter(|key| !left_out.contains(&key.as_str())).cloned().collect::<Vec<_>>()
        };
        assert_eq!(rest(&less), rest(&whole));
        let error = daemon.ask(method, json!({ part: "no" })).expect_err("no boolean");
        assert_eq!((&error["code"], &error["data"]["path"]), (&json!(-32602), &json!(part)));
        let error = daemon.ask(method, json!({ "parts": false })).expect_err("no such parameter");
        assert_eq!(error["code"], -32602, "a name that is mistyped is no wish for all");
    }
    let stats = daemon.ask("stats", json!({ "endpoints": false })).expect("an answer");
    assert_eq!(stats["pointsman_service_packets_total"], json!({ "web": 0 }), "services stay");
}
