//! A test that needs what this machine's kernel lacks, run by a guest's kernel instead.

use std::sync::{Arc, Mutex};
use std::{env, thread};

use super::shared::{Shared, turn};
use super::{Guest, Hardware, Image, Kernel};
use crate::{Namespace, project};

/// What not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// VLAN devices (CONFIG_VLAN_8021Q).
    Vlans,
    /// Bonds (CONFIG_BONDING).
    Bonds,
    /// Virtual routing and forwarding (CONFIG_NET_VRF).
    Vrfs,
    /// Nobody else's: settings that all namespaces share may be changed. Only a guest's is.
    KernelOfItsOwn,
}

/// Set where a test runs in a guest.
const IN_A_GUEST: &str = "TESTKIT_IN_A_GUEST";

impl Feature {
    /// Whether this kernel has it.
    fn is_here(self) -> bool {
        let device: &[&str] = match self {
            Self::Vlans => &["link", "end", "name", "end.1", "type", "vlan", "id", "1"],
            Self::Bonds => &["name", "bond", "type", "bond"],
            Self::Vrfs => &["name", "vrf", "type", "vrf", "table", "10"],
            Self::KernelOfItsOwn => return env::var_os(IN_A_GUEST).is_some(),
        };
        let probe = Namespace::new("feature");
        probe.run(&["ip", "link", "add", "end", "type", "veth", "peer", "other"]);
        probe.try_run(&[&["ip", "link", "add"], device].concat()).status.success()
    }
}

/// What tests in namespaces, and the guard of AF_PACKET, need of a kernel.
const MODULES: [&str; 9] = ["veth", "bridge", "tun", "dummy", "8021q", "bonding", "vrf", "sch_ingress", "cls_bpf"];

/// One guest for all tests of a process that need it at the same time.
static SHARED: Shared<TestGuest> = Shared::new();

struct TestGuest {
    guest: Guest,
    /// Where qemu runs, without a network.
    _outside: Namespace,
}

/// Whether this test is to go on here. Where the machine's kernel lacks the feature, the same test of the same program has run
/// in a guest when this returns `false`; where it is left out, that is said.
///
/// # Panics
///
/// Where the test fails in the guest, with what it said there.
pub fn run_here_or_in_a_guest(feature: Feature) -> bool {
    if crate::skipped() {
        return false;
    }
    if feature.is_here() {
        return true;
    }
    if !super::skipped(&Kernel::stock()) {
        run_in_a_guest();
    }
    false
}

/// The calling test, by its name.
fn run_in_a_guest() {
    let test = thread::current().name().expect("a test's thread has its name").to_owned();
    let shared: Arc<Mutex<TestGuest>> = SHARED.get(TestGuest::boot);
    let (said, code) = turn(&shared)
        .guest
        .try_run(&format!("{IN_A_GUEST}=1 RUST_BACKTRACE=1 CI=true tests --exact '{test}' --nocapture 2>&1"));
    assert!(code == 0 && said.contains("1 passed"), "in a guest with {}:\n{said}", Kernel::stock().version());
    println!("{test} has run in a guest with {}", Kernel::stock().version());
}

impl TestGuest {
    /// With this very program in it, and what its tests call.
    fn boot() -> Self {
        let kernel = Kernel::stock();
        let image = Image::new(&kernel, &MODULES);
        for program in ["ethtool", "ping"] {
            image.add_program(program);
        }
        image.add_stripped(&project::pointsman(), "pointsman");
        // By its process: its file may have been replaced by a newer build.
        image.add_stripped(format!("/proc/{}/exe", std::process::id()).as_ref(), "tests");
        let outside = Namespace::new("guest");
        let hardware = Hardware { cores: 2, memory: 1024, queues: 0, dma: false };
        Self { guest: Guest::boot(&kernel, hardware, &outside, image), _outside: outside }
    }
}
