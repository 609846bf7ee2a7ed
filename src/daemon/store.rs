//! What the service manager keeps over a restart: descriptors of the steering program, by which it stays on the interface and
//! drops VIP packets until the next process takes it over. Only the service manager knows whether there will be one. Where
//! there is none it closes them, and with the last of them the kernel takes the program off (sd_notify(3), `FDSTORE=1`).
#![allow(unsafe_code, reason = "a process is told the numbers of descriptors that it was started with")]

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;

use super::notify;
use crate::config::InterfaceConfig;
use crate::steer::{self, Gate, SteerError};

/// How many descriptors the service manager keeps, where it keeps any.
const ROOM: &str = "FDSTORE";
const MANAGER: &str = "NOTIFY_SOCKET";
/// The descriptors' names, with a colon between them.
const NAMES: &str = "LISTEN_FDNAMES";

/// Leaves the gate to the service manager, to keep it or to take it off; without one that keeps descriptors, takes it off.
pub fn leave(gate: Gate, interface: &str) -> Result<(), SteerError> {
    match give(&gate, interface) {
        Ok(true) => {
            tracing::info!("the service manager has the steering program, and keeps it if this is a restart");
            gate.unpin()
        }
        Ok(false) => gate.detach(),
        Err(error) => {
            tracing::warn!(
                "the service manager cannot be given the steering program to keep it over a restart: {error}"
            );
            gate.detach()
        }
    }
}

/// Gives it all or nothing; answers whether it did.
fn give(gate: &Gate, interface: &str) -> io::Result<bool> {
    let room = env::var(ROOM).ok().and_then(|room| room.parse::<usize>().ok()).unwrap_or(0);
    let Some(manager) = env::var_os(MANAGER).filter(|_| room > 0) else { return Ok(false) };
    let all = gate.kept().map_err(io::Error::other)?;
    if all.len() > room {
        return Err(io::Error::other(format!("it keeps {room} descriptors, and there are {}", all.len())));
    }
    let socket = UnixDatagram::unbound()?;
    socket.connect(manager)?;
    for (name, object) in &all {
        // A map looks as if it had failed to whoever polls it, and failed descriptors are not kept.
        let words = format!("FDSTORE=1\nFDNAME={}\nFDPOLL=0", name_of(interface, name));
        send(&socket, &words, object.as_fd())?;
    }
    Ok(!all.is_empty())
}

fn send(socket: &UnixDatagram, words: &str, object: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let objects = [object];
    control.push(SendAncillaryMessage::ScmRights(&objects));
    sendmsg(socket, &[IoSlice::new(words.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// `gate/eth0/link`
fn name_of(interface: &str, pin: &str) -> String {
    format!("gate/{interface}/{pin}")
}

/// What the service manager has kept for this process, each with its name. Dropped, it is still kept there.
#[derive(Default)]
pub struct Kept(Vec<(String, OwnedFd)>);

/// Takes what this process was started with; no program that it starts itself gets any of it. A second time there is nothing.
/// What is no object of BPF is left alone, as nothing else is ever kept: those numbers are of something else.
///
/// # Safety
/// This process has opened no BPF object yet. So one at a number that it is told is one that it was started with, and of which
/// nobody else here knows.
pub unsafe fn received() -> Kept {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Kept::default();
    }
    let descriptors = match sd_notify::listen_fds() {
        Ok(descriptors) => descriptors,
        Err(error) => {
            tracing::warn!("what the service manager has kept cannot be had: {error}");
            return Kept::default();
        }
    };
    let names = env::var(NAMES).unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let own = |descriptor| {
        let name = names.next().unwrap_or_default();
        if !is_bpf(descriptor) {
            tracing::warn!(
                "{name:?}, descriptor {descriptor}, is said to be kept for this process, and is no BPF object"
            );
            return None;
        }
        // SAFETY: it is open, as listen_fds and `is_bpf` have seen. By the caller's word it was there from the start, so nobody
        // else here has it; and it is taken once, which `IS_TAKEN` sees to.
        Some((name, unsafe { OwnedFd::from_raw_fd(descriptor) }))
    };
    Kept(descriptors.filter_map(own).collect())
}

/// Whether an open descriptor is of a program, a map or a link, by what the kernel calls it.
fn is_bpf(descriptor: RawFd) -> bool {
    let called = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap_or_default();
    called.to_str().and_then(|called| called.strip_prefix("anon_inode:")).is_some_and(|kind| kind.starts_with("bpf"))
}

impl Kept {
    /// Pins again what belongs to this interface, to be taken over like what a crash has left, and lets go of the rest: what
    /// another config has left on another interface.
    pub fn take_back(self, interface: &InterfaceConfig) -> TakenBack<'_> {
        let mut taken = TakenBack { interface, names: Vec::new(), is_pinned: false };
        for (name, object) in self.0 {
            match pin_again(&name, &object, interface) {
                Ok(is_new) => taken.is_pinned |= is_new,
                Err(reason) => {
                    tracing::warn!("{name}, which the service manager has kept, is let go: {reason}");
                    steer::let_go(object);
                }
            }
            taken.names.push(name);
        }
        taken
    }
}

/// What was taken back, and is kept by the service manager as well until it is known how the start ends.
pub struct TakenBack<'a> {
    interface: &'a InterfaceConfig,
    names: Vec<String>,
    /// Whether any of it was pinned again.
    is_pinned: bool,
}

impl TakenBack<'_> {
    /// The daemon has started: the service manager keeps none of it any more.
    pub fn settle(self) {
        for name in self.names {
            notify(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&format!("FDNAME={name}"))]);
        }
    }

    /// It has not: the service manager alone keeps what was pinned again, and decides on it as before.
    pub fn give_back(self) {
        if self.is_pinned {
            let interface = self.interface;
            steer::unpin(&interface.pin, &interface.name).unwrap_or_else(|error| tracing::error!("{error}"));
        }
    }
}

fn pin_again(name: &str, object: &OwnedFd, interface: &InterfaceConfig) -> Result<bool, String> {
    let pin =
        name.strip_prefix(&name_of(&interface.name, "")).ok_or(format!("it is nothing of {}'s", interface.name))?;
    steer::pin_again(&interface.pin, &interface.name, pin, object.as_fd()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_bpf_objects_are_taken_for_what_was_kept() {
        let file = std::fs::File::open("/dev/null").expect("it is there");
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("an event");
        let (one, other) = UnixDatagram::pair().expect("a pair");
        for descriptor in [file.as_raw_fd(), event.as_raw_fd(), one.as_raw_fd(), other.as_raw_fd(), 1 << 20, -1] {
            assert!(!is_bpf(descriptor), "{descriptor}");
        }
    }
}
