//! A stock kernel to be the endpoint: Debian's user-mode-linux, a whole kernel in a process, with a busybox inside.
//!
//! Its tunnel devices are the kernel's own, so that what pointsman sends is read by somebody else's code.

mod initramfs;

use tempfile::TempDir;

use crate::booted::Console;
use crate::netns::{Namespace, say_skipped};

/// A booted kernel with a link, `vec0`, to the bridge of a fabric. It is off when dropped.
pub struct StockKernel {
    console: Console,
    _directory: TempDir,
}

impl StockKernel {
    /// Whether this machine lacks what it takes; then it says what.
    pub fn missing() -> Option<String> {
        initramfs::missing()
    }

    /// Boots, with the link `vec0` up and the modules for tunnels loaded.
    pub fn boot(fabric: &Namespace) -> Self {
        fabric.run(&["ip", "tuntap", "add", "tap0", "mode", "tap"]);
        fabric.run(&["ip", "link", "set", "tap0", "master", "br0", "up"]);
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let image = initramfs::build(directory.path());
        let mut kernel = fabric.command(&["linux.uml", "mem=128M", "root=/dev/ram0", "rdinit=/init"]);
        kernel.arg(format!("initrd={}", image.display()));
        kernel.args(["con0=fd:0,fd:1", "con=null", "ssl=null", "quiet"]);
        kernel.arg("vec0:transport=tap,ifname=tap0,depth=64,mac=02:00:00:00:00:e9");
        // Its sockets go to a directory in here, not to the home of whoever runs the tests.
        kernel.env("HOME", directory.path()).env("TMPDIR", directory.path());
        Self { console: Console::boot("the stock kernel", kernel), _directory: directory }
    }

    /// Runs a line of shell in there and answers what it printed; panics where it fails.
    pub fn run(&mut self, line: &str) -> String {
        self.console.run(line)
    }
}

/// Whether this test has to be left out for want of a stock kernel; it says so, and fails where `CI=true`.
pub fn skipped() -> bool {
    let Some(missing) = StockKernel::missing() else { return crate::netns::skipped() };
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{missing}; with CI=true this test may not be skipped");
    say_skipped(&format!("needs what make deps installs: {missing}"));
    true
}
