//! Memory for tracked flows that outlasts a process: its successor goes on with them where they lie, however many there are.
#![allow(unsafe_code)] // Mapping a file, and reading what another process has left there, has no safe wrapper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

use crate::forward::track::Bucket;
use crate::forward::track::table::buckets_for;

/// The file's size is fixed, so that no mapping of it loses its pages.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// The file in which a worker's tracked flows lie.
#[derive(Debug)]
pub struct TableFile(OwnedFd);

/// What lies in it, before anybody here looks at it. Mapped for as long as this process lives.
#[derive(Debug)]
pub struct Content(&'static mut [Bucket]);

impl TableFile {
    /// A file in memory, with room for so many flows and none in it.
    pub fn new(flows: usize) -> io::Result<(Self, Content)> {
        let buckets = buckets_for(flows);
        let file = memfd_create("pointsman-flows", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, bytes(buckets) as u64)?;
        fcntl_add_seals(&file, SEALS)?;
        let content = map(&file, buckets)?;
        Ok((Self(file), content))
    }

    /// A file that another process has made. None where it is not what this one would have made for so many flows.
    pub fn inherit(file: OwnedFd, flows: usize) -> io::Result<Option<(Self, Content)>> {
        let buckets = buckets_for(flows);
        let size = u64::try_from(fstat(&file)?.st_size).unwrap_or_default();
        if size != bytes(buckets) as u64 || !fcntl_get_seals(&file)?.contains(SEALS) {
            return Ok(None);
        }
        let content = map(&file, buckets)?;
        Ok(Some((Self(file), content)))
    }
}

impl AsFd for TableFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Content {
    /// The buckets, with all pages present, new ones near the core of the calling thread. Where another process uses them, it
    /// has to have stopped before anybody looks, and nobody looks when another has gone on with them.
    pub fn look(self) -> &'static mut [Bucket] {
        let Self(buckets) = self;
        let len = size_of_val(buckets);
        // SAFETY: the range is one mapping of that length, and its content stays as it is.
        let present = unsafe { madvise(buckets.as_mut_ptr().cast(), len, Advice::LinuxPopulateWrite) };
        // An older kernel makes each present when it is first looked at.
        _ = present;
        buckets
    }
}

fn map(file: &OwnedFd, buckets: usize) -> io::Result<Content> {
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: without a wish for an address the kernel chooses one that nothing else uses.
    let base = unsafe { mmap(std::ptr::null_mut(), bytes(buckets), access, flags, file, 0) }?;
    // SAFETY: `base` is aligned to a page, and has so many bytes, which stay: nobody unmaps them, and the file is sealed
    // against shrinking. Any bits are buckets. No other reference to these addresses exists, and of several processes that map
    // the file only one looks at it at a time (see `Content::look`).
    Ok(Content(unsafe { std::slice::from_raw_parts_mut(base.cast::<Bucket>(), buckets) }))
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
        let (_, content) = inherited(900).expect("the same size");
        let flows = first.len();
        drop(first);
        let mut second = Tracked::over(content.look(), 600);
        second.go_on_with(flows);
        let found = (0..100).filter_map(|n| second.peek(FlowHash(n * 0x0101_0101_0101), Moment(0)));
        assert_eq!((flows, found.collect::<Vec<_>>()), (100, (0..100).collect()));
    }

    #[test]
    fn a_file_that_could_shrink_is_refused() {
        let file = memfd_create("pointsman-test", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&file, 1_024 * 16).expect("memory");
        assert!(TableFile::inherit(file, 1_024).expect("a file").is_none());
    }
}
