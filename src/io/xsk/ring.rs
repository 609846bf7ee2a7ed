//! The rings by which a process and the kernel pass frames to each other: one side produces, the other consumes, and
//! both positions lie in the memory they share.
//!
//! Positions count up for ever and wrap at 2³²; the slot is the position modulo the ring's size, a power of two. A
//! ring object keeps no position of its own but the count of entries not yet published, which is 0 after every
//! [`Producer::publish`]: another process may then map the same memory and go on.
#![allow(unsafe_code)] // The memory is shared with the kernel: only raw pointers and atomics can reach it.

use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::net::xdp::{XdpDesc, XdpRingFlags, XdpRingOffset};

/// Memory that another party may read and write, too.
///
/// # Safety
/// While the value lives, `base` answers with the same address, aligned to 8 bytes, and `len` bytes from there can be
/// read and written.
pub unsafe trait Memory {
    /// The first byte.
    fn base(&self) -> NonNull<u8>;
    /// How many bytes there are.
    fn len(&self) -> usize;
}

/// What a slot of a ring holds.
///
/// # Safety
/// Every bit pattern is a value, and 8 is a multiple of the alignment.
pub unsafe trait Entry: Copy {}

// SAFETY: a plain integer.
unsafe impl Entry for u64 {}
// SAFETY: three plain integers without padding; its flags keep unknown bits.
unsafe impl Entry for XdpDesc {}

/// Where in its memory a ring keeps what, as offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Position of the producing side, a `u32`.
    producer: usize,
    /// Position of the consuming side, a `u32`.
    consumer: usize,
    /// The kernel's wishes, a `u32`.
    flags: usize,
    /// The slots.
    entries: usize,
}

impl Layout {
    /// The kernel's answer to `XDP_MMAP_OFFSETS`; `None` from one too old to ask for being woken (before 5.4).
    pub fn from_kernel(offset: &XdpRingOffset) -> Option<Self> {
        Some(Self {
            producer: offset.producer as usize,
            consumer: offset.consumer as usize,
            flags: offset.flags? as usize,
            entries: offset.desc as usize,
        })
    }

    /// One like the kernel's: the two positions on cache lines of their own.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { producer: 0, consumer: 64, flags: 72, entries: 128 }
    }

    /// How much memory a ring of `size` entries takes, in bytes.
    pub fn bytes<T>(&self, size: u32) -> usize {
        self.entries + size as usize * size_of::<T>()
    }
}

/// What both sides of a ring share.
#[derive(Debug)]
struct Ring<T, M> {
    memory: M,
    layout: Layout,
    /// A power of two.
    size: u32,
    entry: PhantomData<T>,
}

impl<T: Entry, M: Memory> Ring<T, M> {
    fn new(memory: M, layout: Layout, size: u32) -> Self {
        assert!(size.is_power_of_two(), "a ring's size is a power of two");
        assert!(layout.bytes::<T>(size) <= memory.len(), "a ring lies inside its memory");
        for offset in [layout.producer, layout.consumer, layout.flags] {
            assert!(offset.is_multiple_of(4) && offset + 4 <= memory.len(), "a ring's positions lie inside its memory");
        }
        assert!(layout.entries.is_multiple_of(8), "a ring's entries are aligned");
        Self { memory, layout, size, entry: PhantomData }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `new` has checked that the three offsets lie inside the memory and are aligned; the memory lives as
        // long as `self`, and both sides reach these words by atomic access only.
        unsafe { AtomicU32::from_ptr(self.memory.base().add(offset).as_ptr().cast()) }
    }

    fn producer(&self) -> &AtomicU32 {
        self.word(self.layout.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.word(self.layout.consumer)
    }

    fn slot(&self, position: u32) -> NonNull<T> {
        let index = (position & (self.size - 1)) as usize;
        // SAFETY: the index is smaller than the size, and `new` has checked that so many entries lie in the memory.
        unsafe { self.memory.base().add(self.layout.entries).cast::<T>().add(index) }
    }

    /// Entries published and not yet consumed.
    fn filled(&self) -> u32 {
        let producer = self.producer().load(Ordering::Acquire);
        producer.wrapping_sub(self.consumer().load(Ordering::Acquire))
    }

    /// How far both sides have come: the producer's position, then the consumer's.
    fn positions(&self) -> (u32, u32) {
        (self.producer().load(Ordering::Acquire), self.consumer().load(Ordering::Acquire))
    }

    /// Looks at the entries published and not yet consumed, which stay.
    fn look(&self, mut each: impl FnMut(T)) {
        let (producer, consumer) = self.positions();
        for step in 0..producer.wrapping_sub(consumer).min(self.size) {
            // SAFETY: `slot` stays inside the memory, and every bit pattern is an entry. One that the other side consumes
            // meanwhile is not written before this side publishes again.
            each(unsafe { self.slot(consumer.wrapping_add(step)).read() });
        }
    }
}

/// Our side of a ring that the kernel reads: fill and TX.
#[derive(Debug)]
pub struct Producer<T, M> {
    ring: Ring<T, M>,
    /// Entries written after the published position.
    unpublished: u32,
}

impl<T: Entry, M: Memory> Producer<T, M> {
    /// Goes on where the ring in `memory` stands.
    ///
    /// # Panics
    /// If the layout does not fit the memory or `size` is not a power of two.
    ///
    /// # Safety
    /// Of this side of the ring nobody else moves while this may: neither here nor in another process. The other side writes no
    /// slot out of its turn, and reaches the positions by atomic access only.
    pub unsafe fn new(memory: M, layout: Layout, size: u32) -> Self {
        Self { ring: Ring::new(memory, layout, size), unpublished: 0 }
    }

    /// Entries that the other side has not consumed, published or not.
    pub fn len(&self) -> u32 {
        self.ring.filled() + self.unpublished
    }

    /// How many entries may be pushed.
    pub fn room(&self) -> u32 {
        self.ring.size.saturating_sub(self.len())
    }

    /// Writes an entry, to be seen after [`publish`](Self::publish). Answers false, and does nothing, on a full ring.
    #[must_use]
    pub fn push(&mut self, entry: T) -> bool {
        if self.room() == 0 {
            return false;
        }
        let position = self.ring.producer().load(Ordering::Relaxed).wrapping_add(self.unpublished);
        // SAFETY: there is room, so the consumer has left this slot (its position was read with acquire) and does not
        // come back before `publish`; by the word of who called `new`, no other producer writes it.
        unsafe { self.ring.slot(position).write(entry) };
        self.unpublished += 1;
        true
    }

    /// Lets the other side see all that was pushed.
    pub fn publish(&mut self) {
        let position = self.ring.producer().load(Ordering::Relaxed).wrapping_add(self.unpublished);
        self.ring.producer().store(position, Ordering::Release);
        self.unpublished = 0;
    }

    /// How far the other side has come.
    pub fn consumed(&self) -> u32 {
        self.ring.positions().1
    }

    /// How far this side has come, whichever process was on it.
    pub fn published(&self) -> u32 {
        self.ring.positions().0
    }

    /// Looks at what the other side has not consumed, which stays.
    pub fn look(&self, each: impl FnMut(T)) {
        self.ring.look(each);
    }

    /// Whether the kernel waits for a system call before it looks at this ring again.
    pub fn needs_wakeup(&self) -> bool {
        // The kernel raises the flag and looks once more; we publish and look at the flag. With full fences on both
        // sides, one of the two sees the other.
        fence(Ordering::SeqCst);
        let flags = self.ring.word(self.ring.layout.flags).load(Ordering::Relaxed);
        XdpRingFlags::from_bits_retain(flags).contains(XdpRingFlags::XDP_RING_NEED_WAKEUP)
    }
}

/// Our side of a ring that the kernel writes: RX and completion.
#[derive(Debug)]
pub struct Consumer<T, M> {
    ring: Ring<T, M>,
}

impl<T: Entry, M: Memory> Consumer<T, M> {
    /// Goes on where the ring in `memory` stands.
    ///
    /// # Panics
    /// If the layout does not fit the memory or `size` is not a power of two.
    ///
    /// # Safety
    /// Of this side of the ring nobody else moves while this may: neither here nor in another process. The other side writes no
    /// slot out of its turn, and reaches the positions by atomic access only.
    pub unsafe fn new(memory: M, layout: Layout, size: u32) -> Self {
        Self { ring: Ring::new(memory, layout, size) }
    }

    /// How many entries can be taken.
    pub fn len(&self) -> u32 {
        self.ring.filled()
    }

    /// How far the other side has come.
    pub fn produced(&self) -> u32 {
        self.ring.positions().0
    }

    /// How far this side has come, whichever process was on it.
    pub fn taken(&self) -> u32 {
        self.ring.positions().1
    }

    /// Looks at what can be taken, which stays.
    pub fn look(&self, each: impl FnMut(T)) {
        self.ring.look(each);
    }

    /// Takes up to `most` entries, oldest first, and gives their slots back.
    pub fn take(&mut self, most: u32, mut each: impl FnMut(T)) {
        let count = self.len().min(most);
        if count == 0 {
            return;
        }
        let position = self.ring.consumer().load(Ordering::Relaxed);
        for step in 0..count {
            // SAFETY: the producer has published this slot (its position was read with acquire) and does not write it
            // again before the consumer's position has passed it.
            each(unsafe { self.ring.slot(position.wrapping_add(step)).read() });
        }
        self.ring.consumer().store(position.wrapping_add(count), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::plain::Plain;
    use super::*;

    const SIZE: u32 = 4;

    type Shared = Arc<Plain>;

    /// Both ends of a ring that has already turned until `position`.
    fn ring(size: u32, position: u32) -> (Producer<u64, Shared>, Consumer<u64, Shared>, Shared) {
        let memory = Arc::new(Plain::new(Layout::plain().bytes::<u64>(size)));
        let ends = (producer(&memory, size), consumer_of(&memory, size));
        ends.0.ring.producer().store(position, Ordering::Relaxed);
        ends.0.ring.consumer().store(position, Ordering::Relaxed);
        (ends.0, ends.1, memory)
    }

    fn producer(memory: &Shared, size: u32) -> Producer<u64, Shared> {
        // SAFETY: no test moves with two producers of a ring.
        unsafe { Producer::new(memory.clone(), Layout::plain(), size) }
    }

    fn consumer_of(memory: &Shared, size: u32) -> Consumer<u64, Shared> {
        // SAFETY: no test moves with two consumers of a ring.
        unsafe { Consumer::new(memory.clone(), Layout::plain(), size) }
    }

    fn taken(consumer: &mut Consumer<u64, Shared>, most: u32) -> Vec<u64> {
        let mut all = Vec::new();
        consumer.take(most, |entry| all.push(entry));
        all
    }

    #[test]
    fn passes_entries_in_order_once_published() {
        let (mut producer, mut consumer, _) = ring(SIZE, 0);
        assert!(producer.push(7) && producer.push(8));
        assert_eq!((producer.len(), producer.room(), consumer.len()), (2, 2, 0));
        assert!(taken(&mut consumer, 9).is_empty());
        producer.publish();
        assert_eq!(taken(&mut consumer, 1), [7]);
        assert_eq!(taken(&mut consumer, 9), [8]);
        assert_eq!((producer.len(), producer.room(), consumer.len()), (0, 4, 0));
    }

    #[test]
    fn refuses_more_than_it_holds() {
        let (mut producer, mut consumer, _) = ring(SIZE, 0);
        assert!((0..4).all(|entry| producer.push(entry)));
        assert!(!producer.push(4), "full before it is published");
        producer.publish();
        assert!(!producer.push(4), "and after");
        assert_eq!(taken(&mut consumer, 1), [0]);
        assert!(producer.push(4) && !producer.push(5));
        producer.publish();
        assert_eq!(taken(&mut consumer, 9), [1, 2, 3, 4]);
    }

    #[test]
    fn positions_wrap_at_their_highest_value() {
        let (mut producer, mut consumer, _) = ring(SIZE, u32::MAX - 1);
        assert!((0..4).all(|entry| producer.push(entry)));
        assert_eq!((producer.len(), producer.room()), (4, 0));
        producer.publish();
        assert_eq!((producer.len(), consumer.len()), (4, 4));
        assert_eq!(taken(&mut consumer, 3), [0, 1, 2]);
        assert_eq!((producer.room(), consumer.len()), (3, 1));
        assert_eq!(taken(&mut consumer, 3), [3]);
    }

    #[test]
    fn a_successor_goes_on_where_the_ring_stands() {
        let (mut first, consumer, memory) = ring(SIZE, u32::MAX);
        assert!(first.push(1) && first.push(2));
        first.publish();
        drop((first, consumer));
        let mut second = producer(&memory, SIZE);
        assert_eq!(second.len(), 2);
        assert!(second.push(3));
        second.publish();
        let mut consumer = consumer_of(&memory, SIZE);
        assert_eq!(taken(&mut consumer, 9), [1, 2, 3]);
    }

    #[test]
    fn reads_the_wake_up_flag() {
        let (producer, ..) = ring(SIZE, 0);
        assert!(!producer.needs_wakeup());
        let wish = XdpRingFlags::XDP_RING_NEED_WAKEUP.bits();
        producer.ring.word(Layout::plain().flags).store(wish, Ordering::Relaxed);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn nothing_is_lost_between_two_threads() {
        const COUNT: u64 = 20_000;
        let (mut producer, mut consumer, _) = ring(SIZE, u32::MAX - 100);
        let sender = std::thread::spawn(move || {
            for entry in 0..COUNT {
                while !producer.push(entry) {
                    std::thread::yield_now();
                }
                producer.publish();
            }
        });
        let mut expected = 0;
        while expected < COUNT {
            consumer.take(SIZE, |entry| {
                assert_eq!(entry, expected);
                expected += 1;
            });
            std::thread::yield_now();
        }
        sender.join().expect("it only pushes");
    }

    proptest! {
        #[test]
        fn behaves_like_a_bounded_queue(start in any::<u32>(), steps in prop::collection::vec((0u8..3, 0u32..6), 1..200)) {
            let (mut producer, mut consumer, _) = ring(SIZE, start);
            let (mut pushed, mut next, mut published, mut read) = (Vec::new(), 0u64, 0, 0);
            for (step, count) in steps {
                match step {
                    0 => for _ in 0..count {
                        let fits = pushed.len() - read < SIZE as usize;
                        prop_assert_eq!(producer.push(next), fits);
                        if fits {
                            pushed.push(next);
                        }
                        next += 1;
                    },
                    1 => {
                        producer.publish();
                        published = pushed.len();
                    }
                    _ => {
                        let end = published.min(read + count as usize);
                        prop_assert_eq!(taken(&mut consumer, count), &pushed[read..end]);
                        read = end;
                    }
                }
                prop_assert_eq!(producer.len() as usize, pushed.len() - read);
                prop_assert_eq!(consumer.len() as usize, published - read);
            }
        }
    }
}
