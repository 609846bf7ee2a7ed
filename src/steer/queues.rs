//! How many queues an interface has.
#![allow(unsafe_code, reason = "ethtool's ioctl has no safe wrapper")]

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketType, socket};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// The receive queues of an interface, at present: those for receiving alone and those for both ways. One where the
/// driver does not tell. Attaching an XDP program can change the number: count afterwards.
///
/// # Errors
/// No such interface, or no socket to ask by.
pub fn rx_queues(interface: &str) -> io::Result<u32> {
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    match ask(interface, &mut channels) {
        Ok(()) => Ok((channels.rx + channels.combined).max(1)),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
        Err(error) => Err(error),
    }
}

/// The queues that an interface, by its name and number, sends by at present; by no others can an AF_XDP socket send. There
/// are fewer than receive queues where the driver has set some apart for XDP's own forwarding, as virtio-net does when a
/// program is attached. None where `/sys` does not show them, or those of another network namespace.
pub fn tx_queues(interface: &str, index: u32, rx_queues: u32) -> Option<u32> {
    let directory = Path::new("/sys/class/net").join(interface);
    let shown: u32 = fs::read_to_string(directory.join("ifindex")).ok()?.trim().parse().ok()?;
    let names: Vec<_> = fs::read_dir(directory.join("queues")).ok()?.flatten().map(|entry| entry.file_name()).collect();
    let count = |kind: &[u8]| names.iter().filter(|name| name.as_encoded_bytes().starts_with(kind)).count() as u32;
    (shown == index && count(b"rx-") == rx_queues && count(b"tx-") > 0).then(|| count(b"tx-"))
}

fn ask(interface: &str, channels: &mut Channels) -> io::Result<()> {
    // SAFETY: ifreq is plain data, for which all zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(channels).cast();
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: the name in the request ends with a nul; its pointer is to a struct of the layout that the command in it
    // asks for, which is borrowed until after the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
