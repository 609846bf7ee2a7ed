//! What the tests, benches and fuzz targets of pointsman stand on.
//!
//! | room | has |
//! | --- | --- |
//! | [`project`] | where the program under test and the project's files are |
//! | [`network`] | namespaces, links, and the topology of a client, an edge node and endpoints |
//! | [`daemon`] | the daemon in an edge node's namespace, its service manager, what it counts; an endpoint's namespace |
//! | [`node`] | a whole node in threads of this process, without root |
//! | [`guest`] | booted kernels beside the machine's own |
//! | [`peers`] | BIRD, keepalived, a region of edge nodes behind ECMP |
//! | [`traffic`] | clients and servers: HTTP, datagrams, long connections, streams, pings |
//! | [`rules`] | what must hold of any packet and of any text; they share no code with the program |
//! | [`golden`] | the frames of the golden packets |
//! | [`scene`], [`measure`] | what benches forward, and how they time it |
//! | [`updates`] | the daemon under a syncer that pushes many services |
//! | [`simulator`] | flows through changes of endpoints, counted |
//!
//! Everything that is made here is removed when its owner is dropped, also when a test panics. Names of namespaces carry the
//! process id, so that test runs beside each other do not meet, and `make clean-namespaces` knows what a killed run left behind.

pub mod daemon;
pub mod golden;
pub mod guest;
pub mod measure;
pub mod network;
pub mod node;
pub mod peers;
mod process;
pub mod project;
pub mod rules;
pub mod scene;
pub mod simulator;
pub mod traffic;
pub mod updates;

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

pub use daemon::{Driver, Edge, Endpoint, Metrics, Store};
pub use network::{CLIENT_V4, CLIENT_V6, EDGE_V4, EDGE_V6, Namespace, Tap, Topology, veth};
pub use peers::{bird, ecmp, keepalived};
pub use process::{Process, output_of};
pub use traffic::{Asked, Heartbeat, Load, Pauses, Report, Sessions, Stream, StreamHeard, http, udp};

/// How long a test waits for something that should happen at once, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(15);

/// Whether this is a run in which no test may be left out unseen (`CI=true`).
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Whether this test has to be left out because it needs root; it says so. Where `CI=true`, that is a failure.
pub fn skipped() -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    assert!(!is_ci(), "this test needs root, and with CI=true it may not be skipped");
    say_skipped("needs root (network namespaces)");
    true
}

/// Says that the calling test is left out; past the test runner, which would swallow the words of a test that passes.
pub fn say_skipped(why: &str) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let _ = writeln!(io::stderr(), "skipped: {test} {why}");
}

/// Waits until `condition` holds and answers whether it did within `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
