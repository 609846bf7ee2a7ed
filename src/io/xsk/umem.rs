//! Packet memory that a process shares with the kernel ("UMEM"), cut into chunks of one size.
#![allow(unsafe_code)] // The kernel writes into this memory: only raw pointers can reach it.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::ring::Memory;
use crate::frame::{Frame, Span};

/// What XDP keeps free before every received packet, in bytes (`XDP_PACKET_HEADROOM`).
const HEADROOM: u32 = 256;
/// An Ethernet header and one VLAN tag, in bytes.
const LINK_HEADER: u32 = 18;

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
    chunk_size: u32,
    frames: u32,
}

impl<M: Memory> Umem<M> {
    /// # Panics
    /// If the memory is smaller than that, or the chunk's size is not a power of two.
    pub fn new(memory: M, chunk_size: u32, frames: u32) -> Self {
        assert!(chunk_size.is_power_of_two(), "a chunk's size is a power of two");
        assert!(bytes(chunk_size, frames) <= memory.len(), "all frames lie inside the packet memory");
        Self { memory, chunk_size, frames }
    }

    /// How many chunks there are.
    pub fn frames(&self) -> u32 {
        self.frames
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

    /// The chunk that an address lies in.
    pub fn chunk_of(&self, address: u64) -> u64 {
        address & !u64::from(self.chunk_size - 1)
    }

    /// Where the packet memory begins and how long it is, in bytes: what the kernel is told of it.
    pub fn region(&self) -> (u64, u64) {
        (self.memory.base().as_ptr() as u64, bytes(self.chunk_size, self.frames) as u64)
    }

    /// The packet at `span` of a chunk, and `None` where there is no such chunk or the packet would leave it.
    pub fn frame(&mut self, chunk: u64, span: Span) -> Option<Frame<'_>> {
        let size = u64::from(self.chunk_size);
        if chunk % size != 0 || chunk / size >= u64::from(self.frames) {
            return None;
        }
        // SAFETY: `new` has checked that this chunk lies inside the memory. Only one view exists at a time, as it
        // borrows `self`, and the kernel keeps off a chunk that is held (see `exchange`).
        let buffer = unsafe {
            std::slice::from_raw_parts_mut(self.memory.base().add(chunk as usize).as_ptr(), self.chunk_size as usize)
        };
        Frame::new(buffer, span)
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

fn bytes(chunk_size: u32, frames: u32) -> usize {
    chunk_size as usize * frames as usize
}
