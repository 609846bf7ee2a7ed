//! The steering program on an interface, by a link that outlives the process.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::{MapData, MapError, XskMap};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode as Hook};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use ipnet::IpNet;

use super::error::{SteerError, errno};
use super::kept::{self, Kept};
use super::owner::Occupant;
use super::pins::Pins;
use super::vips::VipMaps;
use super::{attached, bpf, guard, interface_index};
use crate::config::XdpMode;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));

/// The program's name, which has just the length that the kernel keeps of one.
pub(super) const PROGRAM: &str = "pointsman_steer";
/// The name of the link's pin.
pub(super) const LINK: &str = "link";

/// Where the steering program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's common receive path.
    Generic,
}

impl Mode {
    fn is_as_asked(self, asked: XdpMode) -> bool {
        match asked {
            XdpMode::Auto => true,
            XdpMode::Native => self == Self::Native,
            XdpMode::Generic => self == Self::Generic,
        }
    }

    /// What `ip link` calls it.
    pub(super) fn of_ip(self) -> &'static str {
        match self {
            Self::Native => "xdpdrv",
            Self::Generic => "xdpgeneric",
        }
    }

    fn hook(self) -> Hook {
        match self {
            Self::Native => Hook::Driver,
            Self::Generic => Hook::Skb,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// The attached steering program.
///
/// Dropped, it stays attached, with its VIPs: their packets are dropped until another process opens it again. Only
/// [`Steering::detach`] and [`cleanup`](super::cleanup) remove it, and [`Steering::unpin`] where nobody keeps it.
pub struct Steering {
    vips: VipMaps,
    sockets: XskMap<MapData>,
    link: OwnedFd,
    mode: Mode,
    pins: Pins,
}

impl Steering {
    /// Takes over what an earlier run left on this interface, with its VIPs and without a gap, or else attaches anew,
    /// with no VIPs. Everything is pinned under `pin`, in a directory named after the interface.
    ///
    /// What an earlier run left is removed first where it is on another interface of that name, runs in another mode
    /// than asked, or is of another kind than the steering program.
    ///
    /// # Errors
    /// No such interface, `pin` is not on a bpffs, a capability is missing, another XDP program is there, or the
    /// driver cannot and `asked` is native.
    pub fn open(interface: &str, asked: XdpMode, pin: &Path) -> Result<Self, SteerError> {
        let index = interface_index(interface)?;
        let pins = Pins::of(pin, interface);
        guard::discard(interface, &Pins::of_guard(pin, interface))?;
        pins.make()?;
        // A program that cannot be taken over (its maps may be those of another version) must not keep this from
        // starting.
        if let Some((link, mode)) = standing(&pins, index, asked)?
            && let Ok(steering) = take_over(&pins, link, mode)
        {
            return Ok(steering);
        }
        discard(&pins)?;
        pins.make()?;
        attach(interface, index, asked, &pins).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = discard(&pins);
        })
    }

    /// Opens what another process has attached to this interface, and lets it be as it is.
    ///
    /// # Errors
    /// It is not there, or its maps are none that this version can use.
    pub fn inherit(interface: &str, asked: XdpMode, pin: &Path) -> Result<Self, SteerError> {
        let pins = Pins::of(pin, interface);
        let standing = standing(&pins, interface_index(interface)?, asked)?;
        let (_, mode) = standing.ok_or(SteerError::Unexpected("the pinned steering program"))?;
        finish(load(&pins)?, &pins, mode)
    }

    /// Puts this version's program in the place of the one that runs, without a gap.
    pub fn renew(&mut self) -> Result<(), SteerError> {
        let link = PinnedLink::from_pin(self.pins.path(LINK));
        let link = link.map_err(SteerError::while_doing("open the pinned steering program"))?;
        *self = take_over(&self.pins, link.into(), self.mode)?;
        Ok(())
    }

    /// Where the program runs.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// From now on, frames for these VIPs and no others are the workers'.
    ///
    /// # Errors
    /// More VIPs than the maps hold; then some of the new ones may have been added, and none of the old removed.
    pub fn set_vips(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), SteerError> {
        self.vips.set(vips)
    }

    /// Hands the frames of this queue to an AF_XDP socket, until it is closed.
    ///
    /// # Errors
    /// The queue is beyond the 256th, or `socket` is not a bound AF_XDP socket.
    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), SteerError> {
        use std::os::fd::AsRawFd;
        self.sockets.set(queue, socket.as_raw_fd(), 0).map_err(|error| match error {
            MapError::OutOfBounds { .. } => SteerError::TooManyQueues(queue),
            error => SteerError::while_doing("hand the socket to the steering program")(error),
        })
    }

    /// Descriptors by which the program stays, with its VIPs, where its pins are taken away.
    pub fn kept(&self) -> Result<Vec<Kept>, SteerError> {
        kept::open_all(&self.pins)
    }

    /// Takes the pins away; the program stays for as long as anybody has what [`Steering::kept`] has answered.
    pub fn unpin(self) -> Result<(), SteerError> {
        self.pins.remove()
    }

    /// Takes the program off the interface, and its pins away.
    pub fn detach(self) -> Result<(), SteerError> {
        bpf::detach_link(self.link.as_fd()).map_err(SteerError::while_doing("detach the steering program"))?;
        self.pins.remove()
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // aya's map of sockets shows nothing.
        formatter.debug_struct("Steering").field("mode", &self.mode).field("pins", &self.pins).finish_non_exhaustive()
    }
}

/// Removes what is left of a steering program, and answers whether anything was; fine where nothing is.
pub(super) fn discard(pins: &Pins) -> Result<bool, SteerError> {
    let was_there = pins.directory().exists();
    match bpf::open_pinned(&pins.path(LINK)) {
        Ok(link) => match bpf::detach_link(link.as_fd()) {
            // It is no link.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => other.map_err(SteerError::while_doing("detach the steering program"))?,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(SteerError::while_doing("open the pinned steering program")(error)),
    }
    pins.remove().map(|()| was_there)
}

/// The pinned link of an earlier run, if its program runs on this very interface as asked.
fn standing(pins: &Pins, index: u32, asked: XdpMode) -> Result<Option<(FdLink, Mode)>, SteerError> {
    let Ok(link) = PinnedLink::from_pin(pins.path(LINK)) else { return Ok(None) };
    let link = FdLink::from(link);
    let Ok(info) = link.info() else { return Ok(None) };
    let mode = attached::mode_of(index, info.program_id())?;
    Ok(mode.filter(|mode| mode.is_as_asked(asked)).map(|mode| (link, mode)))
}

fn take_over(pins: &Pins, link: FdLink, mode: Mode) -> Result<Steering, SteerError> {
    let doing = "take over the steering program of an earlier run";
    let mut object = load(pins)?;
    let program = program(&mut object)?;
    let link = XdpLink::try_from(link).map_err(SteerError::while_doing(doing))?;
    let id = program.attach_to_link(link).map_err(SteerError::while_doing(doing))?;
    // Out of the program, or it would go with it; the pin keeps the link.
    drop(program.take_link(id).map_err(SteerError::while_doing(doing))?);
    finish(object, pins, mode)
}

fn attach(interface: &str, index: u32, asked: XdpMode, pins: &Pins) -> Result<Steering, SteerError> {
    let doing = "pin the steering program";
    let mut object = load(pins)?;
    let program = program(&mut object)?;
    let (link, mode) = match asked {
        XdpMode::Generic => attach_as(program, interface, index, Mode::Generic)?,
        XdpMode::Native => attach_as(program, interface, index, Mode::Native)?,
        XdpMode::Auto => match attach_as(program, interface, index, Mode::Native) {
            Err(SteerError::NoNative { .. }) => attach_as(program, interface, index, Mode::Generic)?,
            other => other?,
        },
    };
    let link = FdLink::try_from(link).map_err(SteerError::while_doing(doing))?;
    link.pin(pins.path(LINK)).map_err(SteerError::while_doing(doing))?;
    finish(object, pins, mode)
}

fn attach_as(program: &mut Xdp, interface: &str, index: u32, mode: Mode) -> Result<(XdpLink, Mode), SteerError> {
    let link = program.attach_to_if_index(index, mode.hook()).and_then(|id| program.take_link(id));
    link.map(|link| (link, mode)).map_err(|error| why_not_attached(error, (interface, index), mode))
}

fn why_not_attached(error: ProgramError, (interface, index): (&str, u32), mode: Mode) -> SteerError {
    if matches!(errno(&error), Some(libc::EBUSY | libc::EEXIST))
        && let Ok(Some(occupant)) = Occupant::of(interface, index)
    {
        return occupant.refusal();
    }
    let interface = interface.to_owned();
    match errno(&error) {
        Some(libc::ENODEV) => SteerError::NoInterface(interface),
        Some(number @ (libc::EOPNOTSUPP | libc::EINVAL | libc::ERANGE)) if mode == Mode::Native => {
            SteerError::NoNative { interface, cause: io::Error::from_raw_os_error(number) }
        }
        _ => SteerError::while_doing("attach the steering program")(error),
    }
}

/// Loads the program with the maps pinned there, which are made and pinned where they are missing.
fn load(pins: &Pins) -> Result<Ebpf, SteerError> {
    let doing = "load the steering program";
    let object = EbpfLoader::new().default_map_pin_directory(pins.directory()).load(OBJECT);
    let mut object = object.map_err(SteerError::while_doing(doing))?;
    program(&mut object)?.load().map_err(SteerError::while_doing(doing))?;
    Ok(object)
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp, SteerError> {
    let program = object.program_mut(PROGRAM).and_then(|program| program.try_into().ok());
    program.ok_or(SteerError::Unexpected("program pointsman_steer"))
}

fn finish(mut object: Ebpf, pins: &Pins, mode: Mode) -> Result<Steering, SteerError> {
    let sockets = object.take_map("xsks").and_then(|map| XskMap::try_from(map).ok());
    let sockets = sockets.ok_or(SteerError::Unexpected("map xsks"))?;
    let link = bpf::open_pinned(&pins.path(LINK)).map_err(SteerError::while_doing("open the pinned link"))?;
    Ok(Steering { vips: VipMaps::take(&mut object)?, sockets, link, mode, pins: pins.clone() })
}
