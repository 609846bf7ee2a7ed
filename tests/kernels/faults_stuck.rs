//! A control thread that is stuck: the service manager hears nothing more and ends the daemon; until then packets are
//! forwarded, and after the restart again. Needs root.
#![allow(unsafe_code, reason = "nothing else stops one thread of another process, and has no safe wrapper")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::json;
use testkit::{Driver, Edge, SOON, Topology, udp, wait_until};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// A daemon that is well tells the service manager so each second.
const SILENCE: Duration = Duration::from_secs(3);

#[test]
fn a_stuck_control_thread_is_seen_and_harms_no_packet() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::with_endpoints(1, 1, &[VIP]);
    // As the service manager ends it, it would leave a core file.
    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).run_by(&["prlimit", "--core=0"]).start();
    edge.apply(json!([{ "name": "web", "vip": VIP, "endpoints": [topology.endpoints[0].over_ipv6()] }]));
    assert!(wait_until(SOON, || watchdogs(&edge) > 0), "it says that it is well");

    let stuck = Stuck::new(edge.pid());
    let before = watchdogs(&edge);
    assert!(!wait_until(SILENCE, || watchdogs(&edge) > before + 1), "it still says that it is well");
    assert_forwards(&topology);
    drop(stuck);
    let before = watchdogs(&edge);
    assert!(wait_until(SOON, || watchdogs(&edge) > before), "it says that it is well again");

    let _stuck = Stuck::new(edge.pid());
    assert!(!edge.abort().success(), "the service manager ends it");
    edge.run();
    assert_forwards(&topology);
}

fn watchdogs(edge: &Edge<'_>) -> usize {
    edge.notified().iter().filter(|line| *line == "WATCHDOG=1").count()
}

fn assert_forwards(topology: &Topology) {
    let answer = topology.client.inside(|| udp::ask(VIP, b"hello"));
    assert_eq!(answer.ok().as_deref(), Some("ep0"));
}

/// The first thread of a process, which is the daemon's control thread, held in mid-work, as a debugger does. It goes on
/// when this is dropped.
struct Stuck(libc::pid_t);

impl Stuck {
    fn new(pid: i32) -> Self {
        ptrace(libc::PTRACE_SEIZE, pid);
        ptrace(libc::PTRACE_INTERRUPT, pid);
        // SAFETY: a null pointer asks for no status.
        let stopped = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        assert_eq!(stopped, pid, "it stops");
        Self(pid)
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        // SAFETY: nothing is pointed to. Where the process has ended, there is nothing to detach from.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, std::ptr::null_mut::<()>(), std::ptr::null_mut::<()>()) };
    }
}

fn ptrace(request: libc::c_uint, pid: i32) {
    // SAFETY: neither request points to anything.
    let result = unsafe { libc::ptrace(request, pid, std::ptr::null_mut::<()>(), std::ptr::null_mut::<()>()) };
    assert_eq!(result, 0, "ptrace: {}", std::io::Error::last_os_error());
}
