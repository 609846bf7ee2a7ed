//! A host made of bytes: frames are written to and read from a tap device, tags and all, past every kernel feature that
//! takes tags out of frames.
#![allow(unsafe_code, reason = "no crate in use here makes tap devices")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::{Namespace, SOON, wait_until};

const NAME: &str = "tap1";

/// A tap device on a bridge.
pub struct Tap(File);

impl Tap {
    /// Makes the device on the bridge `br0` of a namespace; it goes with this value.
    pub fn new(fabric: &Namespace) -> Self {
        let tap = Self(fabric.inside(open));
        fabric.run(&["ip", "link", "set", NAME, "master", "br0", "up"]);
        tap
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &[u8]) {
        assert_eq!(self.0.write(frame).expect("the device takes a frame"), frame.len());
    }

    /// Waits for a frame that answers this question, and forgets all others.
    pub fn receive(&mut self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let (mut buffer, mut found) = ([0; 4096], None);
        wait_until(SOON, || {
            while let Ok(len) = self.0.read(&mut buffer) {
                if is_wanted(&buffer[..len]) {
                    found = Some(buffer[..len].to_vec());
                    return true;
                }
            }
            false
        });
        found.expect("no such frame came")
    }
}

fn open() -> File {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let file = file.expect("root may make tap devices");
    // SAFETY: all of an `ifreq` may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name.iter_mut().zip(NAME.bytes()).for_each(|(to, from)| *to = from as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq`, which outlives the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    assert_eq!(made, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
    file
}
