//! From a worker to its successor, directly: both are pinned to one core, so one change of threads is all that lies between the
//! last batch of the one and the first of the other. A worker that stops looks here whether somebody waits for what it had.
#![allow(unsafe_code, reason = "only here is it known that a worker of another process has left its tracked flows")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TAKE_LIMIT;
use crate::forward::track::stored::PIECE;
use crate::moment::Moment;
use crate::upgrade::{Told, ToldFlows, Worker};
use crate::worker::Kit;
use crate::worker::table::Shared;

/// Where a worker that stops tells what it had; shared with the control side.
#[derive(Clone, Debug, Default)]
pub struct Relay(Arc<Mutex<Option<Waiting>>>);

/// Who waits for what a worker had.
#[derive(Debug)]
pub struct Waiting {
    to: UnixStream,
    /// It goes on with tracked flows where they lie.
    in_place: bool,
}

impl Relay {
    /// From now on, the worker that stops tells what it had to whoever has the answer.
    pub fn open(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(TAKE_LIMIT))?;
        *self.lock() = Some(Waiting { to: ours, in_place: false });
        Ok(theirs)
    }

    /// Whoever waits goes on with tracked flows where they lie.
    pub fn leave_tracked_in_place(&self) {
        self.lock().iter_mut().for_each(|waiting| waiting.in_place = true);
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.take();
    }

    /// Who is to be told, if anybody.
    pub fn take(&self) -> Option<Waiting> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Tells what a worker had when it stopped: `left`, with these free frames, and `kit`. From then on tracked flows are the
    /// other process's, where it goes on with them where they lie.
    pub fn tell(mut self, left: Moment, free: &[u64], kit: &mut Kit) -> io::Result<()> {
        let tracked = if self.in_place {
            ToldFlows::InPlace(kit.leave_tracked())
        } else {
            ToldFlows::Follow(kit.tracked().stored_len())
        };
        let told = Told { left, carried: kit.carry(left), free: free.to_vec(), tracked };
        self.to.write_all(&Worker::write(&told))?;
        if self.in_place { Ok(()) } else { kit.tracked().store(|piece| self.to.write_all(piece)) }
    }
}

/// Hears what a worker had, however long it works on; none where it never tells. Its tracked flows come
/// [behind](hear_tracked).
pub fn hear(mut from: &UnixStream) -> io::Result<Option<Told>> {
    let mut length = [0; 8];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let length = Worker::length(length).ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(Worker::read(&bytes).ok_or(io::ErrorKind::InvalidData)?))
}

/// Hears so many bytes of tracked flows.
fn hear_pieces(mut from: &UnixStream, bytes: usize, kit: &mut Kit) -> io::Result<()> {
    let mut piece = vec![0; PIECE.min(bytes)];
    let mut left = bytes;
    while left > 0 {
        let piece = &mut piece[..PIECE.min(left)];
        from.read_exact(piece)?;
        kit.take_over_tracked(piece);
        left -= piece.len();
    }
    Ok(())
}

/// Gets at the tracked flows; `shared`: where they lie, if this worker goes on with them there.
pub fn hear_tracked(from: &UnixStream, tracked: ToldFlows, shared: Option<Shared>, kit: &mut Kit) -> io::Result<()> {
    match (tracked, shared) {
        (ToldFlows::Follow(bytes), None) => hear_pieces(from, bytes, kit),
        (ToldFlows::InPlace(flows), Some(shared)) => {
            // SAFETY: the other process has said that its worker has left them there, and looks again only after this one.
            unsafe { kit.go_on_with_tracked(shared, flows) };
            Ok(())
        }
        _ => Err(io::Error::other("the other process has left tracked flows where nobody looks for them")),
    }
}
