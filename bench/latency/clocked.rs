//! Memory with the clock that drivers have.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use pointsman::frame::Frame;
use pointsman::io::memory::Memory;
use pointsman::io::{Held, KernelStatistics, PacketIo};
use pointsman::moment::{Moment, SECOND};
use rustix::time::{ClockId, clock_gettime};

/// Memory, and the system's monotonic clock.
pub struct Clocked(pub Memory);

impl Clocked {
    /// Lets a frame come in.
    pub fn push(&mut self, frame: Vec<u8>) {
        self.0.push(frame);
    }

    /// Forgets what has left.
    pub fn clear(&mut self) {
        self.0.take_sent();
    }
}

impl PacketIo for Clocked {
    const TAP: bool = false;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        self.0.receive(into, most)
    }

    fn now(&mut self) -> Moment {
        let now = clock_gettime(ClockId::Monotonic);
        Moment(now.tv_sec as u64 * SECOND + now.tv_nsec as u64)
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        self.0.allocate(len)
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        self.0.frame(held)
    }

    fn send(&mut self, held: Held) {
        self.0.send(held);
    }

    fn release(&mut self, held: Held) {
        self.0.release(held);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        self.0.wait(wake, timeout)
    }

    fn statistics(&mut self) -> KernelStatistics {
        KernelStatistics::default()
    }
}
