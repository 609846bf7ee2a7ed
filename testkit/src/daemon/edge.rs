//! The daemon in an edge node's namespace.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, set_child_subreaper};
use serde_json::Value;
use tempfile::TempDir;

use super::edge_builder::EdgeBuilder;
use super::notify::{Heard, Notify};
use super::store::Store;
use crate::process::{ended, output_of};
use crate::{Metrics, Namespace, Process, SOON, project, wait_until};

/// How the daemon gets at its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// AF_XDP with the steering program in the device driver.
    XdpNative,
    /// AF_XDP with the steering program in the kernel's generic hook.
    XdpGeneric,
    /// No AF_XDP at all.
    Packet,
}

impl Driver {
    /// The values of `interface.driver` and `interface.xdp_mode` that ask for it.
    pub(super) fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::XdpNative => ("af_xdp", "native"),
            Self::XdpGeneric => ("af_xdp", "generic"),
            Self::Packet => ("af_packet", "auto"),
        }
    }
}

/// What a daemon says whose successor did not get on within its second.
const STALLED: &str = "said nothing for 1s";
/// How often an upgrade is asked for where that happens.
const UPGRADE_TRIES: usize = 5;

/// An edge node's daemon with a directory, and a bpffs, of its own; its state outlives a restart.
pub struct Edge<'a> {
    namespace: &'a Namespace,
    process: Option<Process>,
    /// The process that has taken over from that one by an upgrade.
    successor: Option<Pid>,
    heard: Heard,
    store: Store,
    bpffs: PathBuf,
    directory: TempDir,
    /// A command that runs the daemon's, such as setpriv with its flags.
    wrapper: Vec<String>,
    binary: PathBuf,
}

impl<'a> Edge<'a> {
    /// Starts the daemon with a usual configuration.
    pub fn start(namespace: &'a Namespace, driver: Driver) -> Self {
        Self::builder(namespace, driver).start()
    }

    /// A daemon that is not quite the usual one.
    pub fn builder(namespace: &'a Namespace, driver: Driver) -> EdgeBuilder<'a> {
        EdgeBuilder::new(namespace, driver)
    }

    /// One that has not run yet, with its configuration in this directory.
    pub(super) fn not_started(
        namespace: &'a Namespace,
        directory: TempDir,
        wrapper: Vec<String>,
        store: Store,
    ) -> Self {
        let (heard, bpffs, binary) = (Heard::default(), directory.path().join("bpf"), project::pointsman());
        Self { namespace, process: None, successor: None, heard, store, bpffs, directory, wrapper, binary }
    }

    /// Has the daemon run as the user of this number, who gets what is the daemon's own. The bpffs is root's, as systemd
    /// mounts it; `as_root` are the commands that prepare it, with the usual place of it in them.
    pub fn belongs_to(&mut self, user: u32, as_root: &[String]) {
        let copy = self.path("pointsman");
        install(&self.binary, &copy, &[]);
        self.binary = copy;
        for path in [self.directory.path().to_owned(), self.path("state"), self.path("pointsman.toml")] {
            std::os::unix::fs::chown(path, Some(user), Some(user)).expect("root may");
        }
        fs::set_permissions(&self.bpffs, fs::Permissions::from_mode(0o700)).expect("root may");
        for command in as_root {
            let command = command.replace("/sys/fs/bpf", &self.bpffs.display().to_string());
            let mut words = command.split_whitespace();
            let program = words.next().expect("a command has a name");
            output_of(Command::new(program).args(words));
        }
    }

    /// From the next start on, the service manager keeps so many descriptors.
    pub fn keep_descriptors(&mut self, room: usize) {
        self.store = Store::with_room(room);
    }

    /// From the next start on, this command runs the daemon's.
    pub fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// What the service manager keeps.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where the steering program of `eth0` is pinned.
    pub fn pins(&self) -> PathBuf {
        self.bpffs.join("pointsman/eth0")
    }

    /// Starts a daemon that does not get ready, and answers its words.
    pub fn run_in_vain(&mut self) -> String {
        let notify = Notify::new(self.directory.path(), self.store.clone());
        let process = Process::start(self.daemon(&notify));
        assert_eq!(process.wait(SOON).code(), Some(1), "{}", process.log());
        process.log()
    }

    fn daemon(&self, notify: &Notify) -> Command {
        let wrapper = self.store.wrapper().iter().copied().chain(self.wrapper.iter().map(String::as_str));
        let binary = self.binary.to_str().expect("a temporary path is text");
        let words: Vec<&str> = wrapper.chain([binary, "run", "--config"]).collect();
        let mut command = self.namespace.command(&words);
        command.arg(self.path("pointsman.toml")).env("NOTIFY_SOCKET", notify.path());
        self.store.prepare(&mut command);
        command
    }

    /// As a disk that is replaced, while the daemon does not run.
    pub fn lose_state(&self) {
        fs::remove_dir_all(self.path("state")).expect("the directory is the test's own");
        fs::create_dir(self.path("state")).expect("the directory is the test's own");
    }

    /// Starts the daemon (again) with the configuration as it is, and waits until it is ready.
    pub fn run(&mut self) {
        // Those who take over from it are its children, and then this process's, which can wait for them.
        set_child_subreaper(Some(rustix::process::getpid())).expect("a process may");
        let notify = Notify::new(self.directory.path(), self.store.clone());
        let process = Process::start(self.daemon(&notify));
        let process = self.process.insert(process);
        notify.wait(process, SOON).unwrap_or_else(|reason| panic!("pointsman run: {reason}"));
        self.heard = notify.keep_hearing();
    }

    /// What it has told the service manager since it was ready.
    pub fn notified(&self) -> Vec<String> {
        self.heard.lines()
    }

    /// Applies an endpoint set, and waits until every endpoint can be reached.
    pub fn apply(&self, services: Value) {
        self.apply_unreachable(services);
        assert!(wait_until(SOON, || self.reaches_all()), "no way to some endpoint: {}", self.json("status"));
    }

    /// Applies an endpoint set, whether or not its endpoints can be reached.
    pub fn apply_unreachable(&self, services: Value) {
        let set = serde_json::json!({ "revision": "test", "services": services });
        let file = self.path("set.json");
        fs::write(&file, set.to_string()).expect("the directory is the test's own");
        output_of(self.control("apply").arg("--set").arg(file));
    }

    /// Whether every endpoint has a next hop: before that a packet would be dropped, and a datagram lost.
    fn reaches_all(&self) -> bool {
        let status = self.json("status");
        let services = status["services"].as_array().expect("status lists the services");
        services.iter().all(|service| service["unreachable"] == serde_json::json!({}))
    }

    /// What `status`, `stats` or another such command says in JSON.
    pub fn json(&self, command: &str) -> Value {
        let output = output_of(self.control(command).arg("--json"));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{command} --json is not JSON: {error}"))
    }

    /// A look at its counters.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.json("stats"))
    }

    /// Runs a command that talks to the daemon, and answers what it said.
    pub fn ask(&self, command: &str) -> Output {
        output_of(&mut self.control(command))
    }

    /// The path of its control socket.
    pub fn socket(&self) -> String {
        self.path("control.sock").display().to_string()
    }

    /// Runs `pointsman cleanup`, which may fail.
    pub fn cleanup(&self) -> Output {
        let config = self.path("pointsman.toml");
        let config = config.to_str().expect("a temporary path is text");
        let program = project::pointsman();
        let program = program.to_str().expect("the project's path is text");
        self.namespace.try_run(&[program, "cleanup", "--config", config])
    }

    /// SIGTERM alone; [`wait`](Self::wait) for how it ends.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.process_id(), signal).expect("the daemon runs");
    }

    /// Has the daemon hand over to its own program, and answers what the new process says. On a machine so busy that it has
    /// not got a worker going within its second, the old process goes on, and is asked again.
    pub fn upgrade(&mut self) -> Value {
        self.upgrade_unless_stalled(None, |_| false)
            .unwrap_or_else(|reason| panic!("no upgrade: {reason}\n{}", self.log()))
    }

    /// Has an upgrade to this program fail for this reason; asks again likewise.
    pub fn upgrade_in_vain(&mut self, binary: &Path, reason: &str) {
        let said = self.upgrade_unless_stalled(Some(binary), |said| said.contains(reason)).expect_err("it fails");
        assert!(said.contains(reason), "{reason} is expected, not {said}");
    }

    fn upgrade_unless_stalled(
        &mut self,
        binary: Option<&Path>,
        is_expected: impl Fn(&str) -> bool,
    ) -> Result<Value, String> {
        let mut tries = UPGRADE_TRIES;
        loop {
            match self.upgrade_to(binary) {
                Err(said) if said.contains(STALLED) && !is_expected(&said) && tries > 1 => {
                    println!("once more: {said}")
                }
                outcome => return outcome,
            }
            tries -= 1;
        }
    }

    /// The same to another program, which may fail; the error is what the command says.
    pub fn upgrade_to(&mut self, binary: Option<&Path>) -> Result<Value, String> {
        let before = self.process_id();
        let mut command = self.control("upgrade");
        if let Some(binary) = binary {
            command.arg("--binary").arg(binary);
        }
        let output = command.arg("--json").output().expect("it runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let process = answer["process"].as_i64().and_then(|number| Pid::from_raw(number as i32));
        self.successor = process;
        let mut status = None;
        let is_over = wait_until(SOON, || {
            status = ended(before);
            status.is_some()
        });
        assert!(
            is_over && status.is_some_and(|status| status.success()),
            "the old process: {status:?}\n{}",
            self.log()
        );
        Ok(answer)
    }

    /// Has the daemon hand over by SIGUSR2, and answers the new process's number.
    pub fn upgrade_by_signal(&mut self) -> i32 {
        let before = self.process_id();
        self.signal(Signal::USR2);
        let is_over = wait_until(SOON, || ended(before).is_some());
        assert!(is_over && ended(before).is_some_and(|status| status.success()), "{}", self.log());
        self.follow_upgrades()
    }

    /// Finds out which process is the daemon now, after upgrades that somebody else has asked for, and answers its number.
    pub fn follow_upgrades(&mut self) -> i32 {
        let number = self.json("status")["process"].as_i64().expect("a number") as i32;
        self.successor = Pid::from_raw(number);
        number
    }

    fn process_id(&self) -> Pid {
        self.successor.unwrap_or_else(|| self.process.as_ref().expect("the daemon runs").pid())
    }

    /// A program that is the daemon's own, but fails by an upgrade as these words say.
    pub fn failing_binary(&self, fault: &str) -> PathBuf {
        self.script(&format!("POINTSMAN_UPGRADE_FAULT={fault} exec {} \"$@\"", self.binary.display()))
    }

    /// The daemon's own program at another path.
    pub fn copy_of_binary(&self, name: &str) -> PathBuf {
        let copy = self.path(name);
        fs::hard_link(&self.binary, &copy).unwrap_or_else(|_| install(&self.binary, &copy, &[]));
        copy
    }

    /// A program of these words for a shell.
    pub fn script(&self, words: &str) -> PathBuf {
        let path = self.path("program");
        install(Path::new("/dev/stdin"), &path, format!("#!/bin/sh\n{words}\n").as_bytes());
        path
    }

    /// Adds to the configuration on disk.
    pub fn append_config(&self, sections: &str) {
        let path = self.path("pointsman.toml");
        let config = fs::read_to_string(&path).expect("it is there");
        fs::write(&path, config + sections).expect("the directory is the test's own");
    }

    /// Changes the configuration on disk.
    pub fn edit_config(&self, from: &str, to: &str) {
        let path = self.path("pointsman.toml");
        let config = fs::read_to_string(&path).expect("it is there");
        assert!(config.contains(from), "{from} is not in {config}");
        fs::write(&path, config.replace(from, to)).expect("the directory is the test's own");
    }

    /// All that the daemon has printed.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Holds the daemon in its tracks while something is done.
    pub fn frozen(&self, work: impl FnOnce()) {
        let process = self.process.as_ref().expect("the daemon runs");
        process.signal(Signal::STOP);
        work();
        process.signal(Signal::CONT);
    }

    /// Whether the daemon runs.
    pub fn lives(&self) -> bool {
        self.process.is_some() && ended(self.process_id()).is_none()
    }

    /// Waits for its end, and answers how it ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.take().expect("the daemon runs").wait(SOON)
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.end(Signal::TERM)
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) -> ExitStatus {
        self.end(Signal::KILL)
    }

    /// SIGABRT, as the service manager sends it to a daemon that has fallen silent.
    pub fn abort(&mut self) -> ExitStatus {
        self.end(Signal::ABORT)
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.process_id().as_raw_nonzero().get()
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let (number, process) = (self.process_id(), self.process.take());
        self.successor = None;
        let mut status = None;
        wait_until(SOON, || {
            status = ended(number);
            status.is_some()
        });
        // What it has given to be kept must not get lost on the way.
        self.heard.finish();
        let log = process.map(|process| process.log()).unwrap_or_default();
        status.unwrap_or_else(|| panic!("the daemon did not end:\n{log}"))
    }

    fn control(&self, command: &str) -> Command {
        let mut answer = Command::new(project::pointsman());
        answer.arg(command).arg("--socket").arg(self.path("control.sock"));
        answer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Edge<'_> {
    fn drop(&mut self) {
        self.end_successors();
        drop(self.process.take());
        // With the mount go the pins, and with them the steering program.
        let _ = Command::new("umount").arg(&self.bpffs).status();
    }
}

impl Edge<'_> {
    /// A daemon that another one has started is in no process group of the test's. It is known by its config.
    fn end_successors(&self) {
        let config = self.path("pointsman.toml").display().to_string();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let is_ours = words.split(|byte| *byte == 0).any(|word| word == config.as_bytes());
            let number = process.file_name().to_str().and_then(|number| number.parse().ok());
            if let Some(pid) = number.and_then(Pid::from_raw).filter(|_| is_ours) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Makes a program of a file, or of what is written to /dev/stdin. Another process writes it: as long as a child of this one,
/// which some other test has begun, has it open for writing, nobody can run it.
fn install(from: &Path, to: &Path, input: &[u8]) {
    let mut command = Command::new("install");
    let mut child = command.arg("-m755").args([from, to]).stdin(Stdio::piped()).spawn().expect("coreutils are there");
    child.stdin.take().expect("it is piped").write_all(input).expect("it listens");
    assert!(child.wait().expect("it ends").success(), "{} cannot be made", to.display());
}
