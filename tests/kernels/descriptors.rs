//! A daemon that has no descriptor left: who wants in waits, and is let in once there is one. Needs root.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use testkit::{Driver, Edge, SOON, Topology, http, wait_until};

const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9750);

#[test]
fn who_waits_for_a_descriptor_is_let_in_by_the_control_socket() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::new(1);
    let edge = Edge::start(&topology.edge, Driver::Packet);
    let kept = [(); 2].map(|()| said_hello(&edge));
    let before = take_descriptors(&edge);
    let asks = || UnixStream::connect(edge.socket()).expect("it listens");
    let mut waiting = asks();
    writeln!(waiting, r#"{{"jsonrpc":"2.0","id":1,"method":"hello"}}"#).expect("the kernel takes it");
    assert!(
        wait_until(SOON, || edge.log().contains("no client of the control socket can be let in")),
        "{}",
        edge.log()
    );
    // One who leaves makes room.
    drop(kept);
    assert!(answers(waiting).contains("\"result\""));

    // And so does a limit that is raised, without anybody leaving.
    let kept = said_hello(&edge);
    take_descriptors(&edge);
    let mut waiting = asks();
    writeln!(waiting, r#"{{"jsonrpc":"2.0","id":1,"method":"hello"}}"#).expect("the kernel takes it");
    assert!(wait_until(SOON, || edge.log().matches("no client of the control socket can be let in").count() == 2));
    set_limit(&edge, before);
    assert!(answers(waiting).contains("\"result\""));
    drop(kept);
}

#[test]
fn who_waits_for_a_descriptor_is_let_in_by_the_metrics() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::new(1);
    let edge = Edge::start(&topology.edge, Driver::Packet);
    let before = take_descriptors(&edge);
    thread::scope(|scope| {
        let page = scope.spawn(|| topology.edge.inside(|| http::get(METRICS, "/metrics")));
        let said = wait_until(SOON, || edge.log().contains("no client of the metrics can be let in"));
        set_limit(&edge, before);
        assert!(said, "{}", edge.log());
        let page = page.join().expect("no panic").expect("an answer");
        assert!(String::from_utf8_lossy(&page).contains("pointsman_received_packets_total"));
    });
}

/// Leaves the daemon no descriptor that it does not have, and returns the limit that it had.
fn take_descriptors(edge: &Edge<'_>) -> Rlimit {
    let open = std::fs::read_dir(format!("/proc/{}/fd", edge.pid())).expect("it runs");
    let open: Vec<u64> = open.flatten().filter_map(|file| file.file_name().to_str()?.parse().ok()).collect();
    let first_free = (0..).find(|number| !open.contains(number));
    let maximum = getrlimit(Resource::Nofile).maximum;
    set_limit(edge, Rlimit { current: first_free, maximum })
}

fn set_limit(edge: &Edge<'_>, limit: Rlimit) -> Rlimit {
    prlimit(Pid::from_raw(edge.pid()), Resource::Nofile, limit).expect("root may")
}

/// A client that has been let in.
fn said_hello(edge: &Edge<'_>) -> UnixStream {
    let mut client = UnixStream::connect(edge.socket()).expect("it listens");
    writeln!(client, r#"{{"jsonrpc":"2.0","id":1,"method":"hello"}}"#).expect("it reads");
    answers(client.try_clone().expect("a descriptor"));
    client
}

fn answers(client: UnixStream) -> String {
    client.set_read_timeout(Some(Duration::from_secs(15))).expect("a socket");
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).expect("an answer");
    line
}
