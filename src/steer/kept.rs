//! The steering program without its pins. The kernel takes it off the interface when nobody has a descriptor of its link
//! any more: whoever is given those of everything pinned can keep it there, and take it off by closing them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::bpf;
use super::error::SteerError;
use super::pins::Pins;

/// The name of a pin, and a descriptor of what is pinned there.
pub type Kept = (String, OwnedFd);

/// Opens everything that is pinned there.
pub(super) fn open_all(pins: &Pins) -> Result<Vec<Kept>, SteerError> {
    let open = |name: String| bpf::open_pinned(&pins.path(&name)).map(|object| (name, object));
    let all = pins.names().and_then(|names| names.into_iter().map(open).collect());
    all.map_err(SteerError::while_doing("open what is pinned"))
}

/// Pins under `pin` again what was kept for this interface, for [`Steering::open`](super::Steering::open) to take it over;
/// where there is such a pin, that one counts. Answers whether there was none.
///
/// # Errors
/// `object` is none that can be pinned, or `pin` is not on a bpffs.
pub fn pin_again(pin: &Path, interface: &str, name: &str, object: BorrowedFd<'_>) -> Result<bool, SteerError> {
    let pins = Pins::of(pin, interface);
    pins.make()?;
    match bpf::pin(object, &pins.path(name)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true).map_err(SteerError::while_doing("pin it again")),
    }
}

/// Takes away all pins of this interface; what was pinned stays for as long as anybody has descriptors of it.
pub fn unpin(pin: &Path, interface: &str) -> Result<(), SteerError> {
    Pins::of(pin, interface).remove()
}

/// Takes a program off its interface at once, whoever else still holds the link, if it is one.
pub fn let_go(object: OwnedFd) {
    // What is no link is closed, and so is one whose interface is gone.
    _ = bpf::detach_link(object.as_fd());
}
