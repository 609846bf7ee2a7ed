//! Packet memory that a process shares with the kernel ("UMEM"), cut into chunks of one size.
#![allow(unsafe_code)] // The kernel writes into this memory: only raw pointers can reach it.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::ring::Memory;
use crate::frame::{Frame, Span};
use crate::io::{Held, Names};

/// What XDP keeps free before every received packet, in bytes (`XDP_PACKET_HEADROOM`).
const HEADROOM: u32 = 256;
/// An Ethernet header and one VLAN tag, in bytes.
const LINK_HEADER: u32 = 18;

/// How far before a packet the outer headers begin, in bytes: within the cache line before it.
#[cfg(target_arch = "x86_64")]
const OUTER: usize = 64;

/// The smallest chunk, in bytes, that holds a packet of an interface with this MTU; `None` where no chunk does, as
/// the kernel allows none larger than a page.
pub fn chunk_size(mtu: u32) -> Option<u32> {
    let needed = mtu.checked_add(LINK_HEADER + HEADROOM)?;
    [2048, 4096].into_iter().find(|&chunk| needed <= chunk)
}

/// A mapping of a file, shared with whoever else maps it; unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset`, all pages present from the start.
    pub fn new(file: &OwnedFd, offset: u64, len: usize) -> io::Result<Self> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: without a wish for an address the kernel chooses one that nothing else uses.
        let base = unsafe { mmap(std::ptr::null_mut(), len, access, flags, file, offset) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { base, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` has made this mapping, and all access to it borrows `self`. It fails only for a range that is
        // none.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

// SAFETY: mapped, readable, writable and page-aligned until drop.
unsafe impl Memory for Mapping {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// The packet memory: `frames` chunks, each named by the offset of its first byte.
#[derive(Debug)]
pub struct Umem<M> {
    memory: M,
    /// Each byte has one; that of a chunk is its first byte's.
    names: Names,
    chunk_size: u32,
    frames: u32,
}

impl<M: Memory> Umem<M> {
    /// # Panics
    /// If the memory is smaller than that, or the chunk's size is not a power of two.
    pub fn new(memory: M, chunk_size: u32, frames: u32) -> Self {
        assert!(chunk_size.is_power_of_two(), "a chunk's size is a power of two");
        assert!(bytes(chunk_size, frames) <= memory.len(), "all frames lie inside the packet memory");
        Self { names: Names::new(bytes(chunk_size, frames) as u64), memory, chunk_size, frames }
    }

    /// Size of a chunk in bytes.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// All chunks.
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = u64> + use<M> {
        let size = u64::from(self.chunk_size);
        (0..u64::from(self.frames)).map(move |index| index * size)
    }

    /// How many chunks there are.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// The chunk that an address lies in.
    pub fn chunk_of(&self, address: u64) -> u64 {
        address & !u64::from(self.chunk_size - 1)
    }

    /// Where the packet memory begins and how long it is, in bytes: what the kernel is told of it.
    pub fn region(&self) -> (u64, u64) {
        (self.memory.base().as_ptr() as u64, bytes(self.chunk_size, self.frames) as u64)
    }

    /// Has the processor fetch what a packet at this address begins with, and the bytes that outer headers will be put into:
    /// another core has just written the one, and this one the other long ago.
    pub fn prefetch(&self, address: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let packet = self.memory.base().as_ptr().wrapping_add(address as usize);
            // SAFETY: it reads nothing, and an address that is not mapped is no fault.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(packet.cast());
                _mm_prefetch::<_MM_HINT_T0>(packet.wrapping_sub(OUTER).cast());
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    /// Gives a chunk to the packet path, with a packet at `span`, until it is [given back](Self::give_back).
    ///
    /// # Safety
    /// It is one of [`chunks`](Self::chunks), and nobody else has it until it is given back: neither the kernel, nor a ring from
    /// which it may take it, nor the packet path already, nor another process.
    #[inline]
    pub unsafe fn hold(&self, chunk: u64, span: Span) -> Held {
        debug_assert_eq!(chunk, self.chunk_of(chunk), "a chunk is named by its first byte");
        self.names.hold(chunk, span)
    }

    /// Takes a chunk back.
    ///
    /// # Panics
    /// It is one of another packet memory, which is a defect.
    #[inline]
    pub fn give_back(&self, held: Held) -> u64 {
        self.names.own_chunk_of(&held)
    }

    /// The packet of a chunk that is held, and `None` where it would leave that, or is one of another packet memory.
    #[inline]
    pub fn frame(&mut self, held: &Held) -> Option<Frame<'_>> {
        let chunk = self.names.chunk_of(held)?;
        // SAFETY: only `hold` gives names of this memory, and for chunks alone, which `new` has checked to lie inside it. Who
        // calls `hold` sees to it that nobody else has the chunk. Of one that is held only one view exists at a time, as it
        // borrows `self`.
        let buffer = unsafe {
            std::slice::from_raw_parts_mut(self.memory.base().add(chunk as usize).as_ptr(), self.chunk_size as usize)
        };
        Frame::new(buffer, held.span())
    }
}

/// A file in memory for so many chunks, which a successor can map again.
pub fn create_file(chunk_size: u32, frames: u32) -> io::Result<OwnedFd> {
    let file = memfd_create("pointsman-umem", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, bytes(chunk_size, frames) as u64)?;
    Ok(file)
}

/// Maps a file that [`create_file`] has made, here or in another process.
pub fn map_file(file: &OwnedFd, chunk_size: u32, frames: u32) -> io::Result<Umem<Mapping>> {
    let memory = Mapping::new(file, 0, bytes(chunk_size, frames))?;
    Ok(Umem::new(memory, chunk_size, frames))
}

/// The same of a file that has come from elsewhere: one that is too short would end the process that reads beyond it.
pub fn map_inherited(file: &OwnedFd, chunk_size: u32, frames: u32) -> io::Result<Umem<Mapping>> {
    let size = u64::try_from(fstat(file)?.st_size).unwrap_or(0);
    if !chunk_size.is_power_of_two() || size < bytes(chunk_size, frames) as u64 {
        return Err(io::Error::other(format!("it has {size} bytes, not {frames} frames of {chunk_size}")));
    }
    map_file(file, chunk_size, frames)
}

fn bytes(chunk_size: u32, frames: u32) -> usize {
    chunk_size as usize * frames as usize
}

#[cfg(test)]
mod tests {
    use super::super::plain::Plain;
    use super::*;

    #[test]
    fn takes_the_smallest_chunk_that_holds_a_packet() {
        for (mtu, chunk) in [(1500, Some(2048)), (1774, Some(2048)), (1775, Some(4096)), (3822, Some(4096))] {
            assert_eq!(chunk_size(mtu), chunk, "MTU {mtu}");
        }
        assert_eq!((chunk_size(3823), chunk_size(9000), chunk_size(u32::MAX)), (None, None, None));
    }

    #[test]
    fn knows_the_chunk_of_an_address() {
        let umem = Umem::new(Plain::new(4 * 2048), 2048, 4);
        assert_eq!(umem.chunks().collect::<Vec<_>>(), [0, 2048, 4096, 6144]);
        assert_eq!([0, 256, 2047, 2048, 6144 + 212].map(|address| umem.chunk_of(address)), [0, 0, 0, 2048, 6144]);
    }

    #[test]
    fn views_lie_inside_their_chunk() {
        let mut umem = Umem::new(Plain::new(4 * 2048), 2048, 4);
        let span = Span { start: 256, len: 3 };
        // SAFETY: there is no kernel here, and each is held once.
        let [first, second] = [0, 2048].map(|chunk| unsafe { umem.hold(chunk, span) });
        umem.frame(&second).expect("inside").bytes_mut().copy_from_slice(b"abc");
        assert_eq!(umem.frame(&second).expect("inside").bytes(), b"abc");
        assert_eq!(umem.frame(&first).expect("inside").bytes(), [0; 3]);
        let first = first.moved_to(Span { start: 2046, len: 3 });
        assert!(umem.frame(&first).is_none());
        let mut other = Umem::new(Plain::new(4 * 2048), 2048, 4);
        assert!(other.frame(&second).is_none());
        assert_eq!((umem.give_back(first), umem.give_back(second)), (0, 2048));
    }

    #[test]
    fn a_file_is_seen_by_all_who_map_it() {
        let file = create_file(2048, 2).expect("memory");
        let mut first = map_file(&file, 2048, 2).expect("memory");
        let mut second = map_file(&file, 2048, 2).expect("memory");
        let span = Span { start: 0, len: 4 };
        // SAFETY: there is no kernel here, and `second` does not hold it before it is given back.
        let held = unsafe { first.hold(2048, span) };
        first.frame(&held).expect("inside").bytes_mut().copy_from_slice(b"here");
        first.give_back(held);
        drop(first);
        // SAFETY: nobody else is left.
        let held = unsafe { second.hold(2048, span) };
        assert_eq!(second.frame(&held).expect("inside").bytes(), b"here");
        second.give_back(held);
    }
}
