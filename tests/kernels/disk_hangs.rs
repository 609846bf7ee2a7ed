//! A disk that hangs, as a frozen file system does: no write comes back, and no error either. Who waits for the disk waits; packets,
//! the watchdog, all other clients and netlink go on. Needs root, and loop devices.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{Driver, Edge, SOON, Topology, left_out, output_of, udp, wait_until};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// Other clients wait for no longer, 99 times of 100: the machine may be busy with other tests. A disk is waited for without an end.
const LIMIT: Duration = Duration::from_millis(100);
/// Longer than a node waits before it tries again to write.
const UNTIL_RETRIED: Duration = Duration::from_secs(40);

/// Gives a command a file system of its own where the daemon's state is, whose image is the first word.
const ON_A_DISK: &str = r#"for config; do :; done; mount -o loop "$0" "${config%/*}/state" && exec "$@""#;

/// The disk under a daemon's state.
struct Disk {
    image: tempfile::TempDir,
    /// Held open, so that the disk can be set going again whatever has become of the daemon.
    mounted: Option<File>,
    is_frozen: bool,
}

impl Disk {
    fn new() -> Self {
        let image = tempfile::tempdir().expect("a temporary directory can be made");
        let disk = Self { image, mounted: None, is_frozen: false };
        File::create(disk.path()).and_then(|file| file.set_len(16 << 20)).expect("the directory is the test's own");
        output_of(Command::new("mkfs.ext4").arg("-q").arg(disk.path()));
        disk
    }

    fn path(&self) -> String {
        self.image.path().join("disk").display().to_string()
    }

    /// What runs a daemon over it.
    fn wrapper(&self) -> Vec<String> {
        ["unshare", "--mount", "sh", "-c", ON_A_DISK].map(str::to_owned).into_iter().chain([self.path()]).collect()
    }

    /// Finds it where this daemon has it.
    fn find(&mut self, edge: &Edge<'_>) {
        let socket = edge.socket();
        let state = Path::new(&socket).with_file_name("state");
        let seen = format!("/proc/{}/root{}", edge.pid(), state.display());
        self.mounted = Some(File::open(seen).expect("it is mounted"));
    }

    fn set_frozen(&mut self, is_frozen: bool) {
        let mounted = self.mounted.as_ref().expect("it was found");
        let path = format!("/proc/{}/fd/{}", std::process::id(), mounted.as_raw_fd());
        output_of(Command::new("fsfreeze").arg(if is_frozen { "--freeze" } else { "--unfreeze" }).arg(path));
        self.is_frozen = is_frozen;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_frozen {
            self.set_frozen(false);
        }
    }
}

/// A client of the control socket.
struct Client(BufReader<UnixStream>);

impl Client {
    fn new(edge: &Edge<'_>) -> Self {
        let stream = UnixStream::connect(edge.socket()).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("not zero");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, id: u64, method: &str, params: Value) {
        let question = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        writeln!(self.0.get_mut(), "{question}").expect("it reads");
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(0, method, params);
        self.next()["result"].take()
    }

    /// Whether nothing has come for it.
    fn is_waiting(&mut self) -> bool {
        self.0.get_ref().set_read_timeout(Some(Duration::from_millis(10))).expect("not zero");
        let is_waiting = self.0.fill_buf().is_err();
        self.0.get_ref().set_read_timeout(Some(SOON)).expect("not zero");
        is_waiting
    }
}

/// A set with this VIP, and as many endpoints of the topology as there are.
fn set(revision: &str, topology: &Topology) -> Value {
    let endpoints = topology.endpoints.iter().map(|endpoint| endpoint.over_ipv6()).collect::<Vec<_>>();
    json!({ "revision": revision, "services": [{ "name": "web", "vip": VIP, "endpoints": endpoints }] })
}

/// A patch that adds a service.
fn patch(base: &str, revision: &str) -> Value {
    let service =
        json!({ "name": revision, "vip": "203.0.113.20", "protocol": "tcp", "ports": [revision.as_bytes()[1]] });
    json!({ "base": base, "revision": revision, "upsert": [service] })
}

fn watchdogs(edge: &Edge<'_>) -> usize {
    edge.notified().iter().filter(|line| *line == "WATCHDOG=1").count()
}

fn skipped() -> bool {
    testkit::skipped() || left_out(!Path::new("/dev/loop-control").exists(), "loop devices")
}

/// A daemon over a disk. Of the two, the disk is let go first: a process that waits for one that is frozen cannot end.
fn start(topology: &Topology) -> (Edge<'_>, Disk) {
    let mut disk = Disk::new();
    let wrapper = disk.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let edge = Edge::builder(&topology.edge, Driver::XdpNative).run_by(&wrapper).start();
    disk.find(&edge);
    edge.apply(set("r0", topology)["services"].clone());
    (edge, disk)
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_but_who_waits_for_it() {
    if skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 1, &[VIP]);
    let (mut edge, mut disk) = start(&topology);
    let (mut first, mut second, mut other) = (Client::new(&edge), Client::new(&edge), Client::new(&edge));
    let mut listener = Client::new(&edge);
    assert!(listener.ask("subscribe", json!({})).is_object());

    disk.set_frozen(true);
    first.send(1, "apply", set("r1", &topology));
    // What is asked behind it is answered behind it.
    first.send(2, "hello", json!({}));
    assert!(wait_until(SOON, || other.ask("hello", json!({}))["revision"] == "r1"), "it is in force");
    // Who hangs up while it waits makes room.
    let mut gone = Client::new(&edge);
    gone.send(1, "patch", patch("r1", "r2"));
    assert!(wait_until(SOON, || other.ask("hello", json!({}))["revision"] == "r2"), "it is in force");
    drop(gone);
    second.send(1, "patch", patch("r2", "r3"));
    assert!(wait_until(SOON, || other.ask("hello", json!({}))["revision"] == "r3"), "it is in force");

    let (before, begin, mut hellos) = (watchdogs(&edge), Instant::now(), Vec::new());
    while watchdogs(&edge) < before + 4 {
        assert!(begin.elapsed() < SOON, "the watchdog is not told any more");
        let asked = Instant::now();
        other.ask("hello", json!({}));
        hellos.push(asked.elapsed());
        let answer = topology.client.inside(|| udp::ask(VIP, b"hello"));
        assert_eq!(answer.ok().as_deref(), Some("ep0"));
    }
    hellos.sort_unstable();
    let (p99, longest) = (hellos[hellos.len() * 99 / 100], hellos[hellos.len() - 1]);
    println!("{} hellos while the disk hung for {:?}: p99 {p99:?}, longest {longest:?}", hellos.len(), begin.elapsed());
    assert!(p99 < LIMIT && longest < SOON / 2, "hellos took {p99:?}, {longest:?}");
    let said = |status: &Value| status["store_problem"].as_str().unwrap_or_default().contains("has not answered for");
    assert!(wait_until(SOON, || said(&other.ask("status", json!({})))), "status says so");
    assert!(first.is_waiting() && second.is_waiting(), "they wait for the disk");
    let told = |listener: &mut Client, revision: &str| {
        let mut events = std::iter::repeat_with(|| listener.next()["params"].take());
        events.find(|event| event["type"] == "applied").is_some_and(|event| event["revision"] == revision)
    };
    assert!(["r1", "r2", "r3"].iter().all(|revision| told(&mut listener, revision)), "events go on, in order");

    disk.set_frozen(false);
    let (applied, hello, patched) = (first.next(), first.next(), second.next());
    for (answer, revision) in [(applied, "r1"), (patched, "r3")] {
        let result = &answer["result"];
        assert_eq!(
            (&answer["id"], &result["revision"], &result["warnings"]),
            (&json!(1), &json!(revision), &json!([]))
        );
    }
    assert_eq!(hello["id"], 2);
    assert_eq!(other.ask("status", json!({}))["store_problem"], Value::Null);
    edge.kill();
    edge.run();
    disk.find(&edge);
    assert_eq!(edge.json("status")["revision"], "r3", "all that was answered is there");
    assert!(edge.stop().success());
}

#[test]
fn a_stop_and_an_upgrade_wait_for_the_disk_no_longer_than_they_may() {
    if skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 1, &[VIP]);
    let (mut edge, mut disk) = start(&topology);
    let (mut syncer, mut other) = (Client::new(&edge), Client::new(&edge));
    disk.set_frozen(true);
    syncer.send(1, "apply", set("r1", &topology));
    other.send(1, "upgrade", json!({}));
    let (applied, upgraded) = (syncer.next(), other.next());
    let warning = applied["result"]["warnings"][0].as_str().unwrap_or_default().to_owned();
    assert!(warning.contains("in force but not on disk: the disk has not answered for"), "{applied}");
    let process = upgraded["result"]["process"].as_i64().unwrap_or_else(|| panic!("{upgraded}\n{}", edge.log()));
    assert_eq!(i64::from(edge.follow_upgrades()), process);
    assert!(edge.json("status")["store_problem"].as_str().is_some_and(|said| said.contains("not answered")));
    disk.set_frozen(false);
    assert!(wait_until(UNTIL_RETRIED, || edge.json("status")["store_problem"].is_null()), "it is written after all");

    disk.set_frozen(true);
    syncer.send(2, "apply", set("r2", &topology));
    assert!(wait_until(SOON, || edge.json("status")["revision"] == "r2"), "it is in force");
    edge.signal(Signal::TERM);
    assert_eq!(syncer.next()["id"], 2, "who waits is answered before the end");
    // A process whose thread is in the kernel's hands ends when the kernel lets go.
    assert!(wait_until(SOON, || edge.log().contains("stopped")), "{}", edge.log());
    assert!(edge.log().contains("is waited for no longer"), "{}", edge.log());
    disk.set_frozen(false);
    assert!(edge.stop().success(), "it has ended well");
}
