//! The wall clock is put forward and back in the middle of a handover, between real kernels: deadlines are not by it, and what
//! is on disk follows it. The daemon's own clock is what a preloaded library says, so that the machine's stays. Needs root and
//! Debian's `faketime`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use testkit::{Asked, Driver, Edge, Namespace, SOON, Topology, left_out, skipped, wait_until};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
const CONNECTIONS: usize = 60;
/// Says what time it is to whoever asks the C library for the time of day.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Connections that are silent until they are asked.
struct Silent(Vec<BufReader<TcpStream>>);

impl Silent {
    fn open(client: &Namespace) -> Self {
        let address = SocketAddr::new(VIP, 7_000);
        let open = || {
            let stream = TcpStream::connect(address).expect("an endpoint answers");
            stream.set_read_timeout(Some(Duration::from_secs(4))).expect("a socket can be made so");
            BufReader::new(stream)
        };
        Self(client.inside(|| (0..CONNECTIONS).map(|_| open()).collect()))
    }

    /// Asks on each, and says how many have no answer.
    fn broken(&mut self) -> usize {
        let asked = |stream: &mut BufReader<TcpStream>| {
            stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")?;
            (0..4).try_for_each(|_| match stream.read_line(&mut String::new())? {
                0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
                _ => Ok::<(), std::io::Error>(()),
            })
        };
        self.0.iter_mut().map(asked).filter(Result::is_err).count()
    }
}

/// Has the daemon's wall clock be so many seconds ahead of the machine's, and waits until it has seen that.
fn set_ahead(edge: &Edge<'_>, file: &Path, seconds: i64, said: usize) {
    fs::write(file, format!("{seconds:+}\n")).expect("the directory is the test's own");
    let seen = || edge.log().matches("the wall clock was put forward or back").count() == said;
    assert!(wait_until(SOON, seen), "it has not seen {seconds:+}: {}", edge.log());
}

#[test]
fn a_wall_clock_that_is_put_forward_or_back_closes_no_window() {
    if skipped() || left_out(!Path::new(LIBRARY).exists(), "libfaketime (Debian: faketime)") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let clock = directory.path().join("clock");
    fs::write(&clock, "+0\n").expect("the directory is the test's own");
    let (preload, file) = (format!("LD_PRELOAD={LIBRARY}"), format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()));
    let wrapper = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let topology = Topology::with_endpoints(1, 4, &[VIP]);
    let _servers: Vec<Asked> = topology.endpoints.iter().map(|e| Asked::start(&e.namespace, &e.name)).collect();
    let mut edge = Edge::builder(&topology.edge, Driver::Packet).run_by(&wrapper).start();
    let apply = |edge: &Edge<'_>, states: [&str; 4]| {
        let endpoints = topology.in_states(&states);
        edge.apply(json!([{ "name": "web", "vip": VIP, "protocol": "tcp", "endpoints": endpoints }]));
    };
    apply(&edge, ["active", "active", "", ""]);
    let mut groups: Vec<Silent> = (0..4).map(|_| Silent::open(&topology.client)).collect();
    apply(&edge, ["draining", "draining", "active", "active"]);
    let mut ask = |when: &str| {
        let broken = groups.pop().expect("one for each time").broken();
        assert_eq!(broken, 0, "of {CONNECTIONS} silent connections broke {when}");
    };
    set_ahead(&edge, &clock, 900, 1);
    ask("after the clock was put forward");
    // Tracked flows are gone then, and what is on disk is by the clock of today.
    assert!(edge.stop().success());
    edge.run();
    ask("after a restart");
    set_ahead(&edge, &clock, -90_000, 1);
    edge.upgrade();
    ask("after the clock was put back, and an upgrade");
    edge.kill();
    edge.run();
    ask("after a crash");
    assert_eq!(edge.metrics().sum("pointsman_handover_open"), 1);
    edge.metrics().assert_balanced();
}
