//! Kernels that tests boot beside the machine's own, in qemu: for tunnel devices, VLANs, bonds, VRFs and drivers that do not
//! copy, whatever the machine's kernel has.
//!
//! | guest | is |
//! | --- | --- |
//! | [`Guest`] | a booted kernel with busybox, iproute2's `ip` and a shell that takes lines |
//! | [`EdgeGuest`] | the edge node of a topology: pointsman over a virtio-net device |
//! | [`EndpointGuest`] | an endpoint of a topology: the kernel's own tunnel devices |
//! | [`run_here_or_in_a_guest`] | this very test, where the machine's kernel lacks what it needs |

mod console;
mod edge;
mod endpoint;
mod image;
mod kernel;
mod machine;
mod shared;
mod test_run;

use std::fs;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use console::Console;
pub use edge::EdgeGuest;
pub use endpoint::{EndpointGuest, Turn};
pub use image::Image;
pub use kernel::Kernel;
pub use machine::Hardware;
pub use test_run::{Feature, run_here_or_in_a_guest};

use crate::{Namespace, Process, left_out};

/// How often a guest is booted that does not come up: an emulated machine whose timers come late, as on a busy one, now and
/// then gets stuck before there is anything to test.
const MOST_BOOTS: u32 = 3;

/// A booted kernel. It is off when dropped.
pub struct Guest {
    console: Console,
    directory: TempDir,
}

impl Guest {
    /// Boots a kernel with this file system, in a namespace that has the link `tap0` if there is a network device.
    pub fn boot(kernel: &Kernel, hardware: Hardware, network: &Namespace, image: Image) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (image, log) = (image.pack(directory.path()), directory.path().join("log"));
        let words = machine::qemu(kernel, hardware, &image, &log);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let boot = |_| {
            let console = Console::boot(network.command(&words));
            let kernel = || fs::read_to_string(&log).unwrap_or_default();
            console.inspect_err(|said| println!("the guest did not boot:\n{said}\nits kernel:\n{}", kernel())).ok()
        };
        let console = (0..MOST_BOOTS).find_map(boot).expect("the guest boots");
        Self { console, directory }
    }

    /// Runs a line of shell in there and returns what it printed; panics where it fails.
    pub fn run(&mut self, line: &str) -> String {
        self.console.run(line)
    }

    /// Runs a line that may fail, and returns its exit code, too.
    pub fn try_run(&mut self, line: &str) -> (String, i32) {
        self.console.try_run(line)
    }

    /// Writes a file in there.
    pub fn write(&mut self, path: &str, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let line = line.replace('\'', r"'\''");
            self.run(&format!("echo '{line}' {} {path}", if number == 0 { ">" } else { ">>" }));
        }
    }

    /// All that its kernel has said, and what programs there wrote to `/dev/ttyS0`.
    pub fn log(&self) -> String {
        let log = fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).replace('\r', "")
    }

    /// For how long the kernel has run.
    pub fn uptime(&mut self) -> Duration {
        let said = self.run("cat /proc/uptime");
        let seconds = said.split_whitespace().next().and_then(|seconds| seconds.parse().ok());
        Duration::from_secs_f64(seconds.expect("a number"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the guest\n{}---", self.log());
        }
    }
}

/// Adds the link `tap0`, which a guest is plugged into, to the bridge of a fabric.
fn plug_in(fabric: &Namespace, hardware: Hardware) {
    let several: &[&str] = if hardware.queues > 1 { &["multi_queue"] } else { &[] };
    fabric.run(&[&["ip", "tuntap", "add", "tap0", "mode", "tap"], several].concat());
    fabric.run(&["ip", "link", "set", "tap0", "master", "br0", "up"]);
}

/// Whether tests that need a guest have to be left out; it says why, and fails where `CI=true`.
pub fn skipped(kernel: &Kernel) -> bool {
    if crate::skipped() {
        return true;
    }
    let lacks = |program: &&&str| Process::find(program).is_none();
    let programs = ["qemu-system-x86_64", "busybox", "cpio", "ip", "strip", "xz"];
    match programs.iter().find(lacks) {
        Some(program) => left_out(true, &format!("{program}, which make test installs")),
        None => left_out(!kernel.is_there(), &format!("{}, which make test fetches", kernel.image().display())),
    }
}
