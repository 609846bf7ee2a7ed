//! Frames that come in again and again, and go nowhere: for benches of all that lies between.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{HEADROOM, Held, KernelStatistics, PacketIo};
use crate::frame::{Frame, Span};
use crate::moment::Moment;

/// Bytes of a chunk, as with AF_XDP.
const CHUNK: usize = 2_048;

/// Packet memory whose way in never ends and whose way out is never full.
#[derive(Debug)]
pub struct Carousel {
    memory: Vec<u8>,
    free: Vec<u64>,
    frames: Vec<Vec<u8>>,
    next: usize,
    sent: u64,
}

impl Carousel {
    /// Memory for `chunks` frames; `frames`, which fit behind the headroom of a chunk, come in one after the other, and then
    /// from the first one on again.
    pub fn new(chunks: usize, frames: Vec<Vec<u8>>) -> Self {
        debug_assert!(frames.iter().all(|frame| frame.len() <= CHUNK - HEADROOM));
        Self { memory: vec![0; chunks * CHUNK], free: (0..chunks as u64).collect(), frames, next: 0, sent: 0 }
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
            let Some(frame) = self.frames.get(self.next) else { return Ok(()) };
            let Some(chunk) = self.free.pop() else { return Ok(()) };
            let start = chunk as usize * CHUNK + HEADROOM;
            self.memory[start..start + frame.len()].copy_from_slice(frame);
            into.push(Held::new(chunk, Span { start: HEADROOM, len: frame.len() }));
            self.next = if self.next + 1 == self.frames.len() { 0 } else { self.next + 1 };
        }
        Ok(())
    }

    fn now(&mut self) -> Moment {
        super::monotonic()
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        let chunk = self.free.pop()?;
        Some(Held::new(chunk, Span { start: HEADROOM, len }))
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        let start = held.chunk as usize * CHUNK;
        Frame::new(&mut self.memory[start..start + CHUNK], held.span).expect("a held frame lies inside its chunk")
    }

    fn send(&mut self, held: Held) {
        self.sent += 1;
        self.release(held);
    }

    fn release(&mut self, held: Held) {
        self.free.push(held.chunk);
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
        let mut carousel = Carousel::new(3, vec![vec![1; 60], vec![2; 64]]);
        let mut batch = Vec::new();
        carousel.receive(&mut batch, 8).expect("memory");
        let lengths: Vec<usize> = batch.iter().map(Held::packet_len).collect();
        assert_eq!(lengths, [60, 64, 60], "no more than there are chunks");
        let last = batch.pop().expect("three");
        carousel.frame(&last).bytes_mut().fill(9);
        batch.into_iter().for_each(|held| carousel.release(held));
        carousel.send(last);
        let mut batch = Vec::new();
        carousel.receive(&mut batch, 2).expect("memory");
        assert_eq!(carousel.frame(&batch[1]).bytes(), [1; 60], "as it was");
        assert_eq!(carousel.sent(), 1);
    }
}
