//! AF_XDP: one socket for one queue of an interface, with its own packet memory (`Documentation/networking/af_xdp.rst`).
//!
//! `ring` is the memory shared with the kernel, `umem` the packets', `exchange` knows which frame is where, `socket`
//! has the system calls of the start, and here are those of every batch.
//!
//! A worker sees the bytes of a frame and nothing beside them. An 802.1Q tag that the device has taken out is lost, in both
//! modes and without a word: the frame passes for an untagged one. So it is with a NIC that has `rxvlan` on, and with a veth
//! whose peer has `txvlan` on (`rxvlan` means nothing there); both are switched off by `ethtool -K`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_error, xdp_statistics};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use self::exchange::{Exchange, Sizes};
use self::umem::Mapping;
use super::{Held, KernelStatistics, PacketIo, monotonic, sleep_until_ready};
use crate::config::ZeroCopy;
use crate::frame::Frame;
use crate::moment::Moment;

mod exchange;
mod inherited;
#[cfg(test)]
mod plain;
mod ring;
mod socket;
mod umem;

pub use self::exchange::Audit;
pub use self::inherited::Inherited;
pub use self::umem::chunk_size;

/// Frames that one system call sends where the kernel does not let us choose.
const LEAST_BUDGET: u32 = 32;
/// How long to sleep at most, while the kernel has not sent all it shall, or has no frame to receive into.
const RETRY: Duration = Duration::from_millis(1);

/// Why an AF_XDP socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// Not root.
    #[error("AF_XDP sockets need the capabilities CAP_NET_RAW and CAP_NET_ADMIN")]
    Permission,
    /// An old kernel, or one built without.
    #[error(
        "this kernel has no AF_XDP sockets with wake-up (5.4 or later, CONFIG_XDP_SOCKETS): use driver = \"af_packet\""
    )]
    NotSupported,
    /// A number that no ring can have.
    #[error("frames is {frames} but must be a power of two, 2 or more")]
    Frames {
        /// As asked for.
        frames: u32,
    },
    /// Packets that no chunk can hold.
    #[error("the interface's MTU is {mtu}, but a packet must fit a page of 4096 bytes: the highest is 3822")]
    Mtu {
        /// Of the interface, in bytes.
        mtu: u32,
    },
    /// The limit on locked memory.
    #[error(
        "the kernel may not lock {bytes} bytes of packet memory: raise LimitMEMLOCK in the unit (ulimit -l), or lower frames"
    )]
    LockedMemory {
        /// Size of the packet memory.
        bytes: u64,
    },
    /// Somebody else's.
    #[error(
        "queue {queue} of the interface is in use by another AF_XDP socket: stop its owner, or choose other queues"
    )]
    Busy {
        /// Of the interface.
        queue: u32,
    },
    /// Gone, or never there.
    #[error("there is no interface with index {interface_index}")]
    NoInterface {
        /// As asked for.
        interface_index: u32,
    },
    /// Past the last queue.
    #[error("the interface has no queue {queue}")]
    NoQueue {
        /// As asked for.
        queue: u32,
    },
    /// The driver copies.
    #[error("the driver cannot share queue {queue} without copying: set zero_copy = \"auto\"")]
    NoZeroCopy {
        /// Of the interface.
        queue: u32,
    },
    /// Whatever else the kernel says.
    #[error("the kernel refused to {step}: {error}")]
    Kernel {
        /// What was tried.
        step: &'static str,
        /// Its answer.
        error: io::Error,
    },
}

/// What kind of socket to open.
#[derive(Clone, Copy, Debug)]
pub struct XskOptions {
    /// The interface, by the kernel's number.
    pub interface_index: u32,
    /// Its queue, from 0.
    pub queue: u32,
    /// Frames of packet memory, a power of two.
    pub frames: u32,
    /// The interface's MTU in bytes; it decides how much memory a frame takes.
    pub mtu: u32,
    /// Whether packets are shared with the driver.
    pub zero_copy: ZeroCopy,
    /// How long to wait for a queue that is busy: it is for up to a second after its last owner has died.
    pub patience: Duration,
}

/// An AF_XDP socket, bound to a queue. It receives what an XDP program redirects to it by an XSKMAP.
#[derive(Debug)]
pub struct XskIo {
    exchange: Exchange<Mapping>,
    zero_copy: bool,
    socket: OwnedFd,
    /// The packet memory's file. The mapping would do without; a successor of this process would not.
    file: OwnedFd,
}

impl XskIo {
    /// Opens a socket on a queue, with all frames ready to be received into. Waits up to 3 seconds for a queue that is
    /// in use.
    pub fn open(options: &XskOptions) -> Result<Self, XskError> {
        let &XskOptions { frames, mtu, .. } = options;
        let sizes = Sizes::new(frames).ok_or(XskError::Frames { frames })?;
        let chunk_size = chunk_size(mtu).ok_or(XskError::Mtu { mtu })?;
        let in_memory = |error| XskError::Kernel { step: "make the packet memory", error };
        let file = umem::create_file(chunk_size, frames).map_err(in_memory)?;
        let umem = umem::map_file(&file, chunk_size, frames).map_err(in_memory)?;
        let socket = socket::create()?;
        socket::register(&socket, &umem, sizes)?;
        let free = umem.chunks().rev().collect();
        let mut exchange = Exchange::new(umem, socket::map_rings(&socket, sizes)?, free);
        // A driver that finds the fill ring empty at bind sleeps until it is woken.
        exchange.recycle();
        let zero_copy = socket::bind_to(&socket, options)?;
        Ok(Self { exchange, zero_copy, socket, file })
    }

    /// Whether packets are shared with the driver.
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Where the frames are.
    pub fn audit(&self) -> Audit {
        self.exchange.audit()
    }

    /// Has the kernel send, in as many calls as it takes, until it has no room for more.
    fn kick(&self) -> io::Result<()> {
        let mut unsent = self.exchange.unsent();
        for _ in 0..=unsent / LEAST_BUDGET {
            if !self.exchange.tx_needs_wakeup() {
                break;
            }
            unless_later(send(&self.socket, &[], SendFlags::DONTWAIT).map(drop))?;
            let left = self.exchange.unsent();
            if left == unsent {
                break;
            }
            unsent = left;
        }
        Ok(())
    }

    /// Has the driver look at the fill ring.
    fn wake_receiver(&self) -> io::Result<()> {
        if !self.exchange.rx_needs_wakeup() {
            return Ok(());
        }
        unless_later(recv(&self.socket, &mut [0u8; 0], RecvFlags::DONTWAIT).map(drop))
    }
}

/// What only means "not now" is no error: the frames stay in their ring, and the next call tries again.
fn unless_later(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => Ok(()),
        other => Ok(other?),
    }
}

impl AsFd for XskIo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl PacketIo for XskIo {
    const TAP: bool = false;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        self.exchange.receive(into, most);
        Ok(())
    }

    fn now(&mut self) -> Moment {
        monotonic()
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        self.exchange.allocate(len)
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        self.exchange.frame(held)
    }

    fn send(&mut self, held: Held) {
        self.exchange.send(held);
    }

    fn release(&mut self, held: Held) {
        self.exchange.release(held);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.exchange.publish();
        let sent = self.kick();
        // Whatever became of sending, receiving goes on.
        self.exchange.recycle();
        sent.and(self.wake_receiver())
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        // An interface that goes away leaves an error, and then the kernel never wakes us for this socket again. (One that is
        // only down leaves none.)
        if socket_error(&self.socket)?.is_err() {
            return Err(Errno::NODEV.into());
        }
        let timeout = if self.exchange.is_short() { timeout.min(RETRY) } else { timeout };
        let mut sources = [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        sleep_until_ready(&mut sources, timeout)
    }

    fn statistics(&mut self) -> KernelStatistics {
        let Ok(counted) = xdp_statistics(&self.socket) else { return KernelStatistics::default() };
        KernelStatistics {
            rx_dropped: counted.rx_dropped,
            rx_ring_full: counted.rx_ring_full.unwrap_or_default(),
            rx_fill_ring_empty: counted.rx_fill_ring_empty_descs.unwrap_or_default(),
            rx_invalid: counted.rx_invalid_descs,
            tx_invalid: counted.tx_invalid_descs,
            tx_ring_empty: counted.tx_ring_empty_descs.unwrap_or_default(),
        }
    }
}
