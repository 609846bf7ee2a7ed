//! An AF_XDP socket's life up to the first packet: packet memory, rings, bind.
#![allow(unsafe_code)] // One socket option has no safe wrapper.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_send_buffer_size_force, set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size,
    set_xdp_umem_fill_ring_size, set_xdp_umem_reg, xdp_mmap_offsets, xdp_options,
};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XdpDesc, XdpOptionsFlags, XdpRingOffset, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exchange::{Rings, Sizes};
use super::ring::{Consumer, Layout, Producer};
use super::umem::{Mapping, Umem};
use super::{XskError, XskOptions};
use crate::config::ZeroCopy;

const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// `XDP_MAX_TX_SKB_BUDGET` (since 6.17): frames that one `sendto` sends; 32 by default.
const MAX_TX_SKB_BUDGET: c_int = 9;

/// A new socket, not bound to any queue.
pub fn create() -> Result<OwnedFd, XskError> {
    socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).map_err(|error| match error {
        Errno::PERM | Errno::ACCESS => XskError::Permission,
        Errno::AFNOSUPPORT => XskError::NotSupported,
        error => XskError::Kernel { step: "make an AF_XDP socket", error: error.into() },
    })
}

/// Shows the kernel the packet memory, and has it make the rings.
pub fn register(socket: &OwnedFd, umem: &Umem<Mapping>, sizes: Sizes) -> Result<(), XskError> {
    // The packet memory is locked. Where we may neither pass over the limit (CAP_IPC_LOCK) nor raise it far enough,
    // registering says so.
    let unlimited = Rlimit { current: None, maximum: None };
    let _ = setrlimit(Resource::Memlock, unlimited).or_else(|_| {
        let maximum = getrlimit(Resource::Memlock).maximum;
        setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum })
    });
    let (addr, len) = umem.region();
    let chunk_size = umem.chunk_size();
    let memory = XdpUmemReg { addr, len, chunk_size, headroom: 0, flags: XdpUmemRegFlags::empty(), tx_metadata_len: 0 };
    set_xdp_umem_reg(socket, memory).map_err(|error| match error {
        Errno::NOBUFS => XskError::LockedMemory { bytes: len },
        error => XskError::Kernel { step: "register the packet memory", error: error.into() },
    })?;
    let make = || {
        set_xdp_umem_fill_ring_size(socket, sizes.lend)?;
        set_xdp_umem_completion_ring_size(socket, sizes.lend)?;
        set_xdp_rx_ring_size(socket, sizes.packets)?;
        set_xdp_tx_ring_size(socket, sizes.packets)
    };
    make().map_err(|error| XskError::Kernel { step: "make the rings", error: error.into() })?;
    hasten(socket, sizes, len);
    Ok(())
}

/// Lets one system call send a whole TX ring. The kernel may refuse: then more calls do it.
fn hasten(socket: &OwnedFd, sizes: Sizes, bytes: u64) {
    // The kernel's copies of the frames under way count against this, with their overhead.
    let _ = set_socket_send_buffer_size_force(socket, bytes as usize);
    let budget = sizes.packets;
    // SAFETY: the option's value is a `u32` that lives through the call, and its size is given.
    let _ = unsafe {
        let (value, len) = ((&raw const budget).cast(), size_of::<u32>() as libc::socklen_t);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, MAX_TX_SKB_BUDGET, value, len)
    };
}

/// Maps the rings of a socket, which another process may have made and used.
pub fn map_rings(socket: &OwnedFd, sizes: Sizes) -> Result<Rings<Mapping>, XskError> {
    let offsets = xdp_mmap_offsets(socket)
        .map_err(|error| XskError::Kernel { step: "ask for the rings' layout", error: error.into() })?;
    let (memory, layout) = map::<u64>(socket, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, sizes.lend)?;
    let fill = Producer::new(memory, layout, sizes.lend);
    let (memory, layout) = map::<u64>(socket, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, sizes.lend)?;
    let completion = Consumer::new(memory, layout, sizes.lend);
    let (memory, layout) = map::<XdpDesc>(socket, XDP_PGOFF_RX_RING, &offsets.rx, sizes.packets)?;
    let rx = Consumer::new(memory, layout, sizes.packets);
    let (memory, layout) = map::<XdpDesc>(socket, XDP_PGOFF_TX_RING, &offsets.tx, sizes.packets)?;
    let tx = Producer::new(memory, layout, sizes.packets);
    Ok(Rings { fill, rx, tx, completion })
}

fn map<T>(
    socket: &OwnedFd,
    page_offset: u64,
    offset: &XdpRingOffset,
    size: u32,
) -> Result<(Mapping, Layout), XskError> {
    let layout = Layout::from_kernel(offset).ok_or(XskError::NotSupported)?;
    let memory = Mapping::new(socket, page_offset, layout.bytes::<T>(size))
        .map_err(|error| XskError::Kernel { step: "map a ring", error })?;
    Ok((memory, layout))
}

/// Binds to the queue of an interface, and waits for as long as the options say for a dead process to let go of it. Returns
/// whether packets are shared with the driver (zero copy).
pub fn bind_to(socket: &OwnedFd, options: &XskOptions) -> Result<bool, XskError> {
    let &XskOptions { interface_index, queue, zero_copy, patience, .. } = options;
    let start = Instant::now();
    let error = loop {
        match try_bind(socket, interface_index, queue, zero_copy) {
            Ok(()) => return is_zero_copy(socket),
            Err(Errno::BUSY) if start.elapsed() < patience => sleep(BUSY_PAUSE),
            Err(error) => break error,
        }
    };
    Err(match error {
        Errno::BUSY => XskError::Busy { queue },
        Errno::NODEV => XskError::NoInterface { interface_index },
        // With a queue that is there, drivers have these ways to decline.
        Errno::OPNOTSUPP | Errno::INVAL | Errno::NOENT if zero_copy == ZeroCopy::On => XskError::NoZeroCopy { queue },
        Errno::INVAL => XskError::NoQueue { queue },
        error => XskError::Kernel { step: "bind the AF_XDP socket", error: error.into() },
    })
}

fn try_bind(socket: &OwnedFd, interface_index: u32, queue: u32, zero_copy: ZeroCopy) -> Result<(), Errno> {
    let with = |mode| {
        bind(socket, &SocketAddrXdp::new(mode | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP, interface_index, queue))
    };
    if zero_copy != ZeroCopy::Off {
        match with(SocketAddrXdpFlags::XDP_ZEROCOPY) {
            // Drivers have many ways to decline; what is wrong with the queue itself, copying will tell, too.
            Err(error) if zero_copy == ZeroCopy::Auto && error != Errno::BUSY => {}
            bound => return bound,
        }
    }
    with(SocketAddrXdpFlags::XDP_COPY)
}

/// Whether packets are shared with the driver.
pub fn is_zero_copy(socket: &OwnedFd) -> Result<bool, XskError> {
    let options = xdp_options(socket)
        .map_err(|error| XskError::Kernel { step: "ask whether packets are copied", error: error.into() })?;
    Ok(options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY))
}

#[cfg(test)]
mod tests {
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    use super::super::exchange::Exchange;
    use super::super::umem;
    use super::*;

    /// So few that none is kept back.
    const FRAMES: u32 = 8;
    /// In every network namespace.
    const LOOPBACK: u32 = 1;

    /// A successor maps the rings of a socket that is bound, and finds them as they stand.
    #[test]
    fn rings_can_be_mapped_again() {
        if !rustix::process::geteuid().is_root() {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "with CI=true this test may not be skipped: run it as root"
            );
            eprintln!("skipped: AF_XDP sockets need root");
            return;
        }
        let run = std::thread::spawn(|| {
            // SAFETY: only the namespace of this new thread changes, and no descriptor.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may");
            let sizes = Sizes::new(FRAMES).expect("a power of two");
            let file = umem::create_file(2048, FRAMES).expect("memory");
            let memory = umem::map_file(&file, 2048, FRAMES).expect("memory");
            let socket = create().expect("root may");
            register(&socket, &memory, sizes).expect("to register");
            let rings = map_rings(&socket, sizes).expect("to map");
            let free = memory.chunks().collect();
            let mut first = Exchange::new(memory, rings, free);
            first.recycle();
            let options = XskOptions {
                interface_index: LOOPBACK,
                queue: 0,
                frames: 64,
                mtu: 1500,
                zero_copy: ZeroCopy::Auto,
                patience: Duration::ZERO,
            };
            assert!(!bind_to(&socket, &options).expect("to bind"), "loopback copies");
            let before = first.audit();
            drop(first);
            let memory = umem::map_file(&file, 2048, FRAMES).expect("memory");
            let second = Exchange::new(memory, map_rings(&socket, sizes).expect("to map again"), Vec::new());
            assert_eq!(second.audit(), before);
            assert_eq!((before.fill, before.total()), (FRAMES, FRAMES));
        });
        if let Err(panic) = run.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
