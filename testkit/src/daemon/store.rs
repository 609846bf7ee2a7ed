//! The test's side of what a service manager keeps for a service from one run to the next, by systemd's rules
//! (sd_notify(3), `FDSTORE=1`).
#![allow(unsafe_code, reason = "no safe call gives a child descriptors of these numbers")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::fcntl_dupfd_cloexec;

/// The number of the first descriptor that a service is passed.
const FIRST: i32 = 3;

/// Descriptors by name. Dropped, with all its clones, it closes them.
#[derive(Clone, Default)]
pub struct Store {
    /// How many it keeps; with none, the daemon is not told of it.
    room: usize,
    kept: Arc<Mutex<Vec<(String, OwnedFd)>>>,
}

impl Store {
    /// One that keeps so many.
    pub fn with_room(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Does what a message asks for.
    pub fn hear(&self, message: &str, descriptors: Vec<OwnedFd>) {
        let says = |line: &str| message.lines().any(|said| said == line);
        let name = message.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
        if says("FDSTOREREMOVE=1") {
            self.kept().retain(|(kept, _)| kept != name);
        } else if says("FDSTORE=1") {
            for descriptor in descriptors.into_iter().filter(|descriptor| says("FDPOLL=0") || !has_failed(descriptor)) {
                self.put(name, descriptor);
            }
        }
    }

    /// Keeps a descriptor, where there is room.
    pub fn put(&self, name: &str, descriptor: OwnedFd) {
        let mut kept = self.kept();
        if kept.len() < self.room {
            kept.push((name.to_owned(), descriptor));
        }
    }

    /// The names of those it keeps, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.kept().iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Takes them out.
    pub fn take(&self) -> Vec<(String, OwnedFd)> {
        std::mem::take(&mut self.kept())
    }

    /// Closes them, as when the service is not to be started again.
    pub fn close(&self) {
        self.kept().clear();
    }

    /// Has a command say what its child, if it becomes the service, needs to know.
    pub fn prepare(&self, command: &mut Command) {
        if self.room > 0 {
            command.env("FDSTORE", self.room.to_string());
        }
        let mut copies = Vec::new();
        for (_, descriptor) in self.kept().iter() {
            // Out of the way of the numbers that the child gets.
            copies.push(fcntl_dupfd_cloexec(descriptor, 100).expect("there is room for descriptors"));
        }
        if copies.is_empty() {
            return;
        }
        let names: Vec<String> = self.kept().iter().map(|(name, _)| name.clone()).collect();
        command.env("LISTEN_FDS", copies.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let pass = move || {
            for (number, copy) in (FIRST..).zip(&copies) {
                // SAFETY: it touches no memory. What the child may have had at that number, it has no use for.
                if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec, dup2 may be called, and an error without words needs no memory.
        unsafe { command.pre_exec(pass) };
    }

    /// A command before the daemon's, which tells it that it is the one who is meant: its number is known only when it runs.
    pub fn wrapper(&self) -> &'static [&'static str] {
        if self.kept().is_empty() { &[] } else { &["sh", "-c", "export LISTEN_PID=$$; exec \"$@\"", "sh"] }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(String, OwnedFd)>> {
        self.kept.lock().expect("no holder panics")
    }
}

/// Whether whoever polls it sees an error, or its end.
fn has_failed(descriptor: &OwnedFd) -> bool {
    let mut looked = [PollFd::new(descriptor, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut looked, Some(&at_once)).is_ok() && looked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}
