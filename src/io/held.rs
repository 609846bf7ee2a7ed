//! Frames that a worker has, each tied to the packet memory that it came from.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::Span;

/// The right to one frame of a [`PacketIo`](super::PacketIo)'s packet memory.
///
/// It can be neither copied nor made up outside this room: every frame received is given back exactly once, by
/// [`PacketIo::send`](super::PacketIo::send) or [`PacketIo::release`](super::PacketIo::release), to the memory that it is of.
/// No other memory takes it.
#[must_use = "a frame that is neither sent nor released is lost"]
#[derive(Debug)]
pub struct Held {
    /// Which chunk of which packet memory.
    name: u64,
    span: Span,
}

impl Held {
    /// Length of the packet in it, in bytes.
    pub fn packet_len(&self) -> usize {
        self.span.len
    }

    /// Where the packet lies in its chunk.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// The same frame, its packet now at `span` of its chunk.
    pub fn moved_to(self, span: Span) -> Self {
        Self { span, ..self }
    }
}

/// The names of one packet memory's chunks: no other memory of this process has one of them, or ever had. So one comparison
/// says both that a chunk lies inside its memory and that it is this memory's.
#[derive(Debug)]
pub(super) struct Names {
    first: u64,
    count: u64,
}

/// The next name. There are more than any process can use up.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Names {
    /// For a memory whose chunks are known by numbers below `count`.
    pub fn new(count: u64) -> Self {
        Self { first: NEXT.fetch_add(count, Ordering::Relaxed), count }
    }

    /// Gives the frame of a chunk of this memory to the worker.
    #[inline]
    pub fn hold(&self, chunk: u64, span: Span) -> Held {
        debug_assert!(chunk < self.count, "a chunk lies inside its memory");
        Held { name: self.first.wrapping_add(chunk), span }
    }

    /// The chunk of a frame; none for a frame of another memory.
    #[inline]
    pub fn chunk_of(&self, held: &Held) -> Option<u64> {
        let chunk = held.name.wrapping_sub(self.first);
        (chunk < self.count).then_some(chunk)
    }

    /// The same where only a defect can have brought the frame of another memory here.
    ///
    /// # Panics
    /// It is of another memory.
    #[inline]
    pub fn own_chunk_of(&self, held: &Held) -> u64 {
        self.chunk_of(held).expect("a frame goes back to the packet memory that it came from")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::PacketIo;
    use crate::io::carousel::Carousel;
    use crate::io::memory::Memory;

    #[test]
    fn no_memory_knows_the_frames_of_another() {
        let (one, other) = (Names::new(4), Names::new(4));
        let span = Span { start: 3, len: 5 };
        for chunk in 0..4 {
            let held = one.hold(chunk, span);
            assert_eq!((one.chunk_of(&held), other.chunk_of(&held), held.span()), (Some(chunk), None, span));
            let held = other.hold(chunk, span).moved_to(Span { start: 4, ..span });
            assert_eq!((one.chunk_of(&held), other.chunk_of(&held), held.span().start), (None, Some(chunk), 4));
        }
    }

    fn is_refused(work: impl FnOnce()) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err()
    }

    fn refuses_what_is_of(mut one: impl PacketIo, mut other: impl PacketIo) {
        let [first, second, third] = [(); 3].map(|()| one.allocate(60).expect("there is room"));
        assert!(is_refused(|| _ = other.frame(&first)));
        assert!(is_refused(|| other.release(first)));
        assert!(is_refused(|| other.send(second)));
        assert_eq!(one.frame(&third).bytes().len(), 60);
        one.release(third);
    }

    #[test]
    fn a_source_refuses_the_frames_of_another() {
        refuses_what_is_of(Memory::new(4, 4), Memory::new(4, 4));
        let carousel = || Carousel::new(4, &[vec![0; 60]]);
        refuses_what_is_of(carousel(), carousel());
        refuses_what_is_of(Memory::new(4, 4), carousel());
    }
}
