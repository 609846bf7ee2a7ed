//! The guard on an interface, by a tc filter that outlives the process.
//!
//! A filter set by netlink belongs to the interface, not to a process; no pin is needed for it, only for its maps. It
//! is known by its priority, handle and name, and replaced in place by the next run. (The tcx links of newer kernels
//! could be pinned, but Linux 6.1 has none.)

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use ipnet::IpNet;

use super::error::{SteerError, errno};
use super::pins::Pins;
use super::vips::VipMaps;
use super::{interface_index, xdp};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guard.bpf.o"));

/// The program, and the name of the filter.
const PROGRAM: &str = "pointsman_guard";
/// Before filters that got their priority from the kernel, with room for an operator's own before it.
const PRIORITY: u16 = 10;
/// "pm": at a priority that others may use too.
const HANDLE: TcHandle = TcHandle::new(0, 0x706d);
const WHERE: TcAttachType = TcAttachType::Ingress;

/// The attached guard.
///
/// Dropped, it stays attached, with its VIPs, and keeps their packets from the kernel. Only [`Guard::detach`] and
/// [`cleanup`](super::cleanup) remove it.
#[derive(Debug)]
pub struct Guard {
    vips: VipMaps,
    interface: String,
    pins: Pins,
}

impl Guard {
    /// Takes over what an earlier run left on this interface, with its VIPs and without a gap, or else attaches anew,
    /// with no VIPs. Its maps are pinned under `pin`, in `guard/` of a directory named after the interface. A steering
    /// program that is left there is removed, since no tap would see what it drops.
    ///
    /// The interface's clsact qdisc, added where there is none, stays for good: others may have come to use it.
    ///
    /// # Errors
    /// No such interface, `pin` is not on a bpffs, a capability is missing, or another filter is in the guard's place.
    pub fn open(interface: &str, pin: &Path) -> Result<Self, SteerError> {
        interface_index(interface)?;
        let pins = Pins::of_guard(pin, interface);
        pins.make()?;
        xdp::discard(&Pins::of(pin, interface))?;
        if let Ok(guard) = take_over(interface, &pins) {
            return Ok(guard);
        }
        discard(interface, &pins)?;
        pins.make()?;
        attach(interface, &pins).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = discard(interface, &pins);
        })
    }

    /// Opens what another process has attached to this interface, and lets it be as it is.
    ///
    /// # Errors
    /// Its maps are none that this version can use.
    pub fn inherit(interface: &str, pin: &Path) -> Result<Self, SteerError> {
        let pins = Pins::of_guard(pin, interface);
        finish(load(&pins)?, interface, &pins)
    }

    /// Puts this version's program in the place of the one that runs, without a gap.
    pub fn renew(&mut self) -> Result<(), SteerError> {
        *self = take_over(&self.interface, &self.pins)?;
        Ok(())
    }

    /// From now on, frames for these VIPs and no others are kept from the kernel.
    ///
    /// # Errors
    /// More VIPs than the maps hold; then some of the new ones may have been added, and none of the old removed.
    pub fn set_vips(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), SteerError> {
        self.vips.set(vips)
    }

    /// Takes the guard off the interface, and its pins away.
    pub fn detach(self) -> Result<(), SteerError> {
        discard(&self.interface, &self.pins).map(drop)
    }
}

/// Removes what is left of a guard, and answers whether there was one; fine where nothing is.
pub(super) fn discard(interface: &str, pins: &Pins) -> Result<bool, SteerError> {
    let was_there = match tc::qdisc_detach_program(interface, WHERE, PROGRAM) {
        Ok(()) => true,
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => false,
        // The interface is gone, or has no clsact qdisc: no filter either.
        Err(error) if matches!(errno(&error), Some(libc::ENODEV | libc::ENXIO | libc::EINVAL | libc::ENOENT)) => false,
        Err(error) => return Err(SteerError::while_doing("detach the guard")(error)),
    };
    let had_pins = pins.directory().exists();
    pins.remove_with_parent()?;
    Ok(was_there || had_pins)
}

/// Puts a new program, on the pinned maps, into the filter of an earlier run; fails where there is none.
fn take_over(interface: &str, pins: &Pins) -> Result<Guard, SteerError> {
    let doing = "take over the guard of an earlier run";
    let mut object = load(pins)?;
    let program = program(&mut object)?;
    let old = SchedClassifierLink::attached(interface, WHERE, PRIORITY, HANDLE, None);
    let old = old.map_err(SteerError::while_doing(doing))?;
    let id = program.attach_to_link(old).map_err(SteerError::while_doing(doing))?;
    keep(program.take_link(id).map_err(SteerError::while_doing(doing))?);
    finish(object, interface, pins)
}

fn attach(interface: &str, pins: &Pins) -> Result<Guard, SteerError> {
    let mut object = load(pins)?;
    let program = program(&mut object)?;
    match tc::qdisc_add_clsact(interface) {
        Err(error) if errno(&error) != Some(libc::EEXIST) => {
            return Err(SteerError::while_doing("add a clsact qdisc")(error));
        }
        _ => {}
    }
    let place = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle: HANDLE, classid: None });
    let link = program.attach_with_options(interface, WHERE, place).and_then(|id| program.take_link(id));
    keep(link.map_err(|error| why_not_attached(error, interface))?);
    finish(object, interface, pins)
}

/// aya takes the filter away when the link is dropped; it shall outlive this process. Nothing leaks: such a link holds
/// four numbers and no file descriptor.
fn keep(link: SchedClassifierLink) {
    std::mem::forget(link);
}

fn why_not_attached(error: ProgramError, interface: &str) -> SteerError {
    match errno(&error) {
        Some(libc::EEXIST) => SteerError::Occupied {
            interface: interface.to_owned(),
            what: "another tc filter at priority 10, handle 0x706d".to_owned(),
            remedy: format!("`tc filter del dev {interface} ingress pref 10` removes it"),
        },
        _ => SteerError::while_doing("attach the guard")(error),
    }
}

/// Loads the program with the maps pinned there, which are made and pinned where they are missing.
fn load(pins: &Pins) -> Result<Ebpf, SteerError> {
    let doing = "load the guard";
    let object = EbpfLoader::new().default_map_pin_directory(pins.directory()).load(OBJECT);
    let mut object = object.map_err(SteerError::while_doing(doing))?;
    program(&mut object)?.load().map_err(SteerError::while_doing(doing))?;
    Ok(object)
}

fn program(object: &mut Ebpf) -> Result<&mut SchedClassifier, SteerError> {
    let program = object.program_mut(PROGRAM).and_then(|program| program.try_into().ok());
    program.ok_or(SteerError::Unexpected("program pointsman_guard"))
}

fn finish(mut object: Ebpf, interface: &str, pins: &Pins) -> Result<Guard, SteerError> {
    Ok(Guard { vips: VipMaps::take(&mut object)?, interface: interface.to_owned(), pins: pins.clone() })
}
