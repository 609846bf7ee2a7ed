//! One directory for state, one daemon: the kernel's lock on the directory (flock(2)), held for as long as the daemon lives.
//! The lock is on the directory itself, so that a full or read-only disk has it too, and no file has to be kept for it. It
//! belongs to the open descriptor: an upgrade hands that on, and what becomes of the older process then does not matter.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::sealed_file::{make_directory, read_file};

/// What says who holds the lock. Nobody decides anything by it.
const NOTE: &str = "daemon.json";
/// How long a process that was killed may take to let go.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Another daemon has the directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "node.state_dir: another pointsman keeps its state in {directory}{}: stop it, or give each a directory of its own",
    said(holder.as_ref())
)]
pub struct StateTaken {
    directory: String,
    holder: Option<Holder>,
}

/// Who has a directory, as that daemon has noted there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    process: u32,
    node: String,
}

fn said(holder: Option<&Holder>) -> String {
    holder.map(|Holder { process, node }| format!(" (process {process}, node \"{node}\")")).unwrap_or_default()
}

/// The lock on a directory, or the wish for it: where the directory cannot be made yet, there is nothing to share yet.
#[derive(Clone, Debug)]
pub struct StateLock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    node: String,
    held: OnceLock<OwnedFd>,
    /// The note is this process's, who has not got the lock from another.
    is_noted: OnceLock<()>,
}

/// Who has let go leaves nothing behind.
impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_noted.get().is_some() {
            _ = fs::remove_file(self.directory.join(NOTE));
        }
    }
}

impl StateLock {
    fn new(directory: &Path, node: &str) -> Self {
        Self(Arc::new(Inner {
            directory: directory.to_owned(),
            node: node.to_owned(),
            held: OnceLock::new(),
            is_noted: OnceLock::new(),
        }))
    }

    /// Locks a directory for the node of this name. Where it can be neither made nor locked, that is logged, and tried again
    /// before anything is [written](Self::ensure).
    ///
    /// # Errors
    /// Another daemon has it.
    pub fn take(directory: &Path, node: &str) -> Result<Self, StateTaken> {
        let (lock, end) = (Self::new(directory, node), Instant::now() + PATIENCE);
        loop {
            match lock.try_to_take() {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => sleep(PAUSE),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(lock.taken()),
                Err(error) => {
                    tracing::warn!("node.state_dir: {} cannot be locked yet: {error}", directory.display());
                    break;
                }
            }
        }
        Ok(lock)
    }

    /// The lock that another process has handed on.
    pub fn inherit(directory: &Path, node: &str, held: OwnedFd) -> Self {
        let lock = Self::new(directory, node);
        _ = lock.0.held.set(held);
        lock
    }

    /// Takes the lock where it could not be had before. It costs nothing where it is held.
    ///
    /// # Errors
    /// It cannot be had, for the reason that is said.
    pub fn ensure(&self) -> io::Result<()> {
        if self.0.held.get().is_some() {
            return Ok(());
        }
        match self.try_to_take() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::other(self.taken())),
            // A file system that knows no locks keeps what is written all the same.
            Err(error) if is_unknown(&error) => Ok(()),
            other => other,
        }
    }

    fn try_to_take(&self) -> io::Result<()> {
        let directory = &self.0.directory;
        make_directory(directory)?;
        let file = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        _ = self.0.held.set(file);
        self.note();
        _ = self.0.is_noted.set(());
        Ok(())
    }

    /// Writes down who holds the lock. Where that cannot be, nobody can say it, and the lock holds all the same.
    pub fn note(&self) {
        let holder = Holder { process: std::process::id(), node: self.0.node.clone() };
        let path = self.0.directory.join(NOTE);
        // First, so that no older note stays.
        _ = fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let written = file.and_then(|mut file: File| file.write_all(&serde_json::to_vec(&holder)?));
        if let Err(error) = written {
            tracing::debug!("who holds {} is not written there: {error}", self.0.directory.display());
        }
    }

    fn taken(&self) -> StateTaken {
        let note = read_file(&self.0.directory.join(NOTE)).ok();
        let holder = note.and_then(|note| serde_json::from_slice(&note).ok());
        StateTaken { directory: self.0.directory.display().to_string(), holder }
    }

    /// What holds the lock, to be handed on to another process.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.held.get().map(AsFd::as_fd)
    }
}

fn is_unknown(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::BADF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_the_next_is_told_who() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("made/when/needed");
        let first = StateLock::take(&state, "edge-1").expect("nobody has it");
        let taken = StateLock::take(&state, "edge-2").expect_err("it is held").to_string();
        let who = format!("(process {}, node \"edge-1\")", std::process::id());
        assert!(taken.contains(&who) && taken.contains(&*state.display().to_string()), "{taken}");
        // What stands there cannot be believed always, and need not.
        for nonsense in ["", "{}", "no JSON"] {
            fs::write(state.join(NOTE), nonsense).expect("written");
            let taken = StateLock::take(&state, "edge-2").expect_err("it is held").to_string();
            assert!(taken.contains("another pointsman") && !taken.contains("process"), "{taken}");
        }
        // Whoever has the descriptor has the lock: a successor goes on with it when its predecessor is gone.
        let handed = first.descriptor().expect("held").try_clone_to_owned().expect("a descriptor");
        let second = StateLock::inherit(&state, "edge-1", handed);
        drop(first);
        assert!(StateLock::take(&state, "edge-2").is_err());
        drop(second);
        StateLock::take(&state, "edge-2").expect("nobody has it any more");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_locked_before_it_is_written_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("state");
        fs::write(&state, "in the way").expect("written");
        let [first, second] = ["a", "b"].map(|node| StateLock::take(&state, node).expect("there is nothing to share"));
        assert!(first.ensure().is_err() && first.descriptor().is_none());
        fs::remove_file(&state).expect("there");
        first.ensure().expect("made");
        assert!(second.ensure().expect_err("the other was first").to_string().contains("node \"a\""));
        drop(first);
        second.ensure().expect("free");
    }
}
