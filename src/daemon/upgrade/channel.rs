//! The socket between the two processes: a message a packet, with descriptors beside it.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::upgrade::{Message, Unreadable};

/// More than any message has, in bytes.
const LONGEST: usize = 256 << 10;
/// The most descriptors beside one.
const MOST_DESCRIPTORS: usize = 4;
/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// How long the other process may take to have room for a message.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// Why the other process is not heard.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// It has gone, or closed its end.
    #[error("the other process went away")]
    Gone,
    /// It says nothing.
    #[error("the other process said nothing for {0:?}")]
    Silent(Duration),
    /// Waiting for it was given up.
    #[error("this process was asked to end meanwhile")]
    GivenUp,
    /// It says what cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It says something else than it should.
    #[error("the other process said what it should not say now")]
    Unexpected,
    /// The kernel's words.
    #[error("the other process cannot be talked to: {0}")]
    Io(#[from] io::Error),
}

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// An end for this process, and one for the other.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::new(ours)?, theirs))
    }

    /// The end that was given to this process.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        set_socket_timeout(&socket, Timeout::Send, Some(SEND_LIMIT))?;
        Ok(Self(socket))
    }

    /// Says something, with these descriptors beside it.
    pub fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors").into());
        }
        let bytes = message.write();
        match sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(ChannelError::Gone),
            Err(Errno::AGAIN) => Err(ChannelError::Silent(SEND_LIMIT)),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Hears the next message. `meanwhile` is called about twice a second, and says whether to wait on.
    pub fn receive(
        &self,
        limit: Duration,
        mut meanwhile: impl FnMut() -> bool,
    ) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let pause = Timespec::try_from(left.min(Duration::from_millis(500))).ok();
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], pause.as_ref()) {
                Ok(0) if left.is_zero() => return Err(ChannelError::Silent(limit)),
                Ok(0) | Err(Errno::INTR) if meanwhile() => {}
                Ok(0) | Err(Errno::INTR) => return Err(ChannelError::GivenUp),
                Ok(_) => return self.take(),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    fn take(&self) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut receive = || recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
        // One that went with messages unread leaves this error first, and then its last words.
        let received = match receive().or_else(|error| if error == Errno::CONNRESET { receive() } else { Err(error) }) {
            Ok(received) => received,
            Err(Errno::CONNRESET) => return Err(ChannelError::Gone),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(ChannelError::Gone);
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("a message was cut").into());
        }
        Ok((Message::read(&bytes[..received.bytes])?, descriptors))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A file in memory with these bytes.
pub fn file_of(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("pointsman-upgrade", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// All that is in a file.
pub fn read_file(file: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(file);
    let size = file.metadata()?.len();
    if size > LARGEST_FILE {
        return Err(io::Error::other("a file is too large"));
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_with_their_files() {
        let (ours, theirs) = Channel::pair().expect("a pair");
        let theirs = Channel::new(theirs).expect("a socket");
        let file = file_of(b"what is large").expect("memory");
        ours.send(&Message::Taken { pause: 3 }, &[file.as_fd()]).expect("there is room");
        ours.send(&Message::Done, &[]).expect("there is room");
        let limit = Duration::from_secs(10);
        let (message, files) = theirs.receive(limit, || true).expect("it was sent");
        assert_eq!((message, files.len()), (Message::Taken { pause: 3 }, 1));
        let bytes = files.into_iter().map(|file| read_file(file).expect("a file")).collect::<Vec<_>>();
        assert_eq!(bytes, [b"what is large"]);
        assert_eq!(theirs.receive(limit, || true).expect("it was sent").0, Message::Done);
        assert!(matches!(theirs.receive(Duration::ZERO, || true), Err(ChannelError::Silent(_))));
        drop(ours);
        assert!(matches!(theirs.receive(limit, || true), Err(ChannelError::Gone)));
        assert!(matches!(theirs.send(&Message::Done, &[]), Err(ChannelError::Gone)));
    }

    #[test]
    fn the_last_words_of_one_that_has_gone_are_heard() {
        let (ours, theirs) = Channel::pair().expect("a pair");
        let theirs = Channel::new(theirs).expect("a socket");
        ours.send(&Message::Done, &[]).expect("there is room");
        theirs.send(&Message::Taken { pause: 5 }, &[]).expect("there is room");
        drop(theirs);
        let limit = Duration::from_secs(10);
        assert_eq!(ours.receive(limit, || true).expect("its words").0, Message::Taken { pause: 5 });
        assert!(matches!(ours.receive(limit, || true), Err(ChannelError::Gone)));
    }
}
