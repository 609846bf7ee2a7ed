//! A successor that fails, dies or falls silent at any step, or is none at all: the daemon that runs goes on, and nothing is
//! lost. Needs root.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use serde_json::{Value, json};
use testkit::{Asked, Driver, Edge, Sessions, Stream, Topology};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// Datagrams that a successor which is killed can have in its hands: a batch a worker.
const IN_HAND: u64 = 2 * 64;
/// Where a successor can be told to fail, in their order.
const STEPS: [&str; 8] =
    ["begin", "prepare", "before-worker-0", "worker-0", "before-worker-1", "worker-1", "finish", "done"];
/// Flows of a stream, over all queues.
const FLOWS: u32 = 16;

#[test]
fn nothing_is_lost_by_a_successor_that_fails() {
    if testkit::skipped() || is_released() {
        return;
    }
    for driver in [Driver::XdpNative, Driver::XdpGeneric, Driver::Packet] {
        let scene = Scene::new();
        let mut edge = scene.edge(driver);
        let stream = scene.stream();
        for step in STEPS {
            let failing = edge.failing_binary(&format!("{step}:fail"));
            fails_and_goes_on(&mut edge, &stream, &format!("it was asked to fail at {step}"), &failing);
        }
        // After all that, nothing stands in the way.
        edge.upgrade();
        stream.run(10);
        let (sent, heard) = stream.finish();
        assert_eq!((heard.count, heard.lost, heard.late), (sent, 0, 0), "{driver:?}: {}", edge.log());
        edge.metrics().assert_balanced();
        assert!(edge.stop().success());
    }
}

#[test]
fn the_daemon_goes_on_after_a_successor_that_dies() {
    if testkit::skipped() || is_released() {
        return;
    }
    for driver in [Driver::XdpNative, Driver::XdpGeneric, Driver::Packet] {
        let scene = Scene::new();
        let mut edge = scene.edge(driver);
        let stream = scene.stream();
        for step in STEPS {
            let dying = edge.failing_binary(&format!("{step}:die"));
            fails_and_goes_on(&mut edge, &stream, "this process goes on: the other process went away", &dying);
        }
        edge.upgrade();
        stream.run(10);
        let (sent, heard) = stream.finish();
        println!("{driver:?}: {} of {sent} were in the hands of a process that was killed", heard.lost);
        assert!(heard.lost <= 5 * IN_HAND && heard.late == 0, "{heard:?}: {}", edge.log());
        assert!(edge.stop().success());
    }
}

#[test]
fn what_is_no_daemon_changes_nothing() {
    if testkit::skipped() || is_released() {
        return;
    }
    let scene = Scene::new();
    let mut edge = scene.edge(Driver::XdpNative);
    let stream = scene.stream();
    for (words, reason) in [
        ("exit 3", "the other process went away (exit status: 3)"),
        ("exec /bin/true", "the other process went away"),
        // An older version knows nothing of upgrades, and finds the socket in use.
        ("unset POINTSMAN_UPGRADE; exec BINARY \"$@\"", "the other process went away (exit status: 1)"),
    ] {
        let program = edge.script(&words.replace("BINARY", env!("CARGO_BIN_EXE_pointsman")));
        fails_and_goes_on(&mut edge, &stream, reason, &program);
    }
    let said = edge.upgrade_to(Some("/nowhere/pointsman".as_ref())).expect_err("there is none");
    assert!(said.contains("binary: there is no file /nowhere/pointsman"), "{said}");
    let said = edge.upgrade_to(Some("/etc/hostname".as_ref())).expect_err("it is no program");
    assert!(said.contains("/etc/hostname cannot be started: "), "{said}");
    // What cannot be handed over, and a config that is none.
    for (from, to, key) in [
        ("xdp_mode = \"native\"", "xdp_mode = \"generic\"", "interface.xdp_mode"),
        ("driver = \"af_xdp\"", "driver = \"af_xdp\"\nframes = 512", "interface.frames"),
        ("driver = \"af_xdp\"", "driver = \"af_xdp\"\nqueues = [0]", "interface.queues"),
        ("name = \"eth0\"", "name = \"lo\"", "interface.name"),
    ] {
        edge.edit_config(from, to);
        let said = edge.upgrade_to(None).expect_err("it cannot change");
        assert!(said.contains(&format!("{key} cannot change by an upgrade: restart the daemon instead")), "{said}");
        edge.edit_config(to, from);
    }
    edge.edit_config("driver = \"af_xdp\"", "driver = \"af_xdp\"\nframes = 511");
    let said = edge.upgrade_to(None).expect_err("not valid");
    assert!(said.contains("interface.frames: 511 is not a power of two"), "{said}");
    edge.edit_config("\nframes = 511", "");
    edge.upgrade();
    let (sent, heard) = stream.finish();
    assert_eq!((heard.count, heard.lost, heard.late), (sent, 0, 0), "{}", edge.log());
}

#[test]
fn a_successor_that_falls_silent_is_not_waited_for_for_ever() {
    if testkit::skipped() || is_released() {
        return;
    }
    let scene = Scene::new();
    let mut edge = scene.edge(Driver::XdpNative);
    let stream = scene.stream();
    for (step, reason) in [
        ("worker-0", "the other process said nothing for 1s"),
        ("finish", "the other process said nothing for 1s"),
        ("prepare", "the other process said nothing for 20s"),
    ] {
        let hanging = edge.failing_binary(&format!("{step}:hang"));
        fails_and_goes_on(&mut edge, &stream, reason, &hanging);
    }
    let notified = edge.notified();
    assert!(notified.iter().filter(|line| *line == "WATCHDOG=1").count() > 15, "the watchdog is told meanwhile");
    let (sent, heard) = stream.finish();
    assert!(heard.lost <= 2 * IN_HAND && heard.late == 0, "{heard:?} of {sent}: {}", edge.log());
}

/// One that is stopped with a worker in its hands: packets wait in the ring until the old process takes the worker back, which
/// is before the ring is full.
#[test]
fn a_successor_that_stands_still_is_not_waited_for_until_the_ring_is_full() {
    if testkit::skipped() || is_released() {
        return;
    }
    let scene = Scene::new();
    let mut edge = scene.edge(Driver::XdpNative);
    let stream = scene.stream();
    for step in ["before-worker-0", "worker-0", "worker-1", "finish"] {
        let stopped = edge.failing_binary(&format!("{step}:stop"));
        fails_and_goes_on(&mut edge, &stream, "the other process said nothing for ", &stopped);
    }
    let (sent, heard) = stream.finish();
    assert!(heard.lost <= 5 * IN_HAND && heard.late == 0, "{heard:?} of {sent}: {}", edge.log());
}

/// A worker that is taken back goes on with what lies in its table, and counts it once.
#[test]
fn tracked_flows_come_back_with_their_workers() {
    if testkit::skipped() || is_released() {
        return;
    }
    let scene = Scene::new();
    let _servers: Vec<Asked> = scene.0.endpoints.iter().map(|e| Asked::start(&e.namespace, &e.name)).collect();
    let mut edge = scene.edge(Driver::XdpNative);
    let sessions = Sessions::start(&scene.0.client, VIP, 100);
    let mut endpoints: Vec<Value> = scene.0.endpoints.iter().map(|endpoint| endpoint.over_ipv6()).collect();
    endpoints[0]["state"] = json!("draining");
    edge.apply(json!([{ "name": "web", "vip": VIP, "endpoints": endpoints }]));
    sessions.go_on("in a handover");
    let tracked = |edge: &Edge<'_>| edge.metrics().sum("pointsman_tracked_flows");
    let before = tracked(&edge);
    assert!(before > 0, "flows of the endpoint that drains are tracked");
    for fault in ["worker-0:fail", "worker-1:die", "finish:fail"] {
        let path = edge.failing_binary(fault);
        edge.upgrade_to(Some(&path)).expect_err("it fails");
        sessions.go_on(fault);
        assert_eq!(tracked(&edge), before, "{fault}");
    }
    edge.upgrade();
    sessions.go_on("after an upgrade");
    assert_eq!(tracked(&edge), before);
}

/// What a stopped successor costs with more packets than the ring holds for so long: figures for docs/upgrade.md.
/// `cargo test --test upgrade_faults -- --ignored --nocapture`
#[test]
#[ignore = "measures, and asserts little"]
fn what_a_successor_that_stands_still_costs() {
    if testkit::skipped() || is_released() {
        return;
    }
    for pause in [8_000, 4_000, 2_000, 1_000, 500].map(Duration::from_micros) {
        let scene = Scene::new();
        let mut edge = scene.edge(Driver::XdpNative);
        let stream = scene.stream_of(pause);
        let stopped = edge.failing_binary("worker-0:stop");
        fails_and_goes_on(&mut edge, &stream, "the other process said nothing for ", &stopped);
        let (sent, heard) = stream.finish();
        let metrics = edge.metrics();
        let full = metrics.sum("pointsman_xsk_rx_ring_full_total");
        // Flows do not spread evenly over two queues.
        let came = metrics.each("pointsman_received_packets_total");
        let share = (came[0] + full) as f64 / (came.iter().sum::<u64>() + full) as f64;
        let rate = f64::from(FLOWS) / pause.as_secs_f64() * share;
        println!(
            "{rate:.0} a second by the queue that stood still: {} of all {sent} lost, {} late; {full} found the ring full",
            heard.lost, heard.late
        );
        assert_eq!(heard.late, 0, "{heard:?}");
    }
}

/// A process that cannot read what the running one says tells it so, and touches nothing.
#[test]
fn another_form_is_refused_in_words() {
    if testkit::skipped() {
        return;
    }
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let config = directory.path().join("pointsman.toml");
    std::fs::write(&config, "[interface]\nname = \"lo\"\n").expect("the directory is the test's own");
    let begin = json!({ "step": "begin", "format": 9, "version": "3.0.0", "all": "else" }).to_string();
    send(&ours, begin.as_bytes(), SendFlags::NOSIGNAL).expect("there is room");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.arg("run").arg("--config").arg(&config).env("POINTSMAN_UPGRADE", "1").stdin(Stdio::from(theirs));
    let output = command.output().expect("it runs");
    drop(command);
    let mut answer = [0; 4096];
    let (length, _) = recv(&ours, &mut answer, RecvFlags::empty()).expect("it has answered");
    let answer: Value = serde_json::from_slice(&answer[..length]).expect("JSON");
    let reason = answer["reason"].as_str().unwrap_or_default();
    assert_eq!((&answer["step"], output.status.code()), (&json!("failed"), Some(1)), "{answer} {output:?}");
    assert!(reason.contains("pointsman 3.0.0 hands over in form 9") && reason.contains("restart instead"), "{reason}");
}

/// Whoever stops the daemon while it waits for a program that hangs does not wait, too; nor does anything of that program stay.
#[test]
fn a_daemon_that_waits_for_its_successor_can_be_stopped() {
    if testkit::skipped() {
        return;
    }
    let scene = Scene::new();
    let mut edge = scene.edge(Driver::XdpNative);
    let started = tempfile::tempdir().expect("a temporary directory can be made");
    let file = started.path().join("process");
    // The shell's child is not the daemon's own.
    let program = edge.script(&format!("sleep 1000 &\necho $! > {0}.new; mv {0}.new {0}; wait", file.display()));
    let status = std::thread::scope(|scope| {
        let socket = edge.socket();
        scope.spawn(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
            command.args(["upgrade", "--socket", &socket, "--binary"]).arg(program).output()
        });
        assert!(testkit::wait_until(testkit::SOON, || file.exists()), "{}", edge.log());
        edge.stop()
    });
    assert!(status.success());
    let child = std::fs::read_to_string(&file).expect("it is there");
    let lives = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.trim())).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    assert!(testkit::wait_until(testkit::SOON, || !lives()), "process {child} lives");
}

/// Failures on demand are in no program that is released.
fn is_released() -> bool {
    testkit::left_out(!cfg!(debug_assertions), "a program that can be told to fail (a debug build)")
}

/// Has an upgrade fail for this reason, and looks whether the daemon and the stream go on.
fn fails_and_goes_on(edge: &mut Edge<'_>, stream: &Stream, reason: &str, binary: &Path) {
    let before = edge.pid();
    edge.upgrade_in_vain(binary, reason);
    stream.run(5);
    assert_eq!(edge.pid(), before);
    assert_eq!(edge.json("status")["revision"], "test", "it answers");
}

struct Scene(Topology);

impl Scene {
    fn new() -> Self {
        Self(Topology::with_endpoints(2, 2, &[VIP]))
    }

    fn edge(&self, driver: Driver) -> Edge<'_> {
        let edge = Edge::start(&self.0.edge, driver);
        let endpoints: Vec<Value> = self.0.endpoints.iter().map(|endpoint| endpoint.over_ipv6()).collect();
        edge.apply(json!([{ "name": "web", "vip": VIP, "endpoints": endpoints }]));
        edge
    }

    fn stream(&self) -> Stream {
        self.stream_of(Duration::from_millis(10))
    }

    fn stream_of(&self, pause: Duration) -> Stream {
        let endpoints: Vec<_> = self.0.endpoints.iter().map(|endpoint| &endpoint.namespace).collect();
        Stream::start(&self.0.client, VIP, &endpoints, FLOWS, pause)
    }
}
