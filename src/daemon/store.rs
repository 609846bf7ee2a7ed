//! What the service manager keeps over a restart: descriptors of the steering program, by which it stays on the interface and
//! drops VIP packets until the next process takes it over. Only the service manager knows whether there will be one. Where
//! there is none it closes them, and with the last of them the kernel takes the program off (sd_notify(3), `FDSTORE=1`).
#![allow(unsafe_code, reason = "a process is told the numbers of descriptors that it was started with")]

use std::collections::BTreeSet;
use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
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
pub fn received() -> Kept {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Kept::default();
    }
    // First, as listen_fds makes them look like those that this process has opened.
    let inherited = inherited();
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
        if !inherited.contains(&descriptor) {
            tracing::warn!(
                "descriptor {descriptor} is said to be {name:?} of the service manager's, and is this process's own"
            );
            return None;
        }
        // SAFETY: it is open, and was when this process was started, so nobody else here has it; and it is taken once, which
        // `IS_TAKEN` sees to.
        Some((name, unsafe { OwnedFd::from_raw_fd(descriptor) }))
    };
    Kept(descriptors.filter_map(own).collect())
}

/// The descriptors that this process was started with, but for its standard input and outputs: they outlasted the start of a
/// program, which none does that this process has opened itself.
fn inherited() -> BTreeSet<RawFd> {
    let all = std::fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number > 2 && outlasts_a_start(*number)).collect()
}

fn outlasts_a_start(descriptor: RawFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| !OFlags::from_bits_retain(flags).contains(OFlags::CLOEXEC))
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

    use rustix::io::{FdFlags, fcntl_setfd};

    use super::*;

    #[test]
    fn what_this_process_has_opened_is_not_taken_for_what_was_kept() {
        let file = std::fs::File::open("/dev/null").expect("it is there");
        let (one, other) = UnixDatagram::pair().expect("a pair");
        let own = [file.as_raw_fd(), one.as_raw_fd(), other.as_raw_fd(), 1 << 20, -1];
        assert!(!own.iter().any(|descriptor| inherited().contains(descriptor)), "{own:?} {:?}", inherited());
        // As one is that a process is started with.
        fcntl_setfd(&file, FdFlags::empty()).expect("it is open");
        assert!(inherited().contains(&file.as_raw_fd()));
    }
}
