//! The daemon with one worker in a network namespace, who pushes its sets, and the way its packets take.

mod kernel;
pub mod stream;
pub mod syncer;

use std::path::PathBuf;

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::{CLIENT_V6, EDGE_V4, Edge, Topology};

/// As nice(1) has it.
const HIGHEST: i32 = -20;

/// A client, an edge node, and ways from the one to all VIPs and from the other to all endpoints: these are behind the
/// client, as behind a router.
pub fn topology() -> Topology {
    let topology = Topology::new(1);
    topology.edge.run(&["ip", "route", "add", "2001:db8:10::/44", "via", &CLIENT_V6.to_string()]);
    topology.client.run(&["ip", "route", "add", "100.64.0.0/10", "via", &EDGE_V4.to_string()]);
    topology
}

/// Has this program run on the other cores, as the daemon has all its threads but the worker: what is to be seen is whether an
/// update holds a worker up, not whether the kernel gives its core to somebody else.
pub fn leave_its_core_to_the_worker(edge: &Edge<'_>) {
    leave_core(core(edge));
}

/// The worker's.
pub fn core(edge: &Edge<'_>) -> usize {
    edge.json("status")["workers"][0]["core"].as_u64().expect("it has a core") as usize
}

/// Has this program run on all other cores, if there are any.
pub fn leave_core(core: usize) {
    let mut others = sched_getaffinity(None).expect("of this thread");
    others.unset(core);
    if (0..CpuSet::MAX_CPU).all(|other| !others.is_set(other)) {
        return eprintln!("the worker has to share its core: there is no other");
    }
    sched_setaffinity(None, &others).expect("there are others");
}

/// The directory in /proc of the worker's thread.
pub fn worker(edge: &Edge<'_>) -> PathBuf {
    let threads = std::fs::read_dir(format!("/proc/{}/task", edge.pid())).expect("it runs");
    let is_worker =
        |path: &PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("worker-"));
    threads.flatten().map(|thread| thread.path()).find(is_worker).expect("it has a worker")
}

/// Has the worker run before nearly all else on its core: kernel threads cannot be had elsewhere, nor what other users run. Not
/// by SCHED_FIFO: a worker under load does not sleep, and the kernel stops such a thread for 50 ms in each second.
pub fn make_worker_urgent(edge: &Edge<'_>) {
    let worker = worker(edge);
    let id = worker.file_name().and_then(|id| Pid::from_raw(id.to_str()?.parse().ok()?));
    setpriority_process(id, HIGHEST).expect("root may");
    // Where there are autogroups, a thread's own priority says nothing to those of other sessions.
    _ = std::fs::write(format!("/proc/{}/autogroup", edge.pid()), HIGHEST.to_string());
}
