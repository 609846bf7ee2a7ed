//! What only the kernel can tell or grant.
#![allow(unsafe_code, reason = "no safe wrapper has these")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use rustix::thread::Pid;

/// From now on a thread runs as soon as it has something to do, before all that are not as urgent; none: the calling one.
pub fn make_urgent(thread: Option<Pid>) -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` is a whole sched_param, which the kernel only reads.
    let result = unsafe { libc::sched_setscheduler(Pid::as_raw(thread), libc::SCHED_FIFO, &raw const priority) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// When the datagram that was received last came to this machine's stack, by the clock of [`now`]. The first question has
/// the kernel note it from then on.
pub fn came_at(socket: &UdpSocket) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a whole timespec, which the kernel fills in.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSTAMPNS, &raw mut time) };
    if result == 0 { Ok(nanoseconds(time.tv_sec, time.tv_nsec)) } else { Err(io::Error::last_os_error()) }
}

/// linux/sockios.h, with timespec as it is on 64-bit machines.
const SIOCGSTAMPNS: libc::Ioctl = 0x8907;

/// Nanoseconds by the clock that the kernel stamps packets with.
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    nanoseconds(now.tv_sec, now.tv_nsec)
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    seconds as u64 * 1_000_000_000 + nanoseconds as u64
}
