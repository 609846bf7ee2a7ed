//! Middleware for sources of frames: a layer sees what a worker asks of the source below it, and may answer in its place. Clocks
//! that a test drives, traffic that comes by itself and faults are made of it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{Held, KernelStatistics, PacketIo};
use crate::frame::Frame;
use crate::moment::Moment;

/// What stands between a worker and a source of frames. Each function does what the source does, unless a layer has its own.
pub trait Layer<Io: PacketIo> {
    /// See [`PacketIo::receive`].
    ///
    /// # Errors
    ///
    /// Those of the source, or the layer's own.
    fn receive(&mut self, below: &mut Io, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        below.receive(into, most)
    }

    /// See [`PacketIo::now`].
    fn now(&mut self, below: &mut Io) -> Moment {
        below.now()
    }

    /// See [`PacketIo::flush`].
    ///
    /// # Errors
    ///
    /// Those of the source, or the layer's own.
    fn flush(&mut self, below: &mut Io) -> io::Result<()> {
        below.flush()
    }

    /// See [`PacketIo::wait`].
    ///
    /// # Errors
    ///
    /// Those of the source, or the layer's own.
    fn wait(&mut self, below: &mut Io, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        below.wait(wake, timeout)
    }

    /// See [`PacketIo::statistics`].
    fn statistics(&mut self, below: &mut Io) -> KernelStatistics {
        below.statistics()
    }
}

/// A source of frames under a layer.
#[derive(Debug)]
pub struct Layered<L, Io> {
    /// What stands before the source.
    pub layer: L,
    /// The source.
    pub below: Io,
}

impl<L: Layer<Io>, Io: PacketIo> PacketIo for Layered<L, Io> {
    const TAP: bool = Io::TAP;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        self.layer.receive(&mut self.below, into, most)
    }

    fn now(&mut self) -> Moment {
        self.layer.now(&mut self.below)
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        self.below.allocate(len)
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        self.below.frame(held)
    }

    fn send(&mut self, held: Held) {
        self.below.send(held);
    }

    fn release(&mut self, held: Held) {
        self.below.release(held);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.layer.flush(&mut self.below)
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        self.layer.wait(&mut self.below, wake, timeout)
    }

    fn statistics(&mut self) -> KernelStatistics {
        self.layer.statistics(&mut self.below)
    }
}
