//! The test's side of sd_notify: hears `READY=1`, and what comes after it.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::store::Store;
use crate::process::Process;

/// The most descriptors beside a message.
const MOST_DESCRIPTORS: usize = 8;

/// A socket for `NOTIFY_SOCKET`.
pub struct Notify {
    socket: UnixDatagram,
    path: PathBuf,
    store: Store,
}

impl Notify {
    /// A socket in an existing directory. What is to be kept is put into `store`.
    pub fn new(directory: &Path, store: Store) -> Self {
        let path = directory.join("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("the directory is the test's own");
        // Whoever the daemon runs as may tell.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("the directory is the test's own");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("the timeout is not zero");
        Self { socket, path, store }
    }

    /// What the process needs in its environment.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the process has said that it is ready; the reason where it ended before, or said nothing.
    pub fn wait(&self, process: &Process, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(message) = self.hear() {
                if message.lines().any(|line| line == "READY=1") {
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
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let end = UnixDatagram::unbound().expect("a socket can be made");
        end.connect(&self.path).expect("it is bound");
        let heard = Arc::clone(&lines);
        let thread = thread::spawn(move || {
            loop {
                match self.hear() {
                    Some(message) if message.is_empty() => break,
                    Some(message) => heard.lock().expect("no holder panics").extend(message.lines().map(str::to_owned)),
                    None => {}
                }
            }
        });
        Heard { lines, hearing: Some((end, thread)) }
    }

    fn hear(&self) -> Option<String> {
        let mut message = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut message)];
        let length = recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?.bytes;
        let mut descriptors = Vec::new();
        for beside in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = beside {
                descriptors.extend(rights);
            }
        }
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        self.store.hear(&text, descriptors);
        Some(text)
    }
}

/// What a process has said since it was ready.
#[derive(Default)]
pub struct Heard {
    lines: Arc<Mutex<Vec<String>>>,
    /// The thread, and a socket to end it by: an empty message comes after all others.
    hearing: Option<(UnixDatagram, JoinHandle<()>)>,
}

impl Heard {
    /// Line by line.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no holder panics").clone()
    }

    /// Hears all that was said until now, and no more.
    pub fn finish(&mut self) {
        if let Some((end, thread)) = self.hearing.take() {
            end.send(&[]).expect("it hears");
            thread.join().expect("it only hears");
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if let Some((end, _)) = &self.hearing {
            _ = end.send(&[]);
        }
    }
}
