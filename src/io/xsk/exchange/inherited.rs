//! Frames that another process knows about: it says which are free, or has died, and then the rings tell.
//!
//! While it is another process's turn, this one has no free frame, holds none, and moves in no ring.

use super::{Exchange, Rings, Turn};
use crate::io::xsk::ring::Memory;
use crate::io::xsk::umem::Umem;

impl<M: Memory> Exchange<M> {
    /// What another process uses, until that is [taken over](Self::take_over).
    pub fn inherited(umem: Umem<M>, rings: Rings<M>) -> Self {
        // SAFETY: none is free, and before `take_over` no ring is moved in.
        Self { turn: Turn::AnothersFromTheFirst, ..unsafe { Self::new(umem, rings, Vec::new()) } }
    }

    /// Leaves the rings to another process, which is told the free frames: the only ones that no ring and no kernel has.
    ///
    /// # Panics
    /// A frame is held.
    pub fn leave(&mut self) -> &[u64] {
        assert_eq!(self.held, 0, "a queue is left between two batches");
        self.turn = Turn::AnothersFrom(self.position());
        &self.free
    }

    /// How many frames there are, and how many bytes each has.
    pub fn memory(&self) -> (u32, u32) {
        (self.umem.frames(), self.umem.chunk_size())
    }

    /// Takes over the free frames that a predecessor has left. Answers false, and takes none, where they are not what they
    /// can be: chunks of this memory, each once, and none of them in a ring.
    ///
    /// # Safety
    /// The predecessor has left the rings, with these frames free, and does not go on with them.
    #[must_use]
    pub unsafe fn take_over(&mut self, free: Vec<u64>) -> bool {
        let mut is_elsewhere = self.marked();
        for chunk in &free {
            let index = chunk / u64::from(self.umem.chunk_size());
            match is_elsewhere.get_mut(index as usize) {
                Some(mark) if !*mark && self.umem.chunk_of(*chunk) == *chunk => *mark = true,
                _ => return false,
            }
        }
        (self.free, self.turn) = (free, Turn::Own);
        true
    }

    /// Finds the free frames where whoever was left these rings has died: those that were free, if it has not touched a ring;
    /// else all that are in none of them. Answers false, and changes nothing, while the kernel has some in its own hands,
    /// which nobody can tell from free ones. With zero copy it always has: the driver keeps what it is to receive into.
    ///
    /// # Safety
    /// No other process uses the rings any more, and no frame is held here.
    #[must_use]
    pub unsafe fn recover(&mut self) -> bool {
        if self.turn == Turn::AnothersFrom(self.position()) {
            self.turn = Turn::Own;
            return true;
        }
        let before = self.kernel_position();
        if self.in_kernel() != (0, 0) {
            return false;
        }
        let marked = self.marked();
        // What it has moved meanwhile may have been seen in no ring.
        if self.kernel_position() != before {
            return false;
        }
        let free = self.umem.chunks().zip(marked).filter(|(_, is_elsewhere)| !is_elsewhere);
        self.free = free.map(|(chunk, _)| chunk).collect();
        (self.held, self.turn) = (0, Turn::Own);
        true
    }

    /// Goes on where [`recover`](Self::recover) cannot: with all frames but those that the dead process had free or held. They
    /// cannot be told from those in the kernel's hands, which come back by the rings. Answers how many are given up; none, and
    /// nothing is changed, where fewer than half of all would be left.
    ///
    /// # Safety
    /// That of [`recover`](Self::recover).
    pub unsafe fn recover_most(&mut self) -> Option<u32> {
        let (receiving, sending) = self.in_kernel();
        let audit = self.audit();
        // The kernel moves on between two looks, so that a part may be a little less than none; the sum is right.
        let parts = [audit.fill, audit.rx, audit.tx, audit.completion, receiving, sending];
        let known = parts.into_iter().fold(0, u32::wrapping_add);
        let given_up = self.umem.frames().saturating_sub(known);
        if given_up > self.umem.frames() / 2 {
            return None;
        }
        self.free.clear();
        (self.held, self.turn) = (0, Turn::Own);
        Some(given_up)
    }

    /// How many frames the kernel has taken from the rings and not given back, to receive into and to be sent.
    fn in_kernel(&self) -> (u32, u32) {
        let Rings { fill, rx, tx, completion } = &self.rings;
        (fill.consumed().wrapping_sub(rx.produced()), tx.consumed().wrapping_sub(completion.produced()))
    }

    /// How far the kernel has come in each ring.
    fn kernel_position(&self) -> [u32; 4] {
        let Rings { fill, rx, tx, completion } = &self.rings;
        [fill.consumed(), rx.produced(), tx.consumed(), completion.produced()]
    }

    /// How far this side has come in each ring, whichever process was on it.
    fn position(&self) -> [u32; 4] {
        let Rings { fill, rx, tx, completion } = &self.rings;
        [fill.published(), rx.taken(), tx.published(), completion.taken()]
    }

    /// By chunk, whether it is in a ring.
    fn marked(&self) -> Vec<bool> {
        let (umem, rings) = (&self.umem, &self.rings);
        let mut marked = vec![false; umem.frames() as usize];
        let mut mark = |address: u64| {
            if let Some(mark) = marked.get_mut((address / u64::from(umem.chunk_size())) as usize) {
                *mark = true;
            }
        };
        rings.fill.look(&mut mark);
        rings.completion.look(&mut mark);
        rings.rx.look(|descriptor| mark(descriptor.addr));
        rings.tx.look(|descriptor| mark(descriptor.addr));
        marked
    }
}
