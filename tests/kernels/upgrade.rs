//! A daemon hands over to another process, many times in a row, under load: no packet is lost, none comes twice, and none out
//! of its flow's order. Needs root.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{Asked, Driver, Edge, Load, Pauses, SOON, Sessions, Stream, Topology};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// Flows of the stream, over all queues.
const FLOWS: u32 = 16;
/// Between two datagrams of a flow.
const PAUSE: Duration = Duration::from_millis(10);

#[test]
fn no_packet_is_lost_af_xdp_native() {
    no_packet_is_lost(Driver::XdpNative, 50);
}

#[test]
fn no_packet_is_lost_af_xdp_generic() {
    no_packet_is_lost(Driver::XdpGeneric, 50);
}

#[test]
fn no_packet_is_lost_af_packet() {
    no_packet_is_lost(Driver::Packet, 10);
}

fn no_packet_is_lost(driver: Driver, upgrades: usize) {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(2, 2);
    let mut edge = Edge::start(&topology.edge, driver);
    edge.apply(set(&topology));
    let stream = start(&topology);
    stream.run(50);
    let (mut pauses, mut before) = (Pauses::default(), [0; 3]);
    for _ in 0..upgrades {
        pauses.take(&edge.upgrade());
        let metrics = edge.metrics();
        metrics.assert_balanced();
        let now = ["pointsman_received_packets_total", "pointsman_service_packets_total"].map(|name| metrics.sum(name));
        let now = [now[0], now[1], metrics.count("pointsman_latency_seconds")];
        assert!(now.iter().zip(&before).all(|(now, before)| now >= before), "{now:?} after {before:?}");
        before = now;
        stream.run(4);
    }
    let (sent, heard) = stream.finish();
    println!(
        "{driver:?}: {upgrades} upgrades, {sent} packets sent, {} came; {pauses}; longest silence {:?}",
        heard.count, heard.silence
    );
    assert_eq!((heard.count, heard.lost, heard.late), (sent, 0, 0), "{}", edge.json("stats"));
    assert_short(&pauses, 2 * upgrades);
    let metrics = edge.metrics();
    metrics.assert_balanced();
    assert!(metrics.sum("pointsman_service_packets_total") >= sent, "counters go on");
    assert!(edge.stop().success());
}

/// A thousand connections over which requests go all the time.
#[test]
fn no_connection_is_lost_by_fifty_upgrades() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(2, 2);
    let _servers: Vec<Asked> = topology.endpoints.iter().map(|e| Asked::start(&e.namespace, &e.name)).collect();
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    edge.apply(set(&topology));
    let sessions = Sessions::start(&topology.client, VIP, 1_000);
    let mut pauses = Pauses::default();
    (0..50).for_each(|_| pauses.take(&edge.upgrade()));
    sessions.go_on("after 50 upgrades");
    // Rounds go on, so they are counted before the packets.
    let rounds = sessions.rounds();
    let metrics = edge.metrics();
    println!("1,000 connections: {rounds} rounds of requests, {pauses}");
    assert_short(&pauses, 2 * 50);
    metrics.assert_balanced();
    assert!(metrics.sum("pointsman_service_packets_total") >= 2 * 1_000 * rounds.saturating_sub(1));
}

#[test]
fn a_thousand_connections_go_on_af_xdp() {
    connections_and_their_tracked_flows_go_on(Driver::XdpNative, 1_000);
}

#[test]
fn connections_go_on_af_packet() {
    connections_and_their_tracked_flows_go_on(Driver::Packet, 100);
}

/// Long connections in a handover, with a flow tracked for each, and HTTP requests over new ones.
fn connections_and_their_tracked_flows_go_on(driver: Driver, connections: usize) {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(2, 4);
    let _servers: Vec<Asked> = topology.endpoints.iter().map(|e| Asked::start(&e.namespace, &e.name)).collect();
    let mut edge = Edge::start(&topology.edge, driver);
    edge.apply(set_of(&topology, &["active", "active", "", ""]));
    let sessions = Sessions::start(&topology.client, VIP, connections);
    let load = Load::start(&topology.client, SocketAddr::new(VIP, 80));
    edge.upgrade();
    edge.apply(set_of(&topology, &["draining", "draining", "active", "active"]));
    sessions.go_on("in a handover");
    let tracked = |edge: &Edge<'_>| edge.metrics().sum("pointsman_tracked_flows");
    let handover = |edge: &Edge<'_>| edge.json("status")["services"][0]["handover"]["slots"].as_u64();
    let (before, slots) = (tracked(&edge), handover(&edge));
    assert!(before >= connections as u64, "{before} flows are tracked");
    assert!(slots.is_some_and(|slots| slots > 0), "{slots:?} slots remember");
    // Only the other process knows of them: what is on disk is not read.
    edge.lose_state();
    (0..3).for_each(|_| _ = edge.upgrade());
    sessions.go_on("after upgrades in the middle of a handover");
    assert!(tracked(&edge) >= connections as u64, "the flows are tracked still");
    assert_eq!(handover(&edge), slots);
    edge.apply(set_of(&topology, &["draining", "draining", "active", "draining"]));
    sessions.go_on("after another change");
    load.run(20);
    let failed: Vec<_> = load.finish().into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "of the requests failed: {failed:?}");
    edge.metrics().assert_balanced();
}

/// When slots remember nothing any more, only the tracked flows say where older connections go, and only the slots that have
/// remembered say which flows are looked up: neither is on disk.
#[test]
fn flows_that_only_the_daemon_knows_of_go_on() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(2, 4);
    let _servers: Vec<Asked> = topology.endpoints.iter().map(|e| Asked::start(&e.namespace, &e.name)).collect();
    let window = "[handover]\nwindow = \"15s\"\n";
    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).sections(window).start();
    edge.apply(set_of(&topology, &["active", "active", "", ""]));
    let sessions = Sessions::start(&topology.client, VIP, 100);
    edge.apply(set_of(&topology, &["draining", "draining", "active", "active"]));
    sessions.go_on("in a handover");
    let slots = || edge.json("status")["services"][0]["handover"]["slots"].as_u64();
    assert!(testkit::wait_until(3 * SOON, || slots() == Some(0)), "{:?} slots remember", slots());
    let tracked = |edge: &Edge<'_>| edge.metrics().sum("pointsman_tracked_flows");
    let before = tracked(&edge);
    assert!(before >= 100, "{before} flows are tracked");
    edge.upgrade();
    sessions.go_on("when slots have forgotten");
    assert_eq!(tracked(&edge), before);
    // Where the table is of another size, flows are told; and the next process goes on with the new one where it lies.
    edge.edit_config("window = \"15s\"", "window = \"15s\"\ntracked_flows = 4096");
    for _ in 0..2 {
        edge.upgrade();
        sessions.go_on("in a table of another size");
        assert_eq!(tracked(&edge), before);
    }
    let words = edge.log();
    let ways: Vec<bool> = words.lines().filter_map(in_place).collect();
    assert_eq!(ways, [true, false, true], "{words}");
}

/// Whether a line of the log says that tracked flows stay where they lie, or that they do not.
fn in_place(line: &str) -> Option<bool> {
    let is_about = line.contains("ready to take over");
    is_about.then(|| line.contains("in_place=true"))
}

/// Those who wait at the same time for different programs get different answers.
#[test]
fn each_request_gets_the_program_that_it_asks_for() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1, 1);
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    edge.apply(set(&topology));
    let before = edge.pid();
    let copy = edge.copy_of_binary("another");
    let connect = || BufReader::new(UnixStream::connect(edge.socket()).expect("it listens"));
    let mut clients = [connect(), connect(), connect(), connect()];
    clients.iter().for_each(|client| client.get_ref().set_read_timeout(Some(SOON)).expect("a socket"));
    let wanted = [json!(edge.script("exit 3")), json!(copy), json!("/nowhere/pointsman"), Value::Null];
    // In its tracks, so that all of them wait when it looks.
    edge.frozen(|| {
        for (client, binary) in clients.iter().zip(&wanted) {
            let question = json!({ "jsonrpc": "2.0", "id": 5, "method": "upgrade", "params": { "binary": binary } });
            say(client, &format!("{question}\n"));
        }
    });
    let answers = clients.each_mut().map(line);
    let reason = |at: usize| answers[at]["error"]["message"].as_str().unwrap_or_default();
    assert!(reason(0).contains("exit status: 3"), "{answers:?}");
    assert!(reason(2).contains("there is no file /nowhere/pointsman"), "{answers:?}");
    let process = |at: usize| answers[at]["result"]["process"].as_i64().unwrap_or_else(|| panic!("{answers:?}"));
    assert!(process(1) != process(3) && [process(1), process(3)].iter().all(|number| *number != i64::from(before)));
    let now = edge.follow_upgrades();
    assert!([process(1), process(3)].contains(&now.into()), "{now}: {answers:?}");
    assert!(edge.stop().success());
}

/// Who asks for an upgrade while the daemon is about to end is told that, and so is who has waited since before.
#[test]
fn a_daemon_that_stops_says_why_there_is_no_upgrade() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1, 1);
    let announces = "[announce]\nroutes = true\ndrain_time = \"60s\"\n";
    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).sections(announces).start();
    edge.apply(set(&topology));
    edge.ask_to_stop();
    let routes = || topology.edge.run(&["ip", "route", "show", "proto", "112"]);
    assert!(testkit::wait_until(SOON, || routes().trim().is_empty()), "{}", routes());
    let said = edge.upgrade_to(None).expect_err("it stops");
    assert!(said.contains("this daemon was asked to stop"), "{said}");
    // The second signal ends the waiting.
    assert!(edge.stop().success());
}

/// A subscriber, one with half a question, and one with answers that it has not read.
#[test]
fn clients_of_the_control_socket_go_on() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1, 1);
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    edge.apply(set(&topology));
    let connect = || {
        let stream = UnixStream::connect(edge.socket()).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a socket");
        BufReader::new(stream)
    };
    let (mut subscriber, mut half, mut slow) = (connect(), connect(), connect());
    say(&subscriber, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\"}\n");
    let subscribed = line(&mut subscriber);
    say(&half, "{\"jsonrpc\":\"2.0\",\"id\":\"half\",");
    let stats = "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"stats\"}\n";
    say(&slow, &stats.repeat(200));
    // It has begun to answer, and cannot go on, as nobody reads.
    assert!(testkit::wait_until(SOON, || slow.fill_buf().is_ok_and(|read| !read.is_empty())));
    let answer = edge.upgrade();
    let event = line(&mut subscriber);
    assert_eq!((&event["method"], &event["params"]["type"]), (&json!("event"), &json!("upgrade")));
    assert_eq!((&event["params"]["process"], &event["params"]["workers"]), (&answer["process"], &json!(1)));
    say(&half, "\"method\":\"hello\"}\n");
    let hello = line(&mut half);
    assert_eq!((&hello["id"], &hello["result"]["revision"]), (&json!("half"), &json!("test")));
    assert_eq!(hello["result"]["generation"], subscribed["result"]["generation"], "the snapshot is the same");
    for _ in 0..200 {
        assert!(line(&mut slow)["result"]["pointsman_generation"].is_u64());
    }
    // The next event is the next change: there was but one.
    edge.ask("drain");
    assert_eq!(line(&mut subscriber)["params"]["type"], "drain");
    edge.upgrade();
    assert_eq!(line(&mut subscriber)["params"]["type"], "upgrade");
    assert_eq!(edge.json("status")["draining"], true);
    edge.ask("resume");
    assert_eq!(line(&mut subscriber)["params"]["draining"], false);
}

/// By a signal, as an operator without the command would; the service manager learns which process is the main one.
#[test]
fn a_signal_asks_for_it_and_the_service_manager_is_told() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1, 1);
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    edge.apply(set(&topology));
    let process = edge.upgrade_by_signal();
    let main = format!("MAINPID={process}");
    assert!(testkit::wait_until(SOON, || edge.notified().contains(&main)), "{:?}", edge.notified());
    let is_told = |edge: &Edge<'_>, what: &str| edge.notified().iter().filter(|line| *line == what).count();
    let before = is_told(&edge, "WATCHDOG=1");
    assert!(
        testkit::wait_until(SOON, || is_told(&edge, "WATCHDOG=1") > before + 1),
        "the watchdog is told by the new process"
    );
    assert_eq!(is_told(&edge, "STOPPING=1"), 0, "nothing has stopped");
    edge.edit_config("name = \"edge\"", "name = \"edge-2\"");
    edge.signal(Signal::HUP);
    assert!(testkit::wait_until(SOON, || edge.json("status")["node"] == "edge-2"), "SIGHUP is still a reload");
    assert!(edge.stop().success());
    assert_eq!(is_told(&edge, "STOPPING=1"), 1);
    let link = topology.edge.run(&["ip", "link", "show", "eth0"]);
    assert!(!link.contains("xdp"), "a clean stop removes the steering program: {link}");
    assert!(!std::path::Path::new(&edge.socket()).exists(), "and the control socket");
}

/// What the config says of services, and of what can change, comes into force with the new process.
#[test]
fn what_has_changed_in_the_config_comes_into_force() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1, 1);
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    edge.apply(set(&topology));
    let address = topology.endpoints[0].addresses.1;
    edge.append_config(&format!(
        "[[service]]\nname = \"own\"\nvip = \"203.0.113.77\"\nendpoints = [{{ name = \"a\", address = \"{address}\" }}]\n"
    ));
    let core = edge.json("status")["workers"][0]["core"].as_u64().expect("it has a core") as usize;
    let cores = core_affinity::get_core_ids().expect("they are known");
    let other = cores.iter().map(|core| core.id).find(|other| *other != core).unwrap_or(core);
    edge.edit_config("driver = ", &format!("cores = [{other}]\nbatch = 32\npoll = \"busy\"\ndriver = "));
    edge.upgrade();
    assert_eq!(edge.json("status")["workers"][0]["core"], json!(other));
    let names = || -> Vec<String> {
        let status = edge.json("status");
        let services = status["services"].as_array().expect("a list").iter();
        services.map(|service| service["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(), ["own", "web"]);
    edge.metrics().assert_balanced();
}

/// With the announcement turned off, the routes that the process before has made go.
#[test]
fn routes_that_are_not_wanted_any_more_are_withdrawn() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1, 1);
    let announces = "[announce]\nroutes = true\ndrain_time = \"0s\"\n";
    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).sections(announces).start();
    let routes = || topology.edge.run(&["ip", "route", "show", "proto", "112"]);
    edge.apply(set(&topology));
    assert!(routes().contains("203.0.113.10"), "{}", routes());
    edge.upgrade();
    assert!(routes().contains("203.0.113.10"), "{}", routes());
    edge.edit_config("routes = true", "routes = false");
    edge.upgrade();
    assert!(testkit::wait_until(SOON, || routes().trim().is_empty()), "{}", routes());
    assert_eq!(edge.json("status")["announced"], json!([]));
    assert!(edge.stop().success());
}

/// From SIGTERM until packets come through again, with everything read from disk.
#[test]
fn a_cold_restart_is_short() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(2, 2);
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    edge.apply(set(&topology));
    let mut silences = Vec::new();
    for _ in 0..3 {
        let stream = start(&topology);
        stream.run(20);
        edge.stop();
        edge.run();
        stream.run(20);
        silences.push(stream.finish().1.silence);
    }
    println!("restarts: nothing came for {silences:?}");
    let shortest = silences.iter().min().expect("three");
    assert!(*shortest < Duration::from_secs(3), "{silences:?}");
}

/// What no busy machine makes of them: all workers told, and half of them went on within a tenth of a second.
fn assert_short(pauses: &Pauses, count: usize) {
    assert!(pauses.count() == count && pauses.quantile(0.5) < 100.0, "{pauses}");
}

fn say(to: &BufReader<UnixStream>, text: &str) {
    to.get_ref().write_all(text.as_bytes()).expect("it reads");
}

fn line(from: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line in time");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn start(topology: &Topology) -> Stream {
    let endpoints: Vec<_> = topology.endpoints.iter().map(|endpoint| &endpoint.namespace).collect();
    Stream::start(&topology.client, VIP, &endpoints, FLOWS, PAUSE)
}

fn endpoints(queues: u32, count: usize) -> Topology {
    Topology::with_endpoints(queues, count, &[VIP])
}

/// The endpoints in these states; one without a state is not there.
fn set_of(topology: &Topology, states: &[&str; 4]) -> Value {
    json!([{ "name": "web", "vip": VIP, "endpoints": topology.in_states(states) }])
}

fn set(topology: &Topology) -> Value {
    let endpoints: Vec<Value> = topology.endpoints.iter().map(|endpoint| endpoint.over_ipv6()).collect();
    json!([{ "name": "web", "vip": VIP, "endpoints": endpoints }])
}
