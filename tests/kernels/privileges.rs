//! The daemon does with what the systemd unit leaves it, on every driver, and keeps less; what is missing it names. Needs
//! root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use serde_json::json;
use testkit::{Driver, Edge, SOON, Topology, http, wait_until};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// Stands for the unit's user, in each test another, since a user's locked memory is counted together. Nobody has these
/// numbers, nor do groups.
const USERS: u32 = 64_000;

const UNIT: &str = include_str!("../../systemd/pointsman.service");

/// The values that the unit has for a key.
fn of_unit(key: &str) -> Vec<&'static str> {
    let values: Vec<&str> = UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    assert!(!values.is_empty(), "the unit has no {key}");
    values
}

/// The commands that the unit has run as root before the daemon, for another user.
fn as_root(user: u32) -> Vec<String> {
    let commands = of_unit("ExecStartPre").into_iter().filter_map(|command| command.strip_prefix('+'));
    let user = |word: &str| match word.rsplit_once('=') {
        _ if word == "pointsman" => user.to_string(),
        Some((key, "pointsman")) => format!("{key}={user}"),
        _ => word.to_owned(),
    };
    commands.map(|command| command.split(' ').map(user).collect::<Vec<_>>().join(" ")).collect()
}

/// How many descriptors the unit has systemd keep.
fn kept_by_unit() -> usize {
    let room = of_unit("FileDescriptorStoreMax")[0];
    assert!(
        of_unit("Environment").contains(&format!("FDSTORE={room}").as_str()),
        "an older systemd does not say {room}"
    );
    room.parse().expect("a number")
}

/// How the unit has the daemon run, for another user and but for what is said here.
struct Unit<'a> {
    user: u32,
    without: &'a str,
    limits: &'a [&'a str],
    control: &'a str,
    /// A command that is given the daemon's.
    by: &'a [&'a str],
}

impl Unit<'_> {
    fn of(user: u32) -> Self {
        Self { user, without: "none", limits: &[], control: "", by: &[] }
    }

    fn edge<'a>(&self, topology: &'a Topology, driver: Driver) -> Edge<'a> {
        let by_unit = self.wrapper();
        let wrapper = self.limits.iter().copied().chain(by_unit.iter().map(String::as_str));
        let wrapper: Vec<&str> = wrapper.chain(self.by.iter().copied()).collect();
        let mut edge = Edge::builder(&topology.edge, driver)
            .run_by(&wrapper)
            .interface("frames = 512")
            .control(self.control)
            .prepare();
        edge.belongs_to(self.user, &as_root(self.user));
        edge
    }

    fn wrapper(&self) -> Vec<String> {
        let list = |key: &str| {
            let names = of_unit(key)[0].split_whitespace().filter(|name| *name != self.without);
            names.map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase())).collect::<String>()
        };
        let (bounding, ambient) = (list("CapabilityBoundingSet"), list("AmbientCapabilities"));
        vec![
            "setpriv".to_owned(),
            format!("--reuid={}", self.user),
            format!("--regid={}", self.user),
            "--clear-groups".to_owned(),
            format!("--bounding-set=-all{bounding}"),
            format!("--inh-caps=-all{ambient}"),
            format!("--ambient-caps=-all{ambient}"),
            "--no-new-privs".to_owned(),
        ]
    }
}

#[test]
fn the_units_user_and_capabilities_are_enough() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 1, &[VIP]);
    for driver in [Driver::XdpNative, Driver::XdpGeneric, Driver::Packet] {
        let mut edge = Unit { control: &format!("group = \"{USERS}\""), ..Unit::of(USERS) }.edge(&topology, driver);
        edge.keep_descriptors(kept_by_unit());
        edge.run();
        edge.apply(json!([{ "name": "web", "vip": VIP, "endpoints": [topology.endpoints[0].over_ipv6()] }]));
        assert_forwards(&topology, driver);
        edge.kill();
        edge.run();
        assert_forwards(&topology, driver);
        edge.upgrade();
        assert_forwards(&topology, driver);
        assert_threads_have_no_more_than_they_need(edge.pid());
        topology.recreate_edge_link(1);
        assert!(wait_until(SOON, || forwards(&topology)), "{driver:?}: {}", edge.json("status"));
        assert_threads_have_no_more_than_they_need(edge.pid());
        assert!(edge.stop().success());
        assert_eq!(edge.store().names().is_empty(), driver == Driver::Packet, "{:?}", edge.store().names());
        edge.run();
        assert_forwards(&topology, driver);
        assert_eq!(edge.store().names().len(), 0, "{driver:?}: what was kept is taken back");
        assert!(edge.stop().success(), "{driver:?} is taken over, and taken away, with the same capabilities");
    }
}

/// All that the daemon asks of the kernel, from its start to its end, with its interface created again meanwhile.
#[test]
fn the_units_system_calls_are_enough() {
    if testkit::skipped()
        || testkit::skipped_without("systemd-analyze", "systemd")
        || testkit::skipped_without("strace", "strace")
    {
        return;
    }
    let allowed = allowed_calls();
    assert!(allowed.contains("sendto") && !allowed.contains("mount"), "{allowed:?}");
    let topology = Topology::with_endpoints(1, 1, &[VIP]);
    for driver in [Driver::XdpNative, Driver::Packet] {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        std::os::unix::fs::chown(directory.path(), Some(USERS + 5), None).expect("root may");
        let trace = directory.path().join("trace").display().to_string();
        // By -D the daemon is the process that is started, and hears its signals.
        let strace = ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-o", &trace];
        let mut edge = Unit { by: &strace, ..Unit::of(USERS + 5) }.edge(&topology, driver);
        edge.keep_descriptors(kept_by_unit());
        edge.run();
        edge.apply(json!([{ "name": "web", "vip": VIP, "endpoints": [topology.endpoints[0].over_ipv6()] }]));
        assert_forwards(&topology, driver);
        edge.upgrade();
        assert_forwards(&topology, driver);
        topology.recreate_edge_link(1);
        assert!(wait_until(SOON, || forwards(&topology)), "{driver:?}: {}", edge.json("status"));
        let (last, written) = (edge.pid().to_string(), || fs::read_to_string(&trace).unwrap_or_default());
        assert!(edge.stop().success());
        let has_ended =
            |line: &str| line.split_once(' ').is_some_and(|(who, what)| who == last && what.contains("exit_group("));
        assert!(wait_until(SOON, || written().lines().any(has_ended)), "strace sees the end");
        let trace = written();
        let calls = trace.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('));
        let calls: BTreeSet<&str> = calls.map(|(call, _)| call).filter(|call| is_name(call)).collect();
        assert!(calls.contains("bpf") && calls.contains("seccomp"), "{calls:?}");
        let refused: Vec<&&str> = calls.iter().filter(|call| !allowed.contains(**call)).collect();
        assert!(refused.is_empty(), "{driver:?}: the unit does not allow {refused:?}");
        assert_workers_read_the_clock_themselves(&trace);
    }
}

/// A confined thread makes no system call to know the time, where this machine's clock can be read without one.
fn assert_workers_read_the_clock_themselves(trace: &str) {
    let clock = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let clock = clock.unwrap_or_default();
    if !["tsc", "kvm-clock", "arch_sys_counter"].contains(&clock.trim()) {
        return eprintln!("not looked at: whether workers read the clock without a system call, as it is {clock}");
    }
    let calls = || trace.lines().filter_map(|line| line.split_once(' '));
    let of = |name: &'static str| calls().filter(move |(_, call)| call.trim_start().starts_with(name));
    let confined: BTreeSet<&str> = of("seccomp(").map(|(thread, _)| thread).collect();
    let asked = of("clock_gettime(").filter(|(thread, _)| confined.contains(thread)).count();
    let slept = of("ppoll(").filter(|(thread, _)| confined.contains(thread)).count();
    // Two threads that begin at once may have to ask while the one of them looks for the clock.
    assert!(slept > 0 && asked <= confined.len(), "{asked} times in {} workers", confined.len());
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What the unit's `SystemCallFilter=` allows, line by line as systemd takes them in.
fn allowed_calls() -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for line in of_unit("SystemCallFilter") {
        for word in line.trim_start_matches('~').split(' ') {
            let calls = calls_of(word);
            if line.starts_with('~') {
                allowed.retain(|call| !calls.contains(call));
            } else {
                allowed.extend(calls);
            }
        }
    }
    allowed
}

/// A system call, or all of a set of systemd's.
fn calls_of(word: &str) -> BTreeSet<String> {
    if !word.starts_with('@') {
        return BTreeSet::from([word.to_owned()]);
    }
    let output = testkit::output_of(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", word]));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().skip(1).map(str::trim).filter(|word| !word.is_empty() && !word.starts_with('#'));
    words.flat_map(calls_of).collect()
}

#[test]
fn root_gives_up_what_it_does_not_need() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::with_endpoints(2, 1, &[VIP]);
    let edge = Edge::start(&topology.edge, Driver::XdpNative);
    assert_threads_have_no_more_than_they_need(edge.pid());
}

/// Where root may not raise the limit on locked memory, it keeps what passes over it, and so does the process that succeeds it:
/// the interface is opened anew by it.
#[test]
fn a_limit_on_locked_memory_outlives_an_upgrade() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 1, &[VIP]);
    let limited = ["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set=-sys_resource"];
    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).run_by(&limited).start();
    edge.apply(json!([{ "name": "web", "vip": VIP, "endpoints": [topology.endpoints[0].over_ipv6()] }]));
    (0..2).for_each(|_| _ = edge.upgrade());
    assert_threads_have_no_more_than_they_need(edge.pid());
    topology.recreate_edge_link(1);
    assert!(wait_until(SOON, || forwards(&topology)), "{}", edge.json("status"));
    assert!(edge.stop().success());
}

#[test]
fn each_missing_capability_is_named_with_its_purpose() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::new(1);
    for capability in of_unit("CapabilityBoundingSet")[0].split_whitespace() {
        for driver in [Driver::XdpNative, Driver::Packet] {
            let mut edge = Unit { without: capability, ..Unit::of(USERS + 1) }.edge(&topology, driver);
            let said = edge.run_in_vain();
            assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
            assert!(said.contains(&format!("the capability {capability} is missing, which is needed to ")), "{said}");
        }
    }
}

#[test]
fn a_limit_on_locked_memory_is_named() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::new(1);
    let limits = ["prlimit", "--memlock=65536"];
    let mut edge = Unit { limits: &limits, ..Unit::of(USERS + 2) }.edge(&topology, Driver::XdpNative);
    let said = edge.run_in_vain();
    assert!(said.contains("raise LimitMEMLOCK"), "{said}");
}

#[test]
fn a_low_limit_on_locked_memory_is_raised() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::new(1);
    // The hard limit stays as it is, usually 8 MiB or more.
    let limits = ["prlimit", "--memlock=65536:"];
    let mut edge = Unit { limits: &limits, ..Unit::of(USERS + 3) }.edge(&topology, Driver::XdpNative);
    edge.run();
    assert!(edge.stop().success());
}

#[test]
fn a_group_that_the_user_is_not_in_is_named() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::new(1);
    let unit = Unit { control: "group = \"63999\"", ..Unit::of(USERS + 4) };
    let said = unit.edge(&topology, Driver::XdpNative).run_in_vain();
    assert!(said.contains("add SupplementaryGroups=63999"), "{said}");
}

#[test]
fn systemd_rates_the_unit_ok() {
    if testkit::skipped_without("systemd-analyze", "systemd") {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/pointsman.service");
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--no-pager", "--offline=true", "--threshold=30", path]).env("SYSTEMD_COLORS", "0");
    let output = command.output().expect("it has just been run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let rating = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let exposure: f64 = rating.split_whitespace().find_map(|word| word.parse().ok()).expect("it says a number");
    assert!(exposure <= 3.0 && output.status.success(), "{said}");
}

#[test]
fn the_units_user_is_shipped() {
    let users = include_str!("../../systemd/pointsman.sysusers");
    for key in ["User", "Group"] {
        let wanted = of_unit(key)[0];
        assert!(
            users.lines().any(|line| line.split_whitespace().take(2).eq(["u", wanted])),
            "no user {wanted}: {users}"
        );
    }
}

fn forwards(topology: &Topology) -> bool {
    topology.client.inside(|| http::who(SocketAddr::new(VIP, 80))).is_ok_and(|(name, _)| name == "ep0")
}

fn assert_forwards(topology: &Topology, driver: Driver) {
    assert!(forwards(topology), "with {driver:?}");
}

const NET_ADMIN: u64 = 1 << 12;
const NEEDED: u64 = NET_ADMIN | 1 << 13 | 1 << 39;
/// Root keeps it where the limit on locked memory cannot be taken away.
const IPC_LOCK: u64 = 1 << 14;

/// Workers have nothing, nor has the metrics' thread. The control thread has what opening the interface anew takes, but can use NET_ADMIN only.
fn assert_threads_have_no_more_than_they_need(pid: i32) {
    let threads = threads(pid);
    assert!(threads.keys().any(|name| name.starts_with("worker-")), "{threads:?}");
    for (name, status) in threads {
        let set = |key: &str| u64::from_str_radix(&status[key], 16).expect("a set is written in hexadecimal");
        let is_worker = name.starts_with("worker-");
        let (effective, permitted) =
            if is_worker || name == "metrics" { (0, 0) } else { (NET_ADMIN, NEEDED | set("CapPrm") & IPC_LOCK) };
        assert_eq!((set("CapEff"), set("CapPrm")), (effective, permitted), "{name}");
        for key in ["CapInh", "CapAmb"] {
            assert_eq!(set(key) & !permitted, 0, "{name}: {key}");
        }
        assert_eq!(set("CapBnd") & !(NEEDED | IPC_LOCK), 0, "{name}: CapBnd");
        assert_eq!(status["NoNewPrivs"], "1", "{name}");
        assert!(!is_worker || status["Seccomp"] == "2", "{name} may make any system call");
    }
}

/// What the kernel says of each thread of a process, by its name.
fn threads(pid: i32) -> BTreeMap<String, BTreeMap<String, String>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let read = |path| fs::read_to_string(path).expect("threads do not come and go");
    let status = threads.map(|thread| read(thread.expect("a directory").path().join("status")));
    let fields = status.map(|status| {
        let pairs = status.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect::<BTreeMap<_, _>>()
    });
    fields.map(|fields| (fields["Name"].clone(), fields)).collect()
}
