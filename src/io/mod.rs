//! Where frames come from and go to. Everything that moves packets stands behind [`PacketIo`], so that the loop in
//! `worker` and all that it calls are tested with nothing but memory.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

use crate::frame::{Frame, Span};
use crate::moment::{Moment, SECOND};

pub mod capture_file;
pub mod carousel;
pub mod layer;
pub mod memory;
pub mod packet_socket;
pub mod xsk;

/// Free bytes before each received frame: what AF_XDP leaves there, and the others do alike.
pub const HEADROOM: usize = 256;

/// The right to one frame of a [`PacketIo`]'s packet memory.
///
/// It can be neither copied nor made up outside this room: every frame received is given back exactly once, by
/// [`PacketIo::send`] or [`PacketIo::release`].
#[must_use = "a frame that is neither sent nor released is lost"]
#[derive(Debug)]
pub struct Held {
    /// Which chunk of the packet memory; its unit is the implementation's own.
    chunk: u64,
    span: Span,
}

impl Held {
    fn new(chunk: u64, span: Span) -> Self {
        Self { chunk, span }
    }

    /// Length of the packet in it, in bytes.
    pub fn packet_len(&self) -> usize {
        self.span.len
    }

    /// The same frame, its packet now at `span` of its chunk.
    pub fn moved_to(self, span: Span) -> Self {
        Self { span, ..self }
    }
}

/// What the kernel says of a socket (`XDP_STATISTICS`, `PACKET_STATISTICS`); all since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStatistics {
    /// Frames dropped for other reasons, such as one larger than a chunk.
    pub rx_dropped: u64,
    /// Frames dropped because the RX ring, or the socket's receive buffer, was full.
    pub rx_ring_full: u64,
    /// Frames dropped because the fill ring was empty.
    pub rx_fill_ring_empty: u64,
    /// Fill descriptors that the kernel refused.
    pub rx_invalid: u64,
    /// TX descriptors that the kernel refused.
    pub tx_invalid: u64,
    /// Times the kernel found the TX ring empty.
    pub tx_ring_empty: u64,
}

impl KernelStatistics {
    /// The values in the order of the fields.
    pub fn to_array(self) -> [u64; 6] {
        let Self { rx_dropped, rx_ring_full, rx_fill_ring_empty, rx_invalid, tx_invalid, tx_ring_empty } = self;
        [rx_dropped, rx_ring_full, rx_fill_ring_empty, rx_invalid, tx_invalid, tx_ring_empty]
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        let (mut sums, more) = (self.to_array(), more.to_array());
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        Self::from_array(sums)
    }

    /// The other way round.
    pub fn from_array(values: [u64; 6]) -> Self {
        let [rx_dropped, rx_ring_full, rx_fill_ring_empty, rx_invalid, tx_invalid, tx_ring_empty] = values;
        Self { rx_dropped, rx_ring_full, rx_fill_ring_empty, rx_invalid, tx_invalid, tx_ring_empty }
    }
}

/// A source and sink of frames for one worker.
///
/// An error of the kind [`NetworkDown`](io::ErrorKind::NetworkDown) passes when the interface comes up again. Any other
/// means that this source is lost for good, as it is when its interface is removed.
pub trait PacketIo {
    /// Whether the kernel, too, gets every frame received here, so that one that is not for a VIP is none of ours.
    /// Where the steering program has chosen the frames, such a one is a drop that must be counted.
    const TAP: bool;

    /// Appends up to `most` received frames to `into`, and never more than could be sent: while the way out is full,
    /// nothing is received (back-pressure), so the excess is dropped, and counted, before it costs anything.
    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()>;

    /// The moment by which the frames of this batch are judged.
    fn now(&mut self) -> Moment;

    /// A free frame for a packet of `len` bytes of the worker's own making; none where there is no free frame, or no
    /// more could be sent. It is given back like one received.
    fn allocate(&mut self, len: usize) -> Option<Held>;

    /// The frame's bytes, with the headroom before them.
    fn frame(&mut self, held: &Held) -> Frame<'_>;

    /// Queues a frame for sending; it leaves with the next [`flush`](Self::flush).
    fn send(&mut self, held: Held);

    /// Gives a frame back unsent.
    fn release(&mut self, held: Held);

    /// Hands queued frames to the kernel, collects those it has sent, and offers it free ones to receive into.
    fn flush(&mut self) -> io::Result<()>;

    /// Sleeps until a frame may have come, `wake` is readable, or `timeout` has passed.
    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()>;

    /// What the kernel has counted; zeros where there is no kernel.
    fn statistics(&mut self) -> KernelStatistics;
}

/// Sleeps until one of these is ready, a signal has come, or the time is over.
pub fn sleep_until_ready(sources: &mut [PollFd<'_>], timeout: Duration) -> io::Result<()> {
    match poll(sources, Timespec::try_from(timeout).ok().as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The system's monotonic clock.
fn monotonic() -> Moment {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Moment(now.tv_sec as u64 * SECOND + now.tv_nsec as u64)
}
