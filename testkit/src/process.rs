//! Child processes that end with the test, and whose words are shown when it fails.

use std::fs::{self, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tempfile::NamedTempFile;

use crate::wait_until;

/// A running command, killed with the processes it started when dropped.
pub struct Process {
    child: Child,
    log: NamedTempFile,
    shown: String,
}

impl Process {
    /// Starts a command in a process group of its own; both its outputs go to a file.
    pub fn start(mut command: Command) -> Self {
        let log = NamedTempFile::new().expect("a temporary file can be made");
        let shown = format!("{command:?}");
        // Appending keeps the two outputs from overwriting each other.
        let output = OpenOptions::new().append(true).open(log.path()).expect("the file was just made");
        let errors = output.try_clone().expect("a file descriptor can be duplicated");
        let child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        Self { child, log, shown }
    }

    /// Where the machine has this program (`command -v`).
    pub fn find(program: &str) -> Option<PathBuf> {
        let output = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().into())
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log.path()).unwrap_or_default()).into_owned()
    }

    /// Its standard input.
    pub fn input(&mut self) -> &mut impl std::io::Write {
        self.child.stdin.as_mut().expect("it was started with a pipe")
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.shown));
    }

    /// SIGKILL to it and to all that it has started, as when the machine dies; waits for its end.
    pub fn kill_group(&self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        self.wait(crate::SOON);
    }

    /// How it ended, where it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        ended(self.pid())
    }

    /// Waits for its end; panics where it does not come within `limit`.
    pub fn wait(&self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait_until(limit, || {
            status = self.ended();
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("{} did not end within {limit:?}", self.shown))
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {}\n{}---", self.shown, self.log());
        }
    }
}

/// How a child of this process, or one of its children's, ended, where it has. It is left to be waited for: until then
/// nobody else gets its number, nor that of its group.
pub fn ended(child: Pid) -> Option<ExitStatus> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = match waitid(WaitId::Pid(child), look) {
        // Its parent has not ended yet, and can still wait for it.
        Err(Errno::CHILD) => None,
        other => other.expect("a process may look at its children"),
    }?;
    let (code, signal) = (status.exit_status().unwrap_or(0), status.terminating_signal().unwrap_or(0));
    Some(ExitStatus::from_raw(code << 8 | signal))
}

/// Runs a command to its end; panics with its words where it fails.
pub fn output_of(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}): {words}", output.status);
    output
}
