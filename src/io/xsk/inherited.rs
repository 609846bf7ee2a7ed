//! A socket that another process has opened and used: its successor maps the same rings and the same packet memory, and
//! goes on where it has stopped. Nothing is lost meanwhile: the kernel goes on filling the frames it was lent.
//!
//! Only one process uses them at a time. While it is not this one's turn, the socket gives out no frame and touches no ring.
#![allow(unsafe_code)] // What another process does is not for the compiler to know.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::exchange::{Exchange, Sizes};
use super::{XskError, XskIo, socket, umem};

/// What one process needs of another's socket. The free frames come apart, when the other has let go.
#[derive(Debug)]
pub struct Inherited {
    /// The socket, bound to its queue.
    pub socket: OwnedFd,
    /// The packet memory's file.
    pub file: OwnedFd,
    /// How many frames that has.
    pub frames: u32,
    /// How many bytes each.
    pub chunk_size: u32,
}

impl XskIo {
    /// The socket and the packet memory's file, to be passed to another process.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.socket.as_fd(), self.file.as_fd()]
    }

    /// How many frames there are, and how many bytes each has.
    pub fn memory(&self) -> (u32, u32) {
        self.exchange.memory()
    }

    /// Maps what another process uses. Until it has been [taken over](Self::take_over), nothing comes in and nothing leaves.
    ///
    /// # Errors
    /// The descriptors are not what they should be.
    pub fn inherit(inherited: Inherited) -> Result<Self, XskError> {
        let Inherited { socket, file, frames, chunk_size } = inherited;
        let sizes = Sizes::new(frames).ok_or(XskError::Frames { frames })?;
        let in_memory = |error| XskError::Kernel { step: "map the packet memory", error };
        let umem = umem::map_inherited(&file, chunk_size, frames).map_err(in_memory)?;
        // SAFETY: nothing moves in them before `take_over`, and then the other process has left them.
        let rings = unsafe { socket::map_rings(&socket, sizes) }?;
        let exchange = Exchange::inherited(umem, rings);
        let zero_copy = socket::is_zero_copy(&socket)?;
        Ok(Self { exchange, zero_copy, socket, file })
    }

    /// Leaves it to another process, which has to be told the frames that are in no ring. Nothing comes in and nothing leaves
    /// from now on.
    ///
    /// # Panics
    /// A frame has neither been sent nor released: it would be lost.
    pub fn leave(&mut self) -> &[u64] {
        self.exchange.leave()
    }

    /// Begins where the other process has stopped.
    ///
    /// # Errors
    /// These cannot be the free frames.
    ///
    /// # Safety
    /// The other process has [left](Self::leave) it, with these frames free, and does not go on before this one has left it, or
    /// is gone.
    pub unsafe fn take_over(&mut self, free: Vec<u64>) -> io::Result<()> {
        // SAFETY: the contract is the same.
        let taken = unsafe { self.exchange.take_over(free) };
        if taken { Ok(()) } else { Err(io::Error::other("the list of free frames contradicts the rings")) }
    }

    /// Goes on after the process that it was [left](Self::leave) to has died. Answers false, while that cannot be: where that
    /// one has used it, and the kernel has frames in its own hands.
    ///
    /// # Safety
    /// No other process uses it any more, and this one holds no frame of it.
    #[must_use]
    pub unsafe fn recover(&mut self) -> bool {
        // SAFETY: the contract is the same.
        unsafe { self.exchange.recover() }
    }

    /// The same where that cannot be, without the frames that the dead process had in its own hands. Answers how many those
    /// are; none, and nothing is changed, where too few would be left.
    ///
    /// # Safety
    /// That of [`recover`](Self::recover).
    pub unsafe fn recover_most(&mut self) -> Option<u32> {
        // SAFETY: the contract is the same.
        unsafe { self.exchange.recover_most() }
    }
}
