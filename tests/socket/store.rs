//! What a node has on disk, under every fault that a disk has: said in the log and in `status`, never a crash, never half
//! a set.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use pointsman::config;
use pointsman::control::protocol::Method;
use pointsman::control::slot_memories::SlotMemories;
use pointsman::control::store::Store;
use pointsman::control::update::Builder;
use pointsman::endpoint_set;
use pointsman::flow::Seed;
use pointsman::forward::encap::Sources;
use pointsman::moment::Now;
use pointsman::snapshot::{Dscp, Settings};
use pointsman::wire::ethernet::MacAddress;
use serde_json::{Value, json};
use testkit::node::{Daemon, Vips, configuration};
use testkit::{output_of, wait_until};

/// Longer than a node waits before it tries again to write.
const UNTIL_RETRIED: Duration = Duration::from_secs(40);

/// A set of a service `web` with so many endpoints from this number on.
fn web(revision: &str, first: usize, count: usize) -> Value {
    let endpoint = |i: usize| json!({ "name": format!("web-{i}"), "address": format!("2001:db8:10::{i:x}") });
    let endpoints: Vec<Value> = (first..first + count).map(endpoint).collect();
    json!({ "revision": revision, "services": [{ "name": "web", "vip": "203.0.113.10", "endpoints": endpoints }] })
}

/// `status` of a node that starts with what is on disk, and ends again.
fn status_after_start(dir: &Path) -> Value {
    let config = config::parse(&configuration(dir, "")).expect("valid");
    let (mut node, workers) = testkit::node::node(config, Vips::default());
    node.restore().expect("nothing on disk keeps it from starting");
    let status = node.answer(Method::Status, json!({})).expect("well");
    node.stop();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic").expect("memory"));
    status
}

fn problem(status: &Value) -> &str {
    status["store_problem"].as_str().unwrap_or_default()
}

/// A directory whose state is that of a node that has changed from one set to another: its slots remember.
fn with_state() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", web("r1", 0, 3)).expect("valid");
    daemon.ask("apply", web("r2", 1, 3)).expect("valid");
    daemon.end();
    dir
}

fn set_file(dir: &Path) -> PathBuf {
    dir.join("state/endpoint-set.json")
}

fn memories_file(dir: &Path) -> PathBuf {
    dir.join("state/slot-memories.json")
}

fn slots_remembering(status: &Value) -> u64 {
    status["services"][0]["handover"]["slots"].as_u64().unwrap_or_default()
}

#[test]
fn a_file_cut_anywhere_is_said_and_not_used() {
    let dir = with_state();
    let whole = status_after_start(dir.path());
    assert_eq!((problem(&whole), &whole["revision"]), ("", &json!("r2")));
    assert!(slots_remembering(&whole) > 0);
    let content = fs::read(set_file(dir.path())).expect("written");
    for length in 0..content.len() {
        fs::write(set_file(dir.path()), &content[..length]).expect("cut");
        let status = status_after_start(dir.path());
        assert!(problem(&status).contains("endpoint-set.json is damaged and not used"), "cut to {length}: {status}");
        assert_eq!(status["services"], json!([]), "cut to {length}");
        assert_eq!(fs::read(set_file(dir.path())).expect("there").len(), length, "left as it was");
    }
    fs::write(set_file(dir.path()), &content).expect("whole again");
    let content = fs::read(memories_file(dir.path())).expect("written");
    for length in (0..content.len()).step_by(5) {
        fs::write(memories_file(dir.path()), &content[..length]).expect("cut");
        let status = status_after_start(dir.path());
        assert!(problem(&status).contains("slot-memories.json is damaged and not used"), "cut to {length}: {status}");
        assert_eq!((&status["revision"], slots_remembering(&status)), (&json!("r2"), 0), "cut to {length}");
    }
    fs::write(set_file(dir.path()), "").expect("cut");
    let both = status_after_start(dir.path());
    assert!(
        ["endpoint-set.json is", "slot-memories.json is"].iter().all(|file| problem(&both).contains(file)),
        "{both}"
    );
}

fn changes_file(dir: &Path) -> PathBuf {
    dir.join("state/endpoint-set.changes")
}

/// A directory whose set was applied whole once and has been patched twice since.
fn with_changes() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", web("r1", 0, 3)).expect("valid");
    for (base, revision, first) in [("r1", "r2", 1), ("r2", "r3", 2)] {
        let upsert = web(revision, first, 3)["services"].take();
        daemon.ask("patch", json!({ "base": base, "revision": revision, "upsert": upsert })).expect("valid");
    }
    daemon.end();
    dir
}

/// Each patch was answered, and so its loss is never silent.
#[test]
fn changes_that_cannot_be_used_are_said() {
    keep_log();
    let dir = with_changes();
    let path = changes_file(dir.path());
    let whole = fs::read_to_string(&path).expect("written");
    let status = status_after_start(dir.path());
    assert_eq!((problem(&status), &status["revision"]), ("", &json!("r3")));
    let (header, changes) = whole.split_once('\n').expect("a header");
    let cut = &whole[..whole.len() - 5];
    for (content, revision, said) in [
        (format!("junk\n{changes}"), "r1", "endpoint-set.changes is damaged and not used: its header: "),
        (String::new(), "r1", "endpoint-set.changes is damaged and not used: it has no header line"),
        (whole.replacen(":1,", ":2,", 1), "r1", "(format 2; this one reads 1)"),
        (cut.to_owned(), "r2", "endpoint-set.changes is damaged and not used from line 3 on: its end is missing"),
        (format!("{header}\n0{changes}"), "r1", "not used from line 2 on: its checksum does not hold"),
    ] {
        fs::write(&path, content).expect("changed");
        let status = status_after_start(dir.path());
        assert_eq!(status["revision"], revision, "{status}");
        assert!(problem(&status).contains(said), "{said}: {status}");
        assert!(log().contains(problem(&status)), "{}", log());
    }
    fs::remove_file(&path).expect("there");
    fs::create_dir(&path).expect("free");
    let status = status_after_start(dir.path());
    assert!(problem(&status).ends_with("endpoint-set.changes: it is not a regular file"), "{status}");
    fs::remove_dir(&path).expect("empty");

    fs::write(&path, &whole).expect("free");
    fs::remove_file(set_file(dir.path())).expect("there");
    let status = status_after_start(dir.path());
    assert!(problem(&status).ends_with("the set that it changes is missing"), "{status}");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", web("r4", 0, 3)).expect("valid");
    assert_eq!(daemon.ask("status", json!({})).expect("well")["store_problem"], Value::Null);
    daemon.end();
    assert_eq!(status_after_start(dir.path())["revision"], "r4");
}

/// The memories are written first, so this is what a power cut between the two files leaves.
#[test]
fn memories_newer_than_the_set_do_no_harm() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", web("r1", 0, 3)).expect("valid");
    let old_set = fs::read(set_file(dir.path())).expect("written");
    daemon.ask("apply", web("r2", 1, 3)).expect("valid");
    let remembering = slots_remembering(&daemon.ask("status", json!({})).expect("well"));
    assert!(remembering > 0);
    daemon.end();
    fs::write(set_file(dir.path()), old_set).expect("as before the power cut");

    let daemon = Daemon::start(dir.path());
    let status = daemon.ask("status", json!({})).expect("well");
    assert_eq!((problem(&status), &status["revision"]), ("", &json!("r1")));
    daemon.ask("apply", web("r2", 1, 3)).expect("valid");
    let status = daemon.ask("status", json!({})).expect("well");
    assert_eq!(slots_remembering(&status), remembering, "as if there had been no power cut");
}

/// What slots remember belongs to the set beside it, and is no history of whatever a syncer pushes next.
#[test]
fn memories_of_a_set_that_is_not_used_are_not_used() {
    let dir = with_state();
    let own = "[[service]]\nname = \"own\"\nvip = \"203.0.113.10\"\nendpoints = []";
    let daemon = Daemon::start_with(dir.path(), own);
    let status = daemon.ask("status", json!({})).expect("well");
    assert!(problem(&status).contains("the set on disk is not used"), "{status}");
    let mut elsewhere = web("r2", 1, 3);
    elsewhere["services"][0]["vip"] = json!("203.0.113.11");
    daemon.ask("apply", elsewhere).expect("valid");
    let services = daemon.ask("status", json!({})).expect("well")["services"].take();
    let web = services.as_array().into_iter().flatten().find(|service| service["name"] == "web");
    let handover = &web.expect("it is in force")["handover"];
    assert_eq!(handover["slots"].as_u64().unwrap_or_default(), 0, "none of its endpoints has come or gone: {handover}");
}

/// Where the memories could not be written, and the set could.
#[test]
fn memories_older_than_the_set_are_those_of_the_first_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", web("r1", 0, 3)).expect("valid");
    daemon.ask("apply", web("r2", 1, 3)).expect("valid");
    let old = fs::read(memories_file(dir.path())).expect("written");
    let first = slots_remembering(&daemon.ask("status", json!({})).expect("well"));
    daemon.ask("apply", web("r3", 2, 3)).expect("valid");
    let all = slots_remembering(&daemon.ask("status", json!({})).expect("well"));
    assert!(all > first);
    daemon.end();
    fs::write(memories_file(dir.path()), old).expect("as before");
    let status = status_after_start(dir.path());
    assert_eq!((problem(&status), &status["revision"], slots_remembering(&status)), ("", &json!("r3"), first));
}

/// A config with a service of its own, of three endpoints from this number on.
fn with_own_service(dir: &Path, first: usize) -> String {
    let endpoint = |i: usize| format!("{{ name = \"own-{i}\", address = \"2001:db8:20::{i:x}\" }}");
    let endpoints: Vec<String> = (first..first + 3).map(endpoint).collect();
    let service =
        format!("[[service]]\nname = \"own\"\nvip = \"203.0.113.53\"\nendpoints = [{}]", endpoints.join(", "));
    configuration(dir, &service)
}

#[test]
fn what_slots_remember_since_the_config_was_read_again_is_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("pointsman.toml");
    let node_by = |text: String| {
        fs::write(&file, &text).expect("free");
        testkit::node::node(config::parse(&text).expect("valid"), Vips::default())
    };
    let (mut node, mut workers) = node_by(with_own_service(dir.path(), 0));
    node.restore().expect("nothing there");
    fs::write(&file, with_own_service(dir.path(), 1)).expect("free");
    node.reload(|_| Ok(|| ())).expect("only its services differ");
    let remembering = slots_remembering(&node.answer(Method::Status, json!({})).expect("well"));
    assert!(remembering > 0);
    // Nobody is answered who has the config read again, so nobody has waited for the disk.
    assert!(node.wait_for_disk(UNTIL_RETRIED), "it is written");
    node.stop();
    let (mut node, more) = node_by(with_own_service(dir.path(), 1));
    workers.extend(more);
    node.restore().expect("it is whole");
    assert_eq!(slots_remembering(&node.answer(Method::Status, json!({})).expect("well")), remembering);
    node.stop();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic").expect("memory"));
}

#[test]
fn what_is_no_file_is_said_and_nobody_waits_for_it() {
    for make in [|path: &Path| fs::create_dir(path).expect("free"), |path: &Path| make_pipe(path)] {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("state")).expect("free");
        for file in [set_file, memories_file] {
            make(&file(dir.path()));
        }
        make(&set_file(dir.path()).with_extension("json.new"));
        let daemon = Daemon::start(dir.path());
        let status = daemon.ask("status", json!({})).expect("well");
        assert!(problem(&status).contains("endpoint-set.json: it is not a regular file; "), "{status}");
        assert!(problem(&status).contains("slot-memories.json: it is not a regular file"), "{status}");
        let applied = daemon.ask("apply", web("r1", 0, 3)).expect("valid");
        let status = daemon.ask("status", json!({})).expect("well");
        let warning = applied["warnings"][0].as_str().unwrap_or_default();
        assert_eq!(warning, problem(&status), "what is said is said in both places");
        let is_in_the_way = set_file(dir.path()).is_dir();
        assert_eq!(warning.contains("the set is in force but not on disk: "), is_in_the_way, "{warning}");
        assert_eq!(daemon.ask("get", json!({})).expect("well")["revision"], "r1");
        daemon.end();
    }
}

fn make_pipe(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).expect("free");
}

#[test]
fn a_directory_that_cannot_be_is_said_until_it_can() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("state"), "a file where the directory should be").expect("free");
    let daemon = Daemon::start(dir.path());
    assert!(!problem(&daemon.ask("status", json!({})).expect("well")).is_empty());
    daemon.ask("apply", web("r1", 0, 3)).expect("in force all the same");
    let status = daemon.ask("status", json!({})).expect("well");
    assert!(problem(&status).starts_with("the set is in force but not on disk: "), "{status}");
    fs::remove_file(dir.path().join("state")).expect("it is a file");
    let applied = daemon.ask("apply", web("r2", 0, 3)).expect("valid");
    assert_eq!(applied["warnings"], json!([]));
    assert_eq!(daemon.ask("status", json!({})).expect("well")["store_problem"], Value::Null);
    daemon.end();
    assert_eq!(status_after_start(dir.path())["revision"], "r2");
}

/// A file system of its own, seen by the node's thread alone.
struct Disk {
    /// The thread's directory in /proc.
    thread: PathBuf,
    state: PathBuf,
}

impl Disk {
    /// A node whose state is on it.
    fn start(dir: &Path, options: &'static str) -> (Self, Daemon) {
        let state = dir.join("state");
        fs::create_dir_all(&state).expect("free");
        keep_log();
        let (tell, told) = mpsc::channel();
        let mount_point = state.clone();
        let daemon = Daemon::start_in(dir, "", move || {
            let own = rustix::thread::UnshareFlags::NEWNS;
            // SAFETY: the other threads keep their file system, and this one shares no descriptors less.
            #[allow(unsafe_code, reason = "a mount namespace of a thread")]
            unsafe { rustix::thread::unshare_unsafe(own) }.expect("root may");
            output_of(Command::new("mount").args(["--make-rprivate", "/"]));
            output_of(Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&mount_point));
            let thread = format!("/proc/{}/task/{}", std::process::id(), rustix::thread::gettid());
            tell.send(PathBuf::from(thread)).expect("somebody waits");
        });
        (Self { thread: told.recv().expect("it was made ready"), state }, daemon)
    }

    /// A file of it as this thread sees it.
    fn file(&self, name: &str) -> PathBuf {
        let below_root = self.state.strip_prefix("/").expect("it is absolute");
        self.thread.join("root").join(below_root).join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.file("")).expect("readable").map(|entry| entry.expect("readable").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn remount(&self, options: &str) {
        let namespace = format!("--mount={}", self.thread.join("ns/mnt").display());
        let options = format!("remount,{options}");
        output_of(Command::new("nsenter").args([&namespace, "mount", "-o", &options]).arg(&self.state));
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut filler = File::create(self.file("filler")).expect("room for a name");
        while filler.write_all(&[0; 512]).is_ok() {}
    }
}

/// What all nodes of this test binary have logged.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().expect("no panic while held").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn keep_log() {
    _ = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).try_init();
}

fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().expect("no panic while held")).into_owned()
}

#[test]
fn a_full_disk_is_said_and_tried_again() {
    if testkit::skipped() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (disk, daemon) = Disk::start(dir.path(), "size=64k");
    daemon.ask("apply", web("r1", 0, 3)).expect("valid");
    assert_eq!(disk.names(), ["endpoint-set.json", "hash-seed.json"]);
    disk.fill();
    let applied = daemon.ask("apply", web("r2", 1, 3)).expect("in force all the same");
    let said = "the set is in force but not on disk: ";
    let warning = applied["warnings"][0].as_str().unwrap_or_default().to_owned();
    assert!(warning.starts_with(said) && warning.contains("No space left on device"), "{applied}");
    assert_eq!(problem(&daemon.ask("status", json!({})).expect("well")), warning);
    assert!(log().contains(&warning), "{}", log());
    assert_eq!(daemon.ask("get", json!({})).expect("well")["revision"], "r2");
    assert_eq!(disk.names(), ["endpoint-set.json", "filler", "hash-seed.json"], "nothing half written is left");
    let on_disk = fs::read_to_string(disk.file("endpoint-set.json")).expect("there");
    assert!(on_disk.contains(r#""revision":"r1""#) && on_disk.ends_with("}\n"), "the set before, whole: {on_disk}");

    fs::remove_file(disk.file("filler")).expect("there");
    let is_well = || daemon.ask("status", json!({})).expect("well")["store_problem"].is_null();
    assert!(wait_until(UNTIL_RETRIED, is_well), "nobody has tried again");
    assert_eq!(disk.names(), ["endpoint-set.json", "hash-seed.json", "slot-memories.json"]);
    assert!(log().contains("the set is on disk again"));
    let on_disk = fs::read_to_string(disk.file("endpoint-set.json")).expect("there");
    assert!(on_disk.contains(r#""revision":"r2""#), "{on_disk}");
    daemon.end();
}

#[test]
fn a_disk_that_becomes_read_only_is_said() {
    if testkit::skipped() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (disk, daemon) = Disk::start(dir.path(), "size=64k");
    daemon.ask("apply", web("r1", 0, 3)).expect("valid");
    disk.remount("ro");
    let applied = daemon.ask("apply", web("r2", 1, 3)).expect("in force all the same");
    let warning = applied["warnings"][0].as_str().unwrap_or_default().to_owned();
    assert!(warning.contains("Read-only file system"), "{applied}");
    assert_eq!(problem(&daemon.ask("status", json!({})).expect("well")), warning);
    assert!(log().contains(&warning), "{}", log());
    disk.remount("rw");
    assert_eq!(daemon.ask("apply", web("r3", 2, 3)).expect("valid")["warnings"], json!([]));
    assert_eq!(daemon.ask("status", json!({})).expect("well")["store_problem"], Value::Null);
    daemon.end();
}

/// Asked for by its name, under strace, by the test below.
#[test]
#[ignore = "a part of the test below, which runs it in a process of its own"]
fn one_set_is_kept() {
    let dir = PathBuf::from(std::env::var_os("POINTSMAN_TEST_STATE").expect("the test below says where"));
    let config = config::parse(&configuration(&dir, "")).expect("valid");
    let (mut node, workers) = testkit::node::node(config, Vips::default());
    node.restore().expect("nothing there");
    for (revision, first) in [("r1", 0), ("r2", 1)] {
        node.answer(Method::Apply, web(revision, first, 3)).expect("valid");
    }
    node.stop();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic").expect("memory"));
}

/// A file's content is on disk before it gets its name, and the name before anything else is written; the memories come
/// before the set that needs them.
#[test]
fn everything_is_on_disk_in_order() {
    if skipped_without_strace() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let trace = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat", "-o"]).arg(&trace);
    strace.arg(std::env::current_exe().expect("there")).args(["--exact", "store::one_set_is_kept", "--ignored"]);
    output_of(strace.env("POINTSMAN_TEST_STATE", dir.path()));
    let trace = fs::read_to_string(trace).expect("written");
    let home = dir.path().display().to_string();
    let calls: Vec<String> = trace.lines().filter(|line| line.contains(&home)).map(|line| short(line, &home)).collect();
    let kept =
        |name: &str| [format!("fsync state/{name}.new"), format!("rename state/{name}.new"), "fsync state".to_owned()];
    let made = ["mkdir state".to_owned(), "fsync .".to_owned()];
    let parts = [
        made.to_vec(),
        kept("endpoint-set.json").into(),
        kept("hash-seed.json").into(),
        kept("slot-memories.json").into(),
        kept("endpoint-set.json").into(),
    ];
    assert_eq!(calls, parts.concat(), "{trace}");
}

/// A crash, by strace, at each call that touches the state: what is there then is whole, and never older than what was
/// there before.
#[test]
fn a_node_killed_at_any_call_has_a_whole_set() {
    if skipped_without_strace() {
        return;
    }
    let mut seen = BTreeSet::new();
    for call in 1.. {
        let dir = tempfile::tempdir().expect("a directory");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", "trace=openat,unlink,write,fsync,rename,mkdir"]);
        strace.args(["-e", &format!("inject=openat,unlink,write,fsync,rename,mkdir:signal=KILL:when={call}")]);
        for name in
            ["", "/endpoint-set.json", "/endpoint-set.json.new", "/slot-memories.json", "/slot-memories.json.new"]
        {
            strace.arg("-P").arg(format!("{}/state{name}", dir.path().display()));
        }
        strace.arg(std::env::current_exe().expect("there")).args(["--exact", "store::one_set_is_kept", "--ignored"]);
        let ended = strace.env("POINTSMAN_TEST_STATE", dir.path()).output().expect("strace is there");
        let status = status_after_start(dir.path());
        assert_eq!(problem(&status), "", "killed at call {call}: {status}");
        let revision = status["revision"].as_str().expect("a label").to_owned();
        let services = usize::from(!revision.is_empty());
        assert_eq!(status["services"].as_array().map(Vec::len), Some(services), "killed at call {call}");
        assert!(seen.last().is_none_or(|last| *last <= revision), "killed at call {call}: {revision} after {seen:?}");
        seen.insert(revision);
        if ended.status.success() {
            break;
        }
        assert!(call < 100, "it never gets through: {ended:?}");
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["", "r1", "r2"]);
}

/// A line of a trace as the call and the file it is about: `17 fsync(3</tmp/x/state>) = 0` is `fsync state`.
fn short(line: &str, home: &str) -> String {
    let call = line.split_whitespace().nth(1).unwrap_or_default();
    let name = call.split('(').next().unwrap_or_default().trim_end_matches("at2").trim_end_matches("at");
    let at = line.find(home).expect("it was looked for") + home.len();
    let path = line[at..].split(['"', '>', ',']).next().unwrap_or_default().trim_start_matches('/');
    format!("{name} {}", if path.is_empty() { "." } else { path })
}

fn skipped_without_strace() -> bool {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    testkit::left_out(!works.is_ok_and(|output| output.status.success()), "strace, and leave to use it")
}

fn settings() -> Settings {
    let sources = Sources::default();
    Settings {
        seed: Seed([0; 16]),
        dscp: Dscp::Copy,
        underlay_mtu: 1500,
        hop_limit: 64,
        mac: MacAddress::default(),
        sources,
    }
}

/// What an `apply` writes before it is answered, where it changes each of ten thousand services. The time is shown, and only
/// held to what the contract allows an answer as a whole.
#[test]
fn ten_thousand_services_in_handover_are_written_in_time() {
    let endpoint = |service: usize, i: usize| json!({ "name": format!("namespace-{service}/pod-5d8f9c7b6d-{i:05}"), "address": format!("2001:db8:{service:x}::{i:x}") });
    let service = |first: usize, n: usize| {
        let endpoints: Vec<Value> = (first..first + 10).map(|i| endpoint(n, i)).collect();
        let vip = format!("203.0.{}.{}", n / 256, n % 256);
        json!({ "name": format!("namespace-{n}/web"), "vip": vip, "endpoints": endpoints })
    };
    let set = |first: usize| {
        let services: Vec<Value> = (0..10_000).map(|n| service(first, n)).collect();
        endpoint_set::read(&json!({ "revision": "r", "services": services }).into()).expect("valid")
    };
    let mut builder = Builder::new(settings(), 600, 1);
    builder.update(&set(0), (0, 0), Now::at(1_795_255_200));
    let changed = set(10);
    let started = Instant::now();
    builder.update(&changed, (1, 1), Now::at(1_795_255_300));
    let built = started.elapsed();
    assert_eq!(builder.slot_memories().stored().map(|(_, memories)| memories.count()).sum::<usize>(), 10_000 * 1_021);

    let dir = tempfile::tempdir().expect("a directory");
    let mut store = Store::new(dir.path());
    let started = Instant::now();
    store.keep(&changed, builder.slot_memories()).expect("room");
    let written = started.elapsed();
    let started = Instant::now();
    let read = store.load_memories().expect("whole");
    let sizes = ["endpoint-set.json", "slot-memories.json"]
        .map(|name| fs::metadata(dir.path().join(name)).expect("there").len());
    println!("built in {built:?}; {sizes:?} bytes written in {written:?}, memories read in {:?}", started.elapsed());
    let mut restored = SlotMemories::new(600);
    restored.restore(read);
    assert_eq!(restored.stored().count(), 10_000);
    // A disk that others use, too, may take a hundred times as long as an idle one.
    assert!(written < Duration::from_secs(20), "{written:?}");
    assert!(sizes[1] < 20_000_000, "{} bytes of memories", sizes[1]);
}
