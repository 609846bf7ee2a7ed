//! Frames that come from and go to plain memory: for tests, benches and simulations.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::{HEADROOM, Held, KernelStatistics, Names, PacketIo, sleep_until_ready};
use crate::frame::{Frame, Span};
use crate::moment::Moment;

/// So long a wait lasts at most.
const LOOK: Duration = Duration::from_millis(1);

/// Packet memory with a way in and a way out.
#[derive(Debug)]
pub struct Memory {
    names: Names,
    chunks: Vec<Vec<u8>>,
    free: Vec<u64>,
    waiting: VecDeque<Vec<u8>>,
    queued: Vec<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    /// How many frames the way out holds until they are taken.
    room: usize,
    held: usize,
    /// None: the system's clock says.
    now: Option<Moment>,
}

impl Memory {
    /// Memory for `chunks` frames, and a way out that holds `room` of them until they are taken.
    pub fn new(chunks: usize, room: usize) -> Self {
        let (waiting, free) = (VecDeque::new(), (0..chunks as u64).collect());
        Self {
            names: Names::new(chunks as u64),
            chunks: vec![Vec::new(); chunks],
            free,
            waiting,
            queued: Vec::new(),
            sent: Vec::new(),
            room,
            held: 0,
            now: Some(Moment::default()),
        }
    }

    /// The same with a clock that goes: for a worker in a thread of its own, which does not sleep before time has passed.
    #[must_use]
    pub fn by_the_clock(self) -> Self {
        Self { now: None, ..self }
    }

    /// Lets a frame come in.
    pub fn push(&mut self, frame: impl Into<Vec<u8>>) {
        self.waiting.push_back(frame.into());
    }

    /// Sets the clock, and stops it.
    pub fn set_now(&mut self, now: Moment) {
        self.now = Some(now);
    }

    /// Takes all frames that have left.
    pub fn take_sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.sent)
    }

    /// How many frames have not come in yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether every frame is free or held by the worker, and none twice.
    pub fn is_whole(&self) -> bool {
        let distinct: std::collections::BTreeSet<_> = self.free.iter().collect();
        distinct.len() == self.free.len() && self.free.len() + self.held == self.chunks.len()
    }
}

impl PacketIo for Memory {
    const TAP: bool = false;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        let room = self.room.saturating_sub(self.queued.len() + self.sent.len() + self.held);
        for _ in 0..most.min(room) {
            if self.free.is_empty() {
                break;
            }
            let Some(frame) = self.waiting.pop_front() else { break };
            let Some(chunk) = self.free.pop() else { break };
            let buffer = &mut self.chunks[chunk as usize];
            buffer.clear();
            buffer.resize(HEADROOM, 0);
            buffer.extend(&frame);
            self.held += 1;
            into.push(self.names.hold(chunk, Span { start: HEADROOM, len: frame.len() }));
        }
        Ok(())
    }

    fn now(&mut self) -> Moment {
        self.now.unwrap_or_else(super::monotonic)
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        let fits = self.queued.len() + self.sent.len() + self.held < self.room;
        let chunk = if fits { self.free.pop()? } else { return None };
        let buffer = &mut self.chunks[chunk as usize];
        buffer.clear();
        buffer.resize(HEADROOM + len, 0);
        self.held += 1;
        Some(self.names.hold(chunk, Span { start: HEADROOM, len }))
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        let chunk = self.names.own_chunk_of(held) as usize;
        Frame::new(&mut self.chunks[chunk], held.span()).expect("a held frame lies inside its chunk")
    }

    fn send(&mut self, held: Held) {
        let bytes = self.frame(&held).bytes().to_vec();
        self.queued.push(bytes);
        self.release(held);
    }

    fn release(&mut self, held: Held) {
        self.free.push(self.names.own_chunk_of(&held));
        self.held -= 1;
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sent.append(&mut self.queued);
        Ok(())
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        // Nothing here tells of a frame, so it is looked for often. In between others have the core, which a thread that
        // only yields has nearly alone.
        sleep_until_ready(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], timeout.min(LOOK))
    }

    fn statistics(&mut self) -> KernelStatistics {
        KernelStatistics::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_in_that_could_not_leave() {
        let mut memory = Memory::new(8, 2);
        (0..5u8).for_each(|i| memory.push([i; 60]));
        let mut batch = Vec::new();
        memory.receive(&mut batch, 8).expect("memory");
        assert_eq!((batch.len(), memory.waiting()), (2, 3));
        batch.drain(..).for_each(|held| memory.send(held));
        memory.flush().expect("memory");
        memory.receive(&mut batch, 8).expect("memory");
        assert!(batch.is_empty(), "the way out is full");
        assert_eq!(memory.take_sent(), [vec![0; 60], vec![1; 60]]);
        memory.receive(&mut batch, 1).expect("memory");
        assert!(batch.len() == 1 && memory.is_whole());
        batch.drain(..).for_each(|held| memory.release(held));
        assert!(memory.is_whole());
    }
}
