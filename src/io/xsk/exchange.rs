//! Which frame is where: the packet memory, the four rings and the list of free frames, without a system call.
//!
//! Every frame is in exactly one place, and only moves along these arrows:
//!
//! ```text
//!  free ─► fill ring ─► (kernel) ─► RX ring ─► held ─► TX ring ─► (kernel) ─► completion ring ─► free
//!                                                └─► free
//! ```
//!
//! So there are never more frames than a fill or completion ring has slots, and as no more are held than the TX ring
//! has room for, none of the rings can overflow by our doing.
#![allow(unsafe_code)] // Only here is it known that nobody else has a frame.

use rustix::net::xdp::{XdpDesc, XdpDescOptions};

use super::ring::{Consumer, Memory, Producer};
use super::umem::Umem;
use crate::frame::{Frame, Span};
use crate::io::{HEADROOM, Held};

/// The most frames kept back for packets of our own making: the parts of one packet.
const LARGEST_RESERVE: usize = 64;
/// The share of all frames that is kept back is one in so many.
const SHARE_OF_RESERVE: usize = 16;

/// Sizes of the rings, in entries, for so many frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Fill and completion ring: every frame could be there.
    pub lend: u32,
    /// RX and TX ring: half of them, as the other half is on its way back.
    pub packets: u32,
}

impl Sizes {
    /// `None` where `frames` is not a power of two, or too few.
    pub fn new(frames: u32) -> Option<Self> {
        (frames.is_power_of_two() && frames >= 2).then_some(Self { lend: frames, packets: frames / 2 })
    }
}

/// The four rings of a socket.
#[derive(Debug)]
pub struct Rings<M> {
    /// Frames the kernel may receive into.
    pub fill: Producer<u64, M>,
    /// Frames it has received.
    pub rx: Consumer<XdpDesc, M>,
    /// Frames it shall send.
    pub tx: Producer<XdpDesc, M>,
    /// Frames it has sent.
    pub completion: Consumer<u64, M>,
}

/// How many frames are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// In the list of free frames.
    pub free: u32,
    /// Offered to the kernel and not yet taken.
    pub fill: u32,
    /// Received and not yet taken.
    pub rx: u32,
    /// In the hands of the packet path.
    pub held: u32,
    /// To be sent and not yet taken by the kernel.
    pub tx: u32,
    /// Sent and not yet collected.
    pub completion: u32,
}

impl Audit {
    /// All frames but those that the kernel has just taken from a ring: the number of frames, when all is quiet in
    /// copy mode. A driver with zero copy keeps frames of the fill ring in its own.
    pub fn total(&self) -> u32 {
        let Self { free, fill, rx, held, tx, completion } = self;
        free + fill + rx + held + tx + completion
    }
}

/// The frames of one socket, and the places they can be in.
#[derive(Debug)]
pub struct Exchange<M> {
    umem: Umem<M>,
    rings: Rings<M>,
    /// The only place that is not in shared memory.
    free: Vec<u64>,
    held: u32,
    /// How many free frames the kernel is not offered, for packets of our own making.
    reserve: usize,
    turn: Turn,
}

/// Which process uses the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// This one.
    Own,
    /// Another: it was left them, when this side had come so far in each.
    AnothersFrom([u32; 4]),
    /// Another: this one has never used them.
    AnothersFromTheFirst,
}

impl<M: Memory> Exchange<M> {
    /// With these frames free; all others are in the rings, or the kernel's.
    ///
    /// # Safety
    /// So it is: each is a chunk of the packet memory, stands there once, and nobody else has it. The rings lead to a kernel that
    /// has been shown this memory.
    pub unsafe fn new(umem: Umem<M>, rings: Rings<M>, free: Vec<u64>) -> Self {
        let reserve = usize::min(LARGEST_RESERVE, umem.chunks().count() / SHARE_OF_RESERVE);
        Self { umem, rings, free, held: 0, reserve, turn: Turn::Own }
    }

    /// Hands over up to `most` received frames, as long as all that are held could be sent.
    pub fn receive(&mut self, into: &mut Vec<Held>, most: usize) {
        if self.turn != Turn::Own {
            return;
        }
        let sendable = self.rings.tx.room().saturating_sub(self.held);
        let most = u32::try_from(most).unwrap_or(u32::MAX).min(sendable);
        let before = into.len();
        let umem = &self.umem;
        self.rings.rx.take(most, |descriptor| {
            umem.prefetch(descriptor.addr);
            let chunk = umem.chunk_of(descriptor.addr);
            let span = Span { start: (descriptor.addr - chunk) as usize, len: descriptor.len as usize };
            // SAFETY: the kernel puts into the RX ring what it has taken out of the fill ring, once, and lets go of it thereby.
            into.push(unsafe { umem.hold(chunk, span) });
        });
        self.held += (into.len() - before) as u32;
    }

    /// Takes a free frame for a packet of `len` bytes, as long as it could be sent.
    pub fn allocate(&mut self, len: usize) -> Option<Held> {
        let fits = HEADROOM + len <= self.umem.chunk_size() as usize
            && self.turn == Turn::Own
            && self.rings.tx.room() > self.held;
        let chunk = if fits { self.free.pop()? } else { return None };
        self.held += 1;
        // SAFETY: what is free is a chunk, and in no other place (see above).
        Some(unsafe { self.umem.hold(chunk, Span { start: HEADROOM, len }) })
    }

    /// The packet of a held frame, in its whole chunk.
    pub fn frame(&mut self, held: &Held) -> Frame<'_> {
        // The kernel writes no descriptor that leaves a chunk, and the packet path gets its spans from `Frame`.
        self.umem.frame(held).expect("a packet lies inside its chunk, and that in its packet memory")
    }

    /// Puts a held frame into the TX ring; the kernel sees it after [`publish`](Self::publish).
    pub fn send(&mut self, held: Held) {
        let Span { start, len } = held.span();
        let chunk = self.umem.give_back(held);
        let descriptor = XdpDesc { addr: chunk + start as u64, len: len as u32, options: XdpDescOptions::empty() };
        // The kernel counts an empty packet as invalid and never gives its frame back.
        if len == 0 || !self.rings.tx.push(descriptor) {
            self.free.push(chunk);
        }
        self.held -= 1;
    }

    /// Gives a held frame back unsent.
    pub fn release(&mut self, held: Held) {
        self.free.push(self.umem.give_back(held));
        self.held -= 1;
    }

    /// Shows the kernel what [`send`](Self::send) has queued.
    pub fn publish(&mut self) {
        if self.turn != Turn::Own {
            return;
        }
        self.rings.tx.publish();
    }

    /// Collects the frames that the kernel has sent, and offers it all that are free but a few for packets of our own.
    pub fn recycle(&mut self) {
        if self.turn != Turn::Own {
            return;
        }
        let Self { umem, rings, free, .. } = self;
        rings.completion.take(u32::MAX, |address| free.push(umem.chunk_of(address)));
        while free.len() > self.reserve
            && let Some(chunk) = free.pop()
        {
            if !rings.fill.push(chunk) {
                free.push(chunk);
                break;
            }
        }
        rings.fill.publish();
    }

    /// Frames in the TX ring that the kernel has not taken.
    pub fn unsent(&self) -> u32 {
        self.rings.tx.len()
    }

    /// Whether something is to be done soon of which no packet will tell: frames to be sent once more, or frames to be
    /// collected before any packet can come.
    pub fn is_short(&self) -> bool {
        self.unsent() > 0 || self.rings.fill.len() == 0
    }

    /// Whether the kernel must be called to go on sending.
    pub fn tx_needs_wakeup(&self) -> bool {
        self.unsent() > 0 && self.rings.tx.needs_wakeup()
    }

    /// Whether the kernel must be called to go on receiving.
    pub fn rx_needs_wakeup(&self) -> bool {
        self.rings.fill.needs_wakeup()
    }

    /// Counts the frames.
    pub fn audit(&self) -> Audit {
        Audit {
            free: self.free.len() as u32,
            fill: self.rings.fill.len(),
            rx: self.rings.rx.len(),
            held: self.held,
            tx: self.rings.tx.len(),
            completion: self.rings.completion.len(),
        }
    }
}

mod inherited;
#[cfg(test)]
mod tests;
