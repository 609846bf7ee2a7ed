//! A network namespace with a name, and links between two of them.

use std::fs::{self, File};
use std::panic;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{Process, output_of};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace, deleted when dropped.
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// A new namespace with `lo` up, no duplicate address detection and no reverse-path filter, so that addresses work
    /// at once and answers may leave another way than requests came.
    pub fn new(role: &str) -> Self {
        let name = format!("pm{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        output_of(Command::new("ip").args(["netns", "add", &name]));
        let handle = File::open(format!("/run/netns/{name}")).expect("the namespace was just made");
        let namespace = Self { name, handle };
        namespace.run(&["ip", "link", "set", "lo", "up"]);
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0");
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0");
        }
        namespace.sysctl("net/ipv6/conf/default/router_solicitations", "0");
        namespace
    }

    /// The name, as in `ip netns list`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command in here and answers what it printed; panics with its words where it fails.
    pub fn run(&self, command: &[&str]) -> String {
        let output = output_of(&mut self.command(command));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command in here that may fail.
    pub fn try_run(&self, command: &[&str]) -> Output {
        self.command(command).output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
    }

    /// Starts a command in here, to be killed when the answer is dropped.
    pub fn spawn(&self, command: &[&str]) -> Process {
        Process::start(self.command(command))
    }

    /// A command that will run in here. `ip netns exec` also gives it the namespace's own `/sys/class/net`.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut answer = Command::new("ip");
        answer.args(["netns", "exec", &self.name]).args(command);
        answer
    }

    /// Does some work in this namespace and answers its result.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| scope.spawn(|| enter(&self.handle, work)).join());
        result.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    /// Starts a thread in this namespace.
    pub fn thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let handle = self.handle.try_clone().expect("a file descriptor can be duplicated");
        thread::spawn(move || enter(&handle, work))
    }

    /// Adds addresses (with their prefix lengths) to a link.
    pub fn add_addresses(&self, link: &str, addresses: &[String]) {
        for address in addresses {
            let mut command = vec!["ip", "address", "add", address, "dev", link];
            if address.contains(':') {
                command.push("nodad");
            }
            self.run(&command);
        }
    }

    /// Writes to a file under `/proc/sys`, as this namespace sees it.
    pub fn sysctl(&self, path: &str, value: &str) {
        let path = format!("/proc/sys/{path}");
        self.inside(|| {
            fs::write(&path, value).unwrap_or_else(|error| panic!("cannot write {value} to {path}: {error}"))
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["netns", "delete", &self.name]).status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("could not delete the network namespace {}", self.name);
        }
    }
}

/// Moves the calling thread, which ends afterwards, into a namespace.
fn enter<T>(namespace: &File, work: impl FnOnce() -> T) -> T {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter a namespace");
    work()
}

/// Joins two namespaces by a pair of links with `queues` queues at each end, all offloads off: a frame looks as it
/// would on a wire, whole and with its checksums.
pub fn veth(a: (&Namespace, &str), b: (&Namespace, &str), queues: u32) {
    let queues = queues.to_string();
    let several = ["numtxqueues", &queues, "numrxqueues", &queues];
    let mut add = Command::new("ip");
    add.args(["link", "add", a.1, "netns", a.0.name()]).args(several).args(["type", "veth"]);
    add.args(["peer", "name", b.1, "netns", b.0.name()]).args(several);
    output_of(&mut add);
    for (namespace, link) in [a, b] {
        let off = ["tx", "off", "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off"];
        namespace.run(&[&["ethtool", "-K", link], &off[..]].concat());
        namespace.run(&["ip", "link", "set", link, "up"]);
    }
}
