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
mod requirements;
pub mod rules;
pub mod scene;
pub mod simulator;
pub mod traffic;
pub mod updates;

use std::thread;
use std::time::{Duration, Instant};

pub use daemon::{Driver, Edge, Endpoint, Metrics, Store};
pub use network::{CLIENT_V4, CLIENT_V6, EDGE_V4, EDGE_V6, Namespace, Tap, Topology, veth};
pub use peers::{bird, ecmp, keepalived};
pub use process::{Process, output_of};
pub use requirements::{is_ci, left_out, skipped, skipped_without};
pub use traffic::{Asked, Heartbeat, Load, Pauses, Report, Sessions, Stream, StreamHeard, http, udp};

/// How long a test waits for something that should happen at once, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(15);

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
