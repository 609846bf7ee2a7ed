//! BIRD in a namespace: never the system's own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::{Namespace, Process, SOON, skipped_without, wait_until};

/// A running BIRD, killed when dropped.
pub struct Bird {
    process: Process,
    directory: TempDir,
}

impl Bird {
    /// Whether BIRD is there; it says so where it is not.
    pub fn is_missing() -> bool {
        skipped_without("bird", "bird2")
    }

    /// Starts it with the text of a configuration, and waits until it can be asked.
    pub fn start(namespace: &Namespace, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let file = |name: &str| directory.path().join(name).display().to_string();
        fs::write(file("bird.conf"), config).expect("the directory is the test's own");
        let (config, socket, pid) = (file("bird.conf"), file("bird.ctl"), file("bird.pid"));
        let process = namespace.spawn(&["bird", "-f", "-c", &config, "-s", &socket, "-P", &pid]);
        let bird = Self { process, directory };
        let ready = wait_until(SOON, || bird.ask("show status").contains("Daemon is up"));
        assert!(ready, "BIRD does not answer: {}", bird.process.log());
        bird
    }

    /// What birdc prints.
    pub fn ask(&self, question: &str) -> String {
        let output = Command::new("birdc").arg("-s").arg(self.socket()).args(question.split(' ')).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.process.signal(rustix::process::Signal::KILL);
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("bird.ctl")
    }
}
