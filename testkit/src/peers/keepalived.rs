//! keepalived in a namespace: never the system's own.

use std::fs;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{Namespace, Process, SOON, skipped_without};

/// A running keepalived, killed when dropped.
pub struct Keepalived {
    process: Process,
    _directory: TempDir,
}

impl Keepalived {
    /// Whether keepalived is there; it says so where it is not.
    pub fn is_missing() -> bool {
        skipped_without("keepalived", "keepalived")
    }

    /// Starts it with the text of a configuration.
    pub fn start(namespace: &Namespace, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let file = |name: &str| directory.path().join(name).display().to_string();
        let config_file = file("keepalived.conf");
        fs::write(&config_file, config).expect("the directory is the test's own");
        let (pid, vrrp) = (file("parent.pid"), file("vrrp.pid"));
        let foreground = ["keepalived", "--dont-fork", "--vrrp", "--log-console", "--no-syslog", "--log-detail"];
        let files = ["--use-file", &config_file, "--pid", &pid, "--vrrp_pid", &vrrp];
        let process = namespace.spawn(&[&foreground[..], &files[..]].concat());
        Self { process, _directory: directory }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// SIGTERM: it says good-bye to the others, and takes the VIPs off.
    pub fn stop(self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(SOON);
        assert!(status.success(), "keepalived ended with {status}: {}", self.log());
    }

    /// SIGKILL to all of its processes: what it has set up stays.
    pub fn kill(self) {
        self.process.kill_group();
    }
}
