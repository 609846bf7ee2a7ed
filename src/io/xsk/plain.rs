//! Plain memory in the place of the kernel's, for tests.
#![allow(unsafe_code)] // It stands for memory that both sides write.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;

use super::ring::Memory;

/// Zeroed memory on the heap, for both sides of a ring at once.
#[derive(Debug)]
pub struct Plain(Box<[UnsafeCell<u64>]>);

// SAFETY: it is only reached by `Memory::base`, and whoever does that keeps the rings' rules.
unsafe impl Sync for Plain {}

impl Plain {
    /// At least `len` bytes.
    pub fn new(len: usize) -> Self {
        Self((0..len.div_ceil(8)).map(|_| UnsafeCell::new(0)).collect())
    }
}

// SAFETY: a box stays where it is, is aligned like its integers, and its cells may be written through a shared
// reference.
unsafe impl Memory for Plain {
    fn base(&self) -> NonNull<u8> {
        NonNull::from(&*self.0).cast()
    }

    fn len(&self) -> usize {
        self.0.len() * 8
    }
}

// SAFETY: as above; an `Arc` does not move what it holds.
unsafe impl Memory for Arc<Plain> {
    fn base(&self) -> NonNull<u8> {
        (**self).base()
    }

    fn len(&self) -> usize {
        (**self).len()
    }
}
