//! The gate: which frames are pointsman's, decided in the kernel.
//!
//! With AF_XDP it is the steering program ([`Steering`]), which hands frames for a VIP to the workers' sockets. With
//! AF_PACKET, whose taps only ever see copies, it is the guard ([`Guard`]), which drops the originals. Either way all
//! other frames are the kernel's, and so are ARP and neighbour discovery for a VIP; and either way the gate outlives
//! the process, so that the kernel does not answer for a VIP when pointsman is dead.

mod attached;
mod bpf;
mod error;
mod guard;
mod kept;
mod owner;
mod pins;
mod queues;
mod standing;
mod vips;
mod xdp;

use std::collections::BTreeSet;
use std::path::Path;

use ipnet::IpNet;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

pub use error::SteerError;
pub use guard::Guard;
pub use kept::{Kept, let_go, pin_again, unpin};
pub use queues::{rx_queues, tx_queues};
pub use standing::Standing;
pub use xdp::{Mode, Steering};

use owner::Occupant;
use pins::Pins;

/// The steering program or the guard, whichever the driver needs.
#[derive(Debug)]
pub enum Gate {
    /// For AF_XDP.
    Xdp(Steering),
    /// For AF_PACKET.
    Tc(Guard),
}

impl Gate {
    /// Makes these the VIPs, and no others. See [`Steering::set_vips`].
    pub fn set_vips(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), SteerError> {
        match self {
            Self::Xdp(steering) => steering.set_vips(vips),
            Self::Tc(guard) => guard.set_vips(vips),
        }
    }

    /// Puts this version's program in the place of another's, without a gap.
    pub fn renew(&mut self) -> Result<(), SteerError> {
        match self {
            Self::Xdp(steering) => steering.renew(),
            Self::Tc(guard) => guard.renew(),
        }
    }

    /// Descriptors by which the gate stands without its pins. None with the guard: its filter is the interface's own,
    /// and no descriptor holds it.
    pub fn kept(&self) -> Result<Vec<Kept>, SteerError> {
        match self {
            Self::Xdp(steering) => steering.kept(),
            Self::Tc(_) => Ok(Vec::new()),
        }
    }

    /// Takes the pins away. The steering program stays for as long as anybody has what [`Gate::kept`] has answered; the
    /// guard goes.
    pub fn unpin(self) -> Result<(), SteerError> {
        match self {
            Self::Xdp(steering) => steering.unpin(),
            Self::Tc(guard) => guard.detach(),
        }
    }

    /// Leaves the interface as if pointsman had never been there.
    pub fn detach(self) -> Result<(), SteerError> {
        match self {
            Self::Xdp(steering) => steering.detach(),
            Self::Tc(guard) => guard.detach(),
        }
    }
}

/// Removes whatever a process that died has left on an interface; fine where nothing is, nor the interface itself. Answers
/// what it has removed, a sentence each.
pub fn cleanup(pin: &Path, interface: &str) -> Result<Vec<String>, SteerError> {
    let mut done = Vec::new();
    let (pins, guard_pins) = (Pins::of(pin, interface), Pins::of_guard(pin, interface));
    if guard::discard(interface, &guard_pins)? {
        done.push(format!("removed the guard of {interface}"));
    }
    if xdp::discard(&pins)? {
        let directory = pins.directory().display();
        done.push(format!("removed the steering program of {interface}, which was pinned in {directory}"));
    }
    Ok(done)
}

/// Removes a steering program that is on the interface by another pin than this config's, or by none, and that no process
/// holds. Answers what it has removed, or whose program is left there; none: there is no program.
///
/// # Errors
/// It is pointsman's, and cannot be removed: a process holds it, or a capability is missing.
pub fn cleanup_stray(interface: &str) -> Result<Option<String>, SteerError> {
    let Ok(index) = interface_index(interface) else { return Ok(None) };
    let Some(occupant) = Occupant::of(interface, index)? else { return Ok(None) };
    if !occupant.is_own() {
        return Ok(Some(format!("{interface} keeps {occupant}, which is not pointsman's")));
    }
    occupant.detach()?;
    Ok(Some(format!("removed from {interface} {occupant}")))
}

/// The interface's number in the network namespace of the calling thread.
fn interface_index(name: &str) -> Result<u32, SteerError> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
    let socket = socket.map_err(SteerError::while_doing("open a socket"))?;
    name_to_index(&socket, name).map_err(|_| SteerError::NoInterface(name.to_owned()))
}
