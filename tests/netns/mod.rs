//! Network namespaces, links, processes and daemons for tests that need root and real kernels.
//!
//! Everything made here is removed when its owner is dropped, also when a test panics. Names carry the process id, so
//! that test runs beside each other do not meet, and `make clean-namespaces` knows what a killed run left behind.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "every test binary includes this module and uses its own part of it"
)]

pub mod bird;
pub mod ecmp;
mod edge;
mod endpoint;
mod heartbeat;
pub mod http;
pub mod keepalived;
mod load;
mod metrics;
mod namespace;
mod narrow_way;
mod notify;
mod pauses;
mod process;
mod sessions;
mod store;
mod stream;
mod tap;
mod topology;
pub mod udp;

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use edge::on_every_driver;
pub use edge::{Driver, Edge};
pub use endpoint::Endpoint;
pub use heartbeat::Heartbeat;
pub use load::{Load, Report};
pub use metrics::Metrics;
pub use namespace::{Namespace, veth};
pub use pauses::Pauses;
pub use process::{Process, output_of};
pub use sessions::{Asked, Sessions};
pub use store::Store;
pub use stream::{Heard as StreamHeard, Stream};
pub use tap::Tap;
pub use topology::{CLIENT_V4, CLIENT_V6, EDGE_V4, EDGE_V6, Topology};

/// How long a test waits for something that should happen at once, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(15);

/// Whether this test has to be left out because it needs root; it says so. Where `CI=true`, that is a failure: there,
/// nothing may be left out unseen.
pub fn skipped() -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "this test needs root, and with CI=true it may not be skipped"
    );
    say_skipped("needs root (network namespaces)");
    true
}

/// Whether this test has to be left out because there is no root or the kernel has no VLAN devices; it says so. A kernel
/// without them is no failure where `CI=true` either: nothing that could be installed would bring them.
pub fn skipped_without_vlans() -> bool {
    if skipped() {
        return true;
    }
    let probe = Namespace::new("vlans");
    probe.run(&["ip", "link", "add", "end", "type", "veth", "peer", "other"]);
    let made = probe.try_run(&["ip", "link", "add", "link", "end", "name", "end.1", "type", "vlan", "id", "1"]);
    if !made.status.success() {
        say_skipped("needs a kernel with VLAN devices (CONFIG_VLAN_8021Q)");
    }
    !made.status.success()
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
