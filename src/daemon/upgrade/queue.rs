//! A queue on its way from one process to the other.
#![allow(unsafe_code, reason = "whether the other process has stopped only its callers know")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

use super::relay::Relay;
use crate::daemon::driver::{DriverError, QueueIo};
use crate::forward::track::table::LAYOUT;
use crate::io::packet_socket::PacketSocket;
use crate::io::xsk::{Inherited, XskIo};
use crate::io::{KernelStatistics, PacketIo};
use crate::upgrade::Queue;

/// How long the kernel may take for frames that it has in its hands.
const IN_HAND: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_micros(200);

/// What another process needs to use a queue, too. It keeps the queue's socket open.
pub struct Share {
    /// What is to be said of it.
    pub queue: Queue,
    /// The socket, and the packet memory's file if it has one.
    pub descriptors: Vec<OwnedFd>,
    /// Where the worker tells what it had, when it stops.
    pub relay: Relay,
}

/// Waits for a moment, by a system call that a worker may make.
fn rest() {
    _ = poll(&mut [], Timespec::try_from(PAUSE).ok().as_ref());
}

/// Goes on without the frames that nobody can tell any more who has them.
///
/// # Safety
/// That of [`XskIo::recover_most`].
unsafe fn recover_most(io: &mut XskIo) -> bool {
    // SAFETY: by the caller's word nobody else uses it.
    let given_up = unsafe { io.recover_most() };
    if let Some(frames) = given_up {
        tracing::warn!("{frames} of {} frames are given up until the interface is opened anew", io.memory().0);
    }
    given_up.is_some()
}

impl QueueIo {
    /// What another process needs to use it, too; `queue`: its number.
    pub fn share(&self, queue: u32) -> io::Result<Share> {
        #[cfg(test)]
        if let Self::Test(io) = self {
            io.layer.share()?;
        }
        let (queue, descriptors) = self.described(queue);
        let descriptors = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<_>>()?;
        Ok(Share { queue, descriptors, relay: Relay::default() })
    }

    fn described(&self, queue: u32) -> (Queue, Vec<BorrowedFd<'_>>) {
        let (frames, chunk_size, descriptors) = match self {
            Self::Xsk(io) => {
                let (frames, chunk_size) = io.memory();
                (frames, chunk_size, io.descriptors().to_vec())
            }
            Self::Packet(io) => (io.frames(), 0, vec![io.as_fd()]),
            #[cfg(test)]
            Self::Test(_) => (0, 0, Vec::new()),
        };
        (Queue { queue, frames, chunk_size, layout: Some(LAYOUT) }, descriptors)
    }

    /// Makes it of what another process has passed on; a socket alone is one of AF_PACKET.
    pub fn inherit(queue: &Queue, descriptors: Vec<OwnedFd>) -> Result<Self, DriverError> {
        let &Queue { frames, chunk_size, .. } = queue;
        let mut descriptors = descriptors.into_iter();
        Ok(match (descriptors.next(), descriptors.next()) {
            (Some(socket), Some(file)) => {
                Self::Xsk(Box::new(XskIo::inherit(Inherited { socket, file, frames, chunk_size })?))
            }
            (Some(socket), None) => Self::Packet(Box::new(PacketSocket::inherit(socket, frames))),
            _ => return Err(DriverError::NothingPassedOn(queue.queue)),
        })
    }

    /// Leaves it to another process, which has to be told the frames that are in no ring.
    pub fn leave(&mut self) -> &[u64] {
        match self {
            Self::Xsk(io) => io.leave(),
            _ => &[],
        }
    }

    /// Begins where another process has stopped.
    ///
    /// # Safety
    /// That of [`XskIo::take_over`].
    pub unsafe fn take_over(&mut self, free: Vec<u64>) -> io::Result<()> {
        match self {
            // SAFETY: the contract is the same.
            Self::Xsk(io) => unsafe { io.take_over(free) },
            _ => Ok(()),
        }
    }

    /// Readies it for another process: what the kernel had no room for is sent now. Answers what the kernel has counted
    /// and will not tell the other process, and what it will.
    pub fn settle(&mut self) -> (KernelStatistics, KernelStatistics) {
        let none = KernelStatistics::default();
        let Self::Packet(io) = self else { return (none, self.statistics()) };
        let end = Instant::now() + IN_HAND;
        while io.unsent() > 0 && Instant::now() < end {
            rest();
            _ = io.flush();
        }
        (io.take_statistics(), none)
    }

    /// Goes on after another process that used it has died. Answers whether that can be.
    ///
    /// # Safety
    /// That of [`XskIo::recover`].
    pub unsafe fn recover(&mut self) -> bool {
        let Self::Xsk(io) = self else { return true };
        let end = Instant::now() + IN_HAND;
        // SAFETY: the contract is the same.
        while !unsafe { io.recover() } {
            // A driver that does not copy always has frames in its hands.
            if io.zero_copy() || Instant::now() >= end {
                // SAFETY: as above.
                return unsafe { recover_most(io) };
            }
            rest();
        }
        true
    }
}
