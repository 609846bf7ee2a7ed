//! The capabilities of the daemon's threads: what is needed, and when what is given up. Workers, which read what anybody
//! sends, have none.

use std::fmt;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What the daemon cannot do without, by name, and what each is needed for.
const NEEDED: [(CapabilitySet, &str, &str); 3] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "attach the steering program, resolve neighbours and announce VIPs"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW", "open AF_XDP, AF_PACKET and ICMP sockets"),
    (CapabilitySet::BPF, "CAP_BPF", "load the steering program and its maps"),
];

/// What the control thread uses all the time, for neighbours and VIP routes.
const IN_USE: CapabilitySet = CapabilitySet::NET_ADMIN;

/// Packet memory is locked. Where the limit on that cannot be taken away, root passes over it.
const FOR_LIMITED: CapabilitySet = CapabilitySet::IPC_LOCK;

/// Some capabilities are missing.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing(CapabilitySet);

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, name, purpose) in NEEDED.iter().filter(|(capability, ..)| self.0.contains(*capability)) {
            write!(formatter, "the capability {name} is missing, which is needed to {purpose}; ")?;
        }
        formatter.write_str("start pointsman by its systemd unit or as root")
    }
}

impl std::error::Error for Missing {}

fn needed() -> CapabilitySet {
    NEEDED.iter().fold(CapabilitySet::empty(), |all, (capability, ..)| all | *capability)
}

/// Whether this thread has all that is needed.
pub fn check() -> Result<(), Missing> {
    // Where the kernel does not say, it will say so when something is refused.
    let has = capabilities(None).map_or(CapabilitySet::all(), |sets| sets.effective);
    let missing = needed() - has;
    if missing.is_empty() { Ok(()) } else { Err(Missing(missing)) }
}

/// To be called before there are threads: from now on nothing that this process may run gets more than it has itself, and
/// what is not needed cannot be got back.
pub fn close_off() -> io::Result<()> {
    set_no_new_privs(true)?;
    let last = CapabilitySet::CHECKPOINT_RESTORE.bits().trailing_zeros();
    for capability in (0..=last).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        if (needed() | FOR_LIMITED).contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // A service manager, which may, has done it already.
            Err(Errno::PERM) => break,
            // An older kernel does not know it.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives up, on the control thread, all that is not needed. What opening the interface anew takes it keeps, but cannot use
/// but [for that](raised); and it may hand it on to the process that is to succeed this one.
pub fn give_up_surplus() -> io::Result<()> {
    let CapabilitySets { permitted, inheritable, .. } = capabilities(None)?;
    let is_limited = getrlimit(Resource::Memlock).current.is_some();
    let kept = if is_limited { needed() | FOR_LIMITED } else { needed() };
    let (permitted, inheritable) = (permitted & kept, inheritable & kept);
    Ok(set_capabilities(None, CapabilitySets { effective: permitted & IN_USE, permitted, inheritable })?)
}

/// Gives up all, on the calling thread.
pub fn give_up_all() -> io::Result<()> {
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

/// Does some work with all that was kept.
pub fn raised<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: sets.permitted, ..sets })?;
    let result = work();
    set_capabilities(None, sets)?;
    Ok(result)
}

/// Starts another program with all that was kept: one of a user who is not root has by itself only what is ambient.
pub fn handed_on<T>(start: impl FnOnce() -> T) -> io::Result<T> {
    let sets = capabilities(None)?;
    let kept = sets.permitted & (needed() | FOR_LIMITED);
    set_capabilities(None, CapabilitySets { effective: sets.permitted, inheritable: kept, ..sets })?;
    for capability in kept.iter() {
        // Where it cannot be had, the other program says what it misses.
        _ = configure_capability_in_ambient_set(capability, true);
    }
    let result = start();
    set_capabilities(None, sets)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_said_at_once() {
        let said = Missing(CapabilitySet::NET_RAW | CapabilitySet::BPF).to_string();
        assert_eq!(
            said,
            "the capability CAP_NET_RAW is missing, which is needed to open AF_XDP, AF_PACKET and ICMP sockets; \
             the capability CAP_BPF is missing, which is needed to load the steering program and its maps; \
             start pointsman by its systemd unit or as root"
        );
    }
}
