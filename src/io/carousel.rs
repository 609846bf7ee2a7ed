//! Frames that come in again and again, and go nowhere: for benches of all that lies between.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{HEADROOM, Held, KernelStatistics, Names, PacketIo};
use crate::frame::{Frame, Span};
use crate::moment::Moment;

/// Bytes of a chunk, as with AF_XDP.
const CHUNK: usize = 2_048;

/// The bytes of a frame that a driver of memory alone has to write, since forwarding may have changed them, and since frames
/// differ in no others: a cache line. What lies behind them stays in its chunk.
const HEAD: usize = 64;

/// Packet memory whose way in never ends and whose way out is never full.
#[derive(Debug)]
pub struct Carousel {
    names: Names,
    memory: Vec<u8>,
    free: Vec<u64>,
    heads: Vec<[u8; HEAD]>,
    frame_len: usize,
    next: usize,
    sent: u64,
}

impl Carousel {
    /// Memory for `chunks` frames; `frames` come in one after the other, and then from the first one on again. All are as
    /// long as the first, which fits behind the headroom of a chunk, and are like it behind their first 64 bytes.
    pub fn new(chunks: usize, frames: &[Vec<u8>]) -> Self {
        let first = frames.first().map_or(&[][..], |frame| frame);
        let tail = |frame: &[u8]| frame.get(HEAD..).map(<[u8]>::to_vec);
        debug_assert!(first.len() <= CHUNK - HEADROOM);
        debug_assert!(frames.iter().all(|frame| frame.len() == first.len() && tail(frame) == tail(first)));
        let mut memory = vec![0; chunks * CHUNK];
        for chunk in memory.chunks_exact_mut(CHUNK) {
            chunk[HEADROOM..HEADROOM + first.len()].copy_from_slice(first);
        }
        let head = |frame: &Vec<u8>| std::array::from_fn(|at| frame.get(at).copied().unwrap_or_default());
        let (free, heads) = ((0..chunks as u64).collect(), frames.iter().map(head).collect());
        Self { names: Names::new(chunks as u64), memory, free, heads, frame_len: first.len(), next: 0, sent: 0 }
    }

    /// How many frames have left.
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

impl PacketIo for Carousel {
    const TAP: bool = false;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        for _ in 0..most {
            let Some(head) = self.heads.get(self.next) else { return Ok(()) };
            let Some(chunk) = self.free.pop() else { return Ok(()) };
            let start = chunk as usize * CHUNK + HEADROOM;
            if let Some(into) = self.memory[start..].first_chunk_mut() {
                *into = *head;
            }
            into.push(self.names.hold(chunk, Span { start: HEADROOM, len: self.frame_len }));
            self.next = if self.next + 1 == self.heads.len() { 0 } else { self.next + 1 };
        }
        Ok(())
    }

    fn now(&mut self) -> Moment {
        super::monotonic()
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        let chunk = self.free.pop()?;
        Some(self.names.hold(chunk, Span { start: HEADROOM, len }))
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        let start = self.names.own_chunk_of(held) as usize * CHUNK;
        Frame::new(&mut self.memory[start..start + CHUNK], held.span()).expect("a held frame lies inside its chunk")
    }

    fn send(&mut self, held: Held) {
        self.release(held);
        self.sent += 1;
    }

    fn release(&mut self, held: Held) {
        self.free.push(self.names.own_chunk_of(&held));
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, _wake: BorrowedFd<'_>, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }

    fn statistics(&mut self) -> KernelStatistics {
        KernelStatistics::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_frames_come_again() {
        let (one, other) = (vec![7; 100], [vec![2; HEAD], vec![7; 36]].concat());
        let mut carousel = Carousel::new(3, &[one.clone(), other.clone()]);
        let mut batch = Vec::new();
        carousel.receive(&mut batch, 8).expect("memory");
        assert_eq!(batch.len(), 3, "no more than there are chunks");
        let frames: Vec<Vec<u8>> = batch.iter().map(|held| carousel.frame(held).bytes().to_vec()).collect();
        assert_eq!(frames, [one.clone(), other.clone(), one.clone()]);
        let last = batch.pop().expect("three");
        carousel.frame(&last).bytes_mut()[..HEAD].fill(9);
        batch.into_iter().for_each(|held| carousel.release(held));
        carousel.send(last);
        let mut batch = Vec::new();
        carousel.receive(&mut batch, 2).expect("memory");
        assert_eq!(carousel.frame(&batch[0]).bytes(), other, "as it was");
        assert_eq!(carousel.sent(), 1);
    }
}
