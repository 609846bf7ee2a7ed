//! What stands on an interface before a start, to take away what a start that fails has added to it.

use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};

use super::error::SteerError;
use super::pins::Pins;
use super::{guard, xdp};

/// What an earlier run has left on an interface, or nothing.
#[derive(Debug)]
pub struct Standing {
    pin: PathBuf,
    interface: String,
    /// The kernel's number of the steering program's link.
    link: Option<u32>,
    has_guard: bool,
    /// The directories for pins that were not there, the innermost last.
    missing: Vec<PathBuf>,
}

impl Standing {
    /// Looks, and changes nothing.
    pub fn look(pin: &Path, interface: &str) -> Self {
        let pins = Pins::of(pin, interface);
        let has_guard = Pins::of_guard(pin, interface).directory().exists();
        let above = pins.directory().ancestors();
        let mut missing: Vec<PathBuf> = above.take_while(|path| !path.exists()).map(Path::to_owned).collect();
        missing.reverse();
        Self { pin: pin.to_owned(), interface: interface.to_owned(), link: link_id(&pins), has_guard, missing }
    }

    /// Takes away what has been added since: a program that was there before goes on dropping the VIPs' packets.
    ///
    /// # Errors
    /// Something cannot be removed; what could be is.
    pub fn restore(self) -> Result<(), SteerError> {
        let (pins, guard_pins) = (Pins::of(&self.pin, &self.interface), Pins::of_guard(&self.pin, &self.interface));
        let guard = if self.has_guard { Ok(false) } else { guard::discard(&self.interface, &guard_pins) };
        let is_same = self.link.is_some() && link_id(&pins) == self.link;
        let steering = if is_same { Ok(false) } else { xdp::discard(&pins) };
        for directory in self.missing.iter().rev() {
            // One that somebody else has put something into meanwhile stays.
            _ = std::fs::remove_dir(directory);
        }
        guard.and(steering).map(drop)
    }
}

fn link_id(pins: &Pins) -> Option<u32> {
    let link = PinnedLink::from_pin(pins.path(xdp::LINK)).ok()?;
    Some(FdLink::from(link).info().ok()?.id())
}
