//! A stock kernel to be the endpoint: Debian's user-mode-linux, a whole kernel in a process, with a busybox inside.
//!
//! Its tunnel devices are the kernel's own, so that what pointsman sends is read by somebody else's code.

mod initramfs;

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::netns::{Namespace, Process, say_skipped, wait_until};

/// A booted kernel with a link, `vec0`, to the bridge of a fabric. It is off when dropped.
pub struct StockKernel {
    console: Process,
    commands: u32,
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
        let console = Process::start(kernel);
        let mut kernel = Self { console, commands: 0, _directory: directory };
        kernel.wait_for("init: ready");
        kernel
    }

    /// Runs a line of shell in there and answers what it printed; panics where it fails.
    pub fn run(&mut self, line: &str) -> String {
        self.commands += 1;
        let (start, end) = (format!("begin {}:", self.commands), format!("end {}:", self.commands));
        let sent = writeln!(self.console.input(), "echo '{start}'; {line}; echo \"{end} $?\"");
        sent.unwrap_or_else(|error| panic!("the stock kernel is gone ({error}):\n{}", self.console.log()));
        self.wait_for(&end);
        let log = self.console.log().replace('\r', "");
        let said = log.rsplit_once(&format!("{start}\n")).map_or("", |(_, said)| said);
        let (said, code) = said.rsplit_once(&end).unwrap_or((said, ""));
        assert_eq!(code.trim(), "0", "in the stock kernel, {line:?} failed:\n{said}");
        said.to_owned()
    }

    fn wait_for(&mut self, text: &str) {
        let limit = Duration::from_secs(60);
        let whole_line = |log: String| log.rsplit_once(text).is_some_and(|(_, rest)| rest.contains('\n'));
        let mut ended = false;
        let came = wait_until(limit, || {
            ended = self.console.ended().is_some();
            whole_line(self.console.log()) || ended
        });
        assert!(came && !ended, "the stock kernel never said {text:?}; it said:\n{}", self.console.log());
    }
}

impl Drop for StockKernel {
    fn drop(&mut self) {
        // A kernel that is told to stop takes its helper processes along.
        let _ = writeln!(self.console.input(), "poweroff -f");
        wait_until(Duration::from_secs(5), || self.console.ended().is_some());
    }
}

/// Whether this test has to be left out for want of a stock kernel; it says so, and fails where `CI=true`.
pub fn skipped() -> bool {
    let Some(missing) = StockKernel::missing() else { return crate::netns::skipped() };
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{missing}; with CI=true this test may not be skipped");
    say_skipped(&format!("needs what make deps installs: {missing}"));
    true
}

/// The machine's `command -v`.
fn find(program: &str) -> Option<String> {
    let output = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
