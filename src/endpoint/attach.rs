//! The interface and the XDP program on it.
//!
//! The program is attached by a link message, not by a `bpf_link`: a link would go with this process, or have to be
//! pinned in a bpffs, which a pod has not. Attached this way it stays for as long as the interface does.

use std::io;
use std::os::fd::RawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

use super::error::EndpointError;
use super::netlink::Netlink;

// linux/if_link.h
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// The file descriptor that means "no program".
const DETACH: RawFd = -1;

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's general receive path: slower, and works everywhere.
    Generic,
}

impl Mode {
    /// As `ip link` and people say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    fn flags(self) -> u32 {
        match self {
            Self::Native => XDP_FLAGS_DRV_MODE,
            Self::Generic => XDP_FLAGS_SKB_MODE,
        }
    }
}

/// What this room has to know of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MTU, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// The id of the program that it has, and where that runs.
    pub program: Option<(u32, Mode)>,
}

impl Interface {
    /// Looks an interface up.
    pub fn find(netlink: &mut Netlink, name: &str) -> Result<Self, EndpointError> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.into()));
        let unknown = || EndpointError::NoInterface(name.into());
        match netlink.get(RouteNetlinkMessage::GetLink(question)) {
            Ok(RouteNetlinkMessage::NewLink(answer)) => Ok(Self::read(name, &answer)),
            Ok(_) => Err(unknown()),
            // ERANGE, EINVAL: longer than a name can be.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)) => {
                Err(unknown())
            }
            Err(error) => Err(EndpointError::kernel(format!("look the interface {name} up"), error)),
        }
    }

    fn read(name: &str, answer: &LinkMessage) -> Self {
        let mut interface = Self { name: name.into(), index: answer.header.index, mtu: 0, program: None };
        for attribute in &answer.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Xdp(xdp) => interface.program = attached(xdp),
                _ => {}
            }
        }
        interface
    }

    /// Puts a program on the interface, in place of the one that may be there, without a gap. Where one is there the
    /// mode stays, as the kernel wants; else native comes first.
    pub fn attach(&self, netlink: &mut Netlink, program: RawFd) -> Result<Mode, EndpointError> {
        let modes = match self.program {
            Some((_, mode)) => vec![mode],
            None => vec![Mode::Native, Mode::Generic],
        };
        let mut refusal = io::ErrorKind::Unsupported.into();
        for mode in modes {
            match self.set_program(netlink, program, mode) {
                Ok(()) => return Ok(mode),
                Err(error) => refusal = error,
            }
        }
        Err(EndpointError::kernel(format!("attach the XDP program to {}", self.name), refusal))
    }

    /// Takes the program off the interface.
    pub fn detach(&self, netlink: &mut Netlink) -> Result<(), EndpointError> {
        let Some((_, mode)) = self.program else { return Ok(()) };
        self.set_program(netlink, DETACH, mode)
            .map_err(|error| EndpointError::kernel(format!("detach the XDP program from {}", self.name), error))
    }

    fn set_program(&self, netlink: &mut Netlink, program: RawFd, mode: Mode) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Fd(program), LinkXdp::Flags(mode.flags())]));
        netlink.request(RouteNetlinkMessage::SetLink(message), 0)
    }
}

/// The program among the attributes of `IFLA_XDP`. One in hardware counts as native: the kernel says which it is.
fn attached(xdp: &[LinkXdp]) -> Option<(u32, Mode)> {
    let generic = xdp.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer));
    let mode = if generic { Mode::Generic } else { Mode::Native };
    xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some((*id, mode)),
        _ => None,
    })
}
