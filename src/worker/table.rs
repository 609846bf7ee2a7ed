//! Memory for tracked flows that outlasts a process: its successor goes on with them where they lie, however many there are.
//!
//! Only one process looks at them at a time. A process that may not look has their [address](Shared) alone, and no reference:
//! what another process writes is not for a reference to see.
#![allow(unsafe_code)] // Mapping a file, and reading what another process has left there, has no safe wrapper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

use super::Kit;
use crate::forward::track::Bucket;
use crate::forward::track::table::buckets_for;

/// The file's size is fixed, so that no mapping of it loses its pages.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// The file in which a worker's tracked flows lie.
#[derive(Debug)]
pub struct TableFile(OwnedFd);

/// Where tracked flows lie that another process may use: nobody here looks at them. Mapped for as long as this process lives.
#[derive(Debug)]
pub struct Shared {
    base: NonNull<Bucket>,
    buckets: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and whoever has this is the only one here who has its address.
unsafe impl Send for Shared {}

/// Where tracked flows lie that nobody else uses.
#[derive(Debug)]
pub struct Content(Shared);

impl TableFile {
    /// A file in memory, with room for so many flows and none in it.
    pub fn new(flows: usize) -> io::Result<(Self, Content)> {
        let buckets = buckets_for(flows);
        let file = memfd_create("pointsman-flows", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, bytes(buckets) as u64)?;
        fcntl_add_seals(&file, SEALS)?;
        // Nobody else has the file, and who gets it later looks when this process has stopped.
        let content = Content(map(&file, buckets)?);
        Ok((Self(file), content))
    }

    /// A file that another process has made, and may still use. None where it is not what this one would have made for so many
    /// flows.
    pub fn inherit(file: OwnedFd, flows: usize) -> io::Result<Option<(Self, Shared)>> {
        let buckets = buckets_for(flows);
        let size = u64::try_from(fstat(&file)?.st_size).unwrap_or_default();
        if size != bytes(buckets) as u64 || !fcntl_get_seals(&file)?.contains(SEALS) {
            return Ok(None);
        }
        let shared = map(&file, buckets)?;
        Ok(Some((Self(file), shared)))
    }
}

impl AsFd for TableFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Shared {
    /// What this process looks at no more.
    pub fn of(buckets: &'static mut [Bucket]) -> Self {
        Self { buckets: buckets.len(), base: NonNull::from(buckets).cast() }
    }

    /// Has all pages present, new ones near the core of the calling thread, whoever uses them.
    pub fn make_present(&self) {
        // SAFETY: the range is one mapping of that length, and its content stays as it is.
        let present = unsafe { madvise(self.base.as_ptr().cast(), bytes(self.buckets), Advice::LinuxPopulateWrite) };
        // An older kernel makes each present when it is first looked at.
        _ = present;
    }

    /// Takes it for this process.
    ///
    /// # Safety
    /// From now on no other process reads or writes it, until what is made of it here has become a [`Shared`] again: the process
    /// that used it has told that it has stopped, or is gone.
    pub unsafe fn take(self) -> Content {
        Content(self)
    }
}

impl Content {
    /// The buckets, with all pages present, new ones near the core of the calling thread.
    pub fn look(self) -> &'static mut [Bucket] {
        self.0.make_present();
        self.buckets()
    }

    fn buckets(self) -> &'static mut [Bucket] {
        let Self(Shared { base, buckets }) = self;
        // SAFETY: `base` is aligned to a page and has so many buckets, which stay: nobody unmaps them, and the file is sealed
        // against shrinking. Any bits are buckets. No other reference to them exists: the `Shared` is used up, and was the only
        // way to them; and no other process uses them, which whoever has made a `Content` has seen to.
        unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), buckets) }
    }
}

fn map(file: &OwnedFd, buckets: usize) -> io::Result<Shared> {
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: without a wish for an address the kernel chooses one that nothing else uses.
    let base = unsafe { mmap(std::ptr::null_mut(), bytes(buckets), access, flags, file, 0) }?;
    let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Shared { base, buckets })
}

impl Kit {
    /// Leaves its tracked flows where they lie, to another process: this one has none from now on, and only their address.
    /// Answers how many there are.
    pub fn leave_tracked(&mut self) -> usize {
        let tracked = self.flows.tracked();
        let flows = tracked.len();
        if let Some(buckets) = tracked.leave() {
            self.left = Some(Shared::of(buckets));
        }
        flows
    }

    /// Goes on with so many tracked flows of another process where they lie. They count for their endpoints when that process
    /// tells how many each had.
    ///
    /// # Safety
    /// That of [`Shared::take`]: the other process uses them no more.
    pub unsafe fn go_on_with_tracked(&mut self, shared: Shared, flows: usize) {
        // SAFETY: that is the caller's word, too.
        let content = unsafe { shared.take() };
        self.flows.tracked().go_on_in(content.buckets(), flows);
    }

    /// Takes back what it may have [left](Self::leave_tracked), and finds out anew which flows are tracked.
    ///
    /// # Safety
    /// Whoever it was left to is gone.
    pub unsafe fn take_back_tracked(&mut self) {
        if let Some(left) = self.left.take() {
            // SAFETY: a process that is gone uses nothing; that it is, is the caller's word.
            let content = unsafe { left.take() };
            self.flows.tracked().go_on_in(content.buckets(), 0);
        }
        self.count_tracked_anew();
    }
}

fn bytes(buckets: usize) -> usize {
    buckets * size_of::<Bucket>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowHash;
    use crate::forward::track::{Sign, Tracked};
    use crate::moment::Moment;

    #[test]
    fn flows_stay_where_they_lie() {
        let (file, content) = TableFile::new(1_000).expect("memory");
        let mut first = Tracked::over(content.look(), 600);
        assert_eq!((first.capacity(), first.is_empty()), (1_024, true));
        for n in 0..100 {
            first.insert(FlowHash(n * 0x0101_0101_0101), n as u32, Sign::Opens, Moment(0));
        }
        let inherited =
            |flows| TableFile::inherit(file.as_fd().try_clone_to_owned().expect("a file"), flows).expect("a file");
        assert!(inherited(4_096).is_none(), "another size");
        let (_, shared) = inherited(900).expect("the same size");
        shared.make_present();
        let flows = first.len();
        let left = Shared::of(first.leave().expect("its memory is lent"));
        assert!(first.is_empty() && first.leave().is_none(), "it has nothing more");
        first.insert(FlowHash(7), 7, Sign::Opens, Moment(0));
        let mut second = Tracked::new(64, 600);
        // SAFETY: the first has left it.
        second.go_on_in(unsafe { shared.take() }.look(), flows);
        let found = (0..100).filter_map(|n| second.peek(FlowHash(n * 0x0101_0101_0101), Moment(0)));
        assert_eq!((flows, found.collect::<Vec<_>>()), (100, (0..100).collect()));
        second.insert(FlowHash(u64::MAX), 5, Sign::Opens, Moment(0));
        drop(second);
        // SAFETY: the second is gone.
        first.go_on_in(unsafe { left.take() }.look(), 0);
        first.count_anew(|_| ());
        assert_eq!((first.len(), first.peek(FlowHash(u64::MAX), Moment(0))), (101, Some(5)));
    }

    #[test]
    fn a_file_that_could_shrink_is_refused() {
        let file = memfd_create("pointsman-test", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&file, 1_024 * 16).expect("memory");
        assert!(TableFile::inherit(file, 1_024).expect("a file").is_none());
    }
}
