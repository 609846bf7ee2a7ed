//! The calls of bpf(2) that aya 0.14 does not offer: open and pin whatever it is, and detach a link at once.
//!
//! Without the last a link is detached when its last holder lets go, which the kernel may do some time after the pin is
//! removed; a new program attached in the meantime is refused.
#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper for these commands")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
const BPF_LINK_DETACH: libc::c_int = 34;

/// The head of `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Pin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_LINK_GET_FD_BY_ID`.
#[repr(C)]
struct LinkId {
    id: u32,
}

/// The head of `union bpf_attr` for `BPF_LINK_DETACH`.
#[repr(C)]
struct DetachLink {
    link: u32,
}

/// Opens what is pinned at `path`.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let request = Pin { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
    // SAFETY: Pin is laid out as bpf(2) wants it for this command, and the path it points to, ended by a nul,
    // outlives the call.
    let descriptor = unsafe { bpf(BPF_OBJ_GET, &request) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Opens the link with this number, for which the kernel asks CAP_SYS_ADMIN.
pub fn open_link(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: LinkId is laid out as bpf(2) wants it for this command and points to nothing.
    let descriptor = unsafe { bpf(BPF_LINK_GET_FD_BY_ID, &LinkId { id }) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Pins a program, map or link at `path`.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let request = Pin { path: path.as_ptr() as u64, descriptor: object.as_raw_fd().unsigned_abs(), flags: 0 };
    // SAFETY: Pin is laid out as bpf(2) wants it for this command, and the path it points to, ended by a nul, outlives
    // the call.
    unsafe { bpf(BPF_OBJ_PIN, &request) }.map(drop)
}

/// Detaches a link from its interface, whoever else holds it.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let request = DetachLink { link: link.as_raw_fd().unsigned_abs() };
    // SAFETY: DetachLink is laid out as bpf(2) wants it for this command and points to nothing.
    unsafe { bpf(BPF_LINK_DETACH, &request) }.map(drop)
}

/// Calls bpf(2).
///
/// # Safety
/// `T` is the head of `union bpf_attr` for the command, without padding, and what it points to is valid.
unsafe fn bpf<T>(command: libc::c_int, request: &T) -> io::Result<libc::c_int> {
    // SAFETY: the caller's promise; the kernel reads no more than the size given and takes the rest as zeros.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
