//! The test's side of sd_notify: hears `READY=1`, and what comes after it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::process::Process;

/// A socket for `NOTIFY_SOCKET`.
pub struct Notify {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notify {
    /// A socket in an existing directory.
    pub fn new(directory: &Path) -> Self {
        let path = directory.join("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("the directory is the test's own");
        // Whoever the daemon runs as may tell.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("the directory is the test's own");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("the timeout is not zero");
        Self { socket, path }
    }

    /// What the process needs in its environment.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the process has said that it is ready; the reason where it ended before, or said nothing.
    pub fn wait(&self, process: &Process, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        let mut message = [0; 4096];
        while Instant::now() < deadline {
            if let Ok(length) = self.socket.recv(&mut message) {
                if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
                    return Ok(());
                }
            } else if let Some(status) = process.ended() {
                return Err(format!("it ended ({status}) before it was ready:\n{}", process.log()));
            }
        }
        Err(format!("it was not ready within {limit:?}:\n{}", process.log()))
    }

    /// Goes on hearing, in a thread, until the answer is dropped.
    pub fn keep_hearing(self) -> Heard {
        let heard = Heard::default();
        let (lines, stop) = (Arc::clone(&heard.lines), Arc::clone(&heard.stop));
        thread::spawn(move || {
            let mut message = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let Ok(length) = self.socket.recv(&mut message) else { continue };
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                lines.lock().expect("no holder panics").extend(text.lines().map(str::to_owned));
            }
        });
        heard
    }
}

/// What a process has said since it was ready.
#[derive(Default)]
pub struct Heard {
    lines: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Heard {
    /// Line by line.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no holder panics").clone()
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
