//! Whose XDP program an interface runs, asked of the kernel: what it is called, by which link it is there, where that is
//! pinned and which process holds it.

use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkType, PinnedLink};
use aya::programs::{loaded_links, loaded_programs};

use super::error::SteerError;
use super::pins::Pins;
use super::xdp::{LINK, Mode, PROGRAM};
use super::{attached, bpf};

/// An XDP program on an interface. What the kernel does not tell without CAP_SYS_ADMIN is None then.
#[derive(Debug)]
pub struct Occupant {
    interface: String,
    program: u32,
    mode: Mode,
    name: Option<String>,
    link: Option<u32>,
    /// Where its link is pinned as pointsman pins one.
    pin: Option<PathBuf>,
    holder: Option<Holder>,
}

/// A process that has a descriptor of the link.
#[derive(Debug)]
struct Holder {
    process: u32,
    name: String,
}

impl Occupant {
    /// Who is on this interface now, if anybody is.
    pub fn of(interface: &str, index: u32) -> Result<Option<Self>, SteerError> {
        let Some((program, mode)) = attached::program_of(index)? else { return Ok(None) };
        let pinned = pinned_link(program);
        let link = pinned.as_ref().map(|(_, link)| *link).or_else(|| link_of(program));
        Ok(Some(Self {
            interface: interface.to_owned(),
            program,
            mode,
            name: name_of(program),
            link,
            pin: pinned.map(|(path, _)| path),
            holder: link.and_then(holder_of),
        }))
    }

    /// Whether it is a steering program of pointsman's.
    pub fn is_own(&self) -> bool {
        self.pin.is_some() || self.name.as_deref() == Some(PROGRAM)
    }

    /// Takes it off the interface, and its pins away.
    ///
    /// # Errors
    /// It is another's, a process holds it, or the kernel does not let this process do it.
    pub fn detach(&self) -> Result<(), SteerError> {
        let doing = "detach the steering program";
        let (Some(link), true, None) = (self.link, self.is_own(), &self.holder) else { return Err(self.refusal()) };
        let link = bpf::open_link(link).map_err(SteerError::while_doing(doing))?;
        bpf::detach_link(link.as_fd()).map_err(SteerError::while_doing(doing))?;
        self.pin.as_deref().and_then(Path::parent).map_or(Ok(()), |directory| Pins::at(directory).remove())
    }

    /// Why this program keeps another from being attached.
    pub fn refusal(&self) -> SteerError {
        SteerError::Occupied { interface: self.interface.clone(), what: self.to_string(), remedy: self.remedy() }
    }

    /// What takes it off the interface.
    fn remedy(&self) -> String {
        match (&self.holder, self.link) {
            (Some(Holder { process: 1, .. }), _) if self.is_own() => {
                "stop its unit, such as by `systemctl stop pointsman`".to_owned()
            }
            (Some(Holder { process, name }), _) => format!("stop process {process} ({name})"),
            (None, _) if self.is_own() => "`pointsman cleanup --config FILE --detach` removes it".to_owned(),
            (None, Some(link)) => format!("`bpftool link detach id {link}` removes it"),
            (None, None) => format!("`ip link set dev {} {} off` removes it", self.interface, self.mode.of_ip()),
        }
    }
}

impl fmt::Display for Occupant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, name, .. } = self;
        match name {
            _ if self.is_own() => write!(formatter, "a steering program of pointsman's (program {program}")?,
            Some(name) => write!(formatter, "another XDP program (program {program}, {name}")?,
            None => write!(formatter, "another XDP program (program {program}")?,
        }
        if let Some(pin) = &self.pin {
            write!(formatter, ", pinned at {}", pin.display())?;
        }
        if let Some(Holder { process, name }) = &self.holder {
            write!(formatter, ", held by process {process}, {name}")?;
        }
        formatter.write_str(")")
    }
}

fn name_of(program: u32) -> Option<String> {
    let info = loaded_programs().filter_map(Result::ok).find(|info| info.id() == program)?;
    info.name_as_str().map(str::to_owned)
}

fn link_of(program: u32) -> Option<u32> {
    let is_its = |info: &aya::programs::links::LinkInfo| {
        info.program_id() == program && info.link_type().is_ok_and(|kind| kind == LinkType::Xdp)
    };
    loaded_links().filter_map(Result::ok).find(is_its).map(|info| info.id())
}

/// The pin and the number of a link of this program, in any bpffs that is mounted here.
fn pinned_link(program: u32) -> Option<(PathBuf, u32)> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let of_bpf = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "bpf").then(|| PathBuf::from(place))
    });
    of_bpf.into_iter().find_map(|mount| pinned_below(&mount, program, DEPTH))
}

/// `pin` is a few directories deep in a bpffs, and the interface's directory is one deeper.
const DEPTH: u32 = 5;

fn pinned_below(directory: &Path, program: u32, depth: u32) -> Option<(PathBuf, u32)> {
    let entries = fs::read_dir(directory).ok()?.filter_map(Result::ok);
    for entry in entries {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let found = match is_directory {
            true if depth > 0 => pinned_below(&path, program, depth - 1),
            false if path.file_name().is_some_and(|name| name == LINK) => {
                let info = PinnedLink::from_pin(&path).ok().and_then(|link| FdLink::from(link).info().ok());
                info.filter(|info| info.program_id() == program).map(|info| (path, info.id()))
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The first process but this one that has a descriptor of the link.
fn holder_of(link: u32) -> Option<Holder> {
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let process = numbers.filter(|process| *process != std::process::id()).find(|process| holds(*process, link))?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned();
    Some(Holder { process, name })
}

fn holds(process: u32, link: u32) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    descriptors.filter_map(Result::ok).any(|entry| {
        let is_link = fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("bpf"));
        is_link && says_link(process, &entry.file_name().to_string_lossy(), link)
    })
}

fn says_link(process: u32, descriptor: &str, link: u32) -> bool {
    let said = fs::read_to_string(format!("/proc/{process}/fdinfo/{descriptor}")).unwrap_or_default();
    said.lines().any(|line| line.strip_prefix("link_id:").is_some_and(|id| id.trim() == link.to_string()))
}
