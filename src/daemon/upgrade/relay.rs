//! From a worker to its successor, directly: both are pinned to one core, so one change of threads is all that lies between the
//! last batch of the one and the first of the other. A worker that stops looks here whether somebody waits for what it had.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::TAKE_LIMIT;
use crate::forward::track::stored::PIECE;
use crate::upgrade::{Told, Worker};
use crate::worker::Kit;

/// Where a worker that stops tells what it had; shared with the control side.
#[derive(Clone, Debug, Default)]
pub struct Relay(Arc<Mutex<Option<UnixStream>>>);

impl Relay {
    /// From now on, the worker that stops tells what it had to whoever has the answer.
    pub fn open(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(TAKE_LIMIT))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ours);
        Ok(theirs)
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.take();
    }

    /// Where to tell, if anywhere.
    pub fn take(&self) -> Option<UnixStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Tells what a worker had; `kit` has its tracked flows.
pub fn tell(mut to: UnixStream, told: &Told, kit: &Kit) -> io::Result<()> {
    to.write_all(&Worker::write(told))?;
    kit.tracked().store(|piece| to.write_all(piece))
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
pub fn hear_tracked(mut from: &UnixStream, bytes: usize, kit: &mut Kit) -> io::Result<()> {
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
