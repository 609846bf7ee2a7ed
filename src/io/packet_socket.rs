//! AF_PACKET, by pnet: where AF_XDP is not to be had. Slower by far, and the kernel gets every frame too: the guard of
//! `steer` keeps it from answering for a VIP.
#![allow(unsafe_code, reason = "pnet cannot set or ask these socket options")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender, NetworkInterface};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::time::Timespec;

use super::{HEADROOM, Held, KernelStatistics, PacketIo, monotonic};
use crate::frame::{Frame, Span};
use crate::moment::Moment;

/// Receive offload hands over packets of up to 64 KiB; they are taken whole and then dropped by reason.
const LONGEST: usize = 65_536 + 18;

/// From linux/if_packet.h.
const PACKET_STATISTICS: libc::c_int = 6;
const PACKET_FANOUT: libc::c_int = 18;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const PACKET_FANOUT_HASH: libc::c_int = 0;
const PACKET_FANOUT_FLAG_IGNORE_OUTGOING: libc::c_int = 0x4000;

/// The cause for which `wait` has nothing to wait for but time.
const NOT_WRITABLE: [i32; 4] = [libc::EAGAIN, libc::ENOBUFS, libc::EINTR, libc::ETIMEDOUT];

/// One AF_PACKET socket on one interface.
pub struct PacketSocket {
    receiver: Box<dyn DataLinkReceiver>,
    sender: Box<dyn DataLinkSender>,
    /// A second descriptor of the same socket: pnet keeps its own to itself.
    socket: OwnedFd,
    chunks: Vec<Box<[u8]>>,
    free: Vec<u64>,
    queued: VecDeque<Held>,
    statistics: KernelStatistics,
}

impl PacketSocket {
    /// Opens a socket with memory for `frames` frames. Sockets with the same `group` share the interface's packets
    /// between them, by flow.
    pub fn open(interface: &str, frames: u32, group: Option<u16>) -> io::Result<Self> {
        let named = |candidate: &NetworkInterface| candidate.name == interface;
        let interface = datalink::interfaces().into_iter().find(named).ok_or(io::ErrorKind::NotFound)?;
        // Without a protocol nothing comes in before pnet has bound it to the interface.
        let socket = socket(AddressFamily::PACKET, SocketType::RAW, None)?;
        ignore_outgoing(&socket)?;
        let second = socket.try_clone()?;
        let config = datalink::Config {
            read_buffer_size: LONGEST,
            read_timeout: Some(Duration::ZERO),
            write_timeout: Some(Duration::ZERO),
            promiscuous: false,
            socket_fd: Some(socket.into_raw_fd()),
            ..datalink::Config::default()
        };
        let Channel::Ethernet(sender, receiver) = datalink::channel(&interface, config)? else {
            return Err(io::Error::other("no Ethernet interface"));
        };
        if let Some(group) = group {
            join(&second, group)?;
        }
        Ok(Self {
            receiver,
            sender,
            socket: second,
            chunks: (0..frames).map(|_| vec![0; HEADROOM + LONGEST].into_boxed_slice()).collect(),
            free: (0..u64::from(frames)).collect(),
            queued: VecDeque::with_capacity(frames as usize),
            statistics: KernelStatistics::default(),
        })
    }

    /// Sends what is queued until the kernel takes no more.
    fn drain(&mut self) {
        while let Some(held) = self.queued.pop_front() {
            let Span { start, len } = held.span;
            let bytes = &self.chunks[held.chunk as usize][start..start + len];
            match self.sender.send_to(bytes, None) {
                Some(Err(error)) if is_full(&error) => {
                    self.queued.push_front(held);
                    return;
                }
                Some(Err(_)) | None => self.statistics.tx_invalid += 1,
                Some(Ok(())) => {}
            }
            self.free.push(held.chunk);
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut || error.raw_os_error().is_some_and(|code| NOT_WRITABLE.contains(&code))
}

/// Frames that this host sends are not frames that it receives.
fn ignore_outgoing(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, PACKET_IGNORE_OUTGOING, 1)
}

/// Shares the interface's packets with the other sockets of a group, by flow. A group does not heed what its sockets
/// ignore; it has a flag of its own for that, which kernels before 5.18 do not know.
fn join(socket: &OwnedFd, group: u16) -> io::Result<()> {
    let by_hash = |flags: libc::c_int| (PACKET_FANOUT_HASH | flags) << 16 | libc::c_int::from(group);
    set_option(socket, PACKET_FANOUT, by_hash(PACKET_FANOUT_FLAG_IGNORE_OUTGOING))
        .or_else(|_| set_option(socket, PACKET_FANOUT, by_hash(0)))
}

fn set_option(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the option's value is one int that lives across the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Frames received and dropped since the last question: the kernel begins anew with each.
fn packet_statistics(socket: &OwnedFd) -> (u64, u64) {
    let mut counts = [0u32; 2];
    let mut len = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes a `tpacket_stats`, two 32-bit numbers, into as many bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result == 0 { (counts[0].into(), counts[1].into()) } else { (0, 0) }
}

impl PacketIo for PacketSocket {
    const TAP: bool = true;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        // What is queued could not be sent, so the way out is full.
        let most = if self.queued.is_empty() { most } else { 0 };
        for _ in 0..most {
            let Some(chunk) = self.free.pop() else { return Ok(()) };
            let frame = match self.receiver.next() {
                Ok(frame) => frame,
                Err(error) => {
                    self.free.push(chunk);
                    return if is_full(&error) { Ok(()) } else { Err(error) };
                }
            };
            let len = frame.len().min(LONGEST);
            self.chunks[chunk as usize][HEADROOM..HEADROOM + len].copy_from_slice(&frame[..len]);
            into.push(Held::new(chunk, Span { start: HEADROOM, len }));
        }
        Ok(())
    }

    fn now(&mut self) -> Moment {
        monotonic()
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        let chunk = if len <= LONGEST { self.free.pop()? } else { return None };
        Some(Held::new(chunk, Span { start: HEADROOM, len }))
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        Frame::new(&mut self.chunks[held.chunk as usize], held.span).expect("a held frame lies inside its chunk")
    }

    fn send(&mut self, held: Held) {
        self.queued.push_back(held);
    }

    fn release(&mut self, held: Held) {
        self.free.push(held.chunk);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain();
        Ok(())
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        let events = if self.queued.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut waiting =
            [PollFd::from_borrowed_fd(self.socket.as_fd(), events), PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        match poll(&mut waiting, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn statistics(&mut self) -> KernelStatistics {
        let (_, dropped) = packet_statistics(&self.socket);
        self.statistics.rx_ring_full += dropped;
        self.statistics
    }
}
