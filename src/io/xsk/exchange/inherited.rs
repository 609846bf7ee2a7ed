//! Frames that another process knows about: it says which are free, or has died, and then the rings tell.

use super::Exchange;
use crate::io::xsk::ring::Memory;

impl<M: Memory> Exchange<M> {
    /// The free frames: the only ones that no ring and no kernel has.
    pub fn free(&self) -> &[u64] {
        &self.free
    }

    /// How many frames there are, and how many bytes each has.
    pub fn memory(&self) -> (u32, u32) {
        (self.umem.frames(), self.umem.chunk_size())
    }

    /// Takes over the free frames that a predecessor has left. Answers false, and takes none, where they are not what they
    /// can be: chunks of this memory, each once, and none of them in a ring.
    #[must_use]
    pub fn take_over(&mut self, free: Vec<u64>) -> bool {
        let mut is_elsewhere = self.marked();
        for chunk in &free {
            let index = chunk / u64::from(self.umem.chunk_size());
            match is_elsewhere.get_mut(index as usize) {
                Some(mark) if !*mark && self.umem.chunk_of(*chunk) == *chunk => *mark = true,
                _ => return false,
            }
        }
        self.free = free;
        true
    }

    /// Finds the free frames where whoever used these rings has died: all that are in none of them. Answers false, and
    /// changes nothing, while the kernel has some in its own hands, which nobody can tell from free ones.
    #[must_use]
    pub fn recover(&mut self) -> bool {
        let receiving = self.rings.fill.consumed().wrapping_sub(self.rings.rx.produced());
        let sending = self.rings.tx.consumed().wrapping_sub(self.rings.completion.produced());
        if (receiving, sending) != (0, 0) {
            return false;
        }
        let marked = self.marked();
        let free = self.umem.chunks().zip(marked).filter(|(_, is_elsewhere)| !is_elsewhere);
        self.free = free.map(|(chunk, _)| chunk).collect();
        self.held = 0;
        true
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
