//! AF_PACKET, opened and sent on by pnet: where AF_XDP is not to be had. Slower by far, and the kernel gets every frame
//! too: the guard of `steer` keeps it from answering for a VIP.
#![allow(unsafe_code, reason = "pnet cannot set or ask these socket options, nor receive a frame's 802.1Q tag")]

mod receive;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use pnet::datalink::{self, Channel, DataLinkSender, NetworkInterface};
use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{AddressFamily, SendFlags, SocketType, send, socket};

use self::receive::{Received, receive};
use super::{HEADROOM, Held, KernelStatistics, Names, PacketIo, monotonic, sleep_until_ready};
use crate::frame::{Frame, Span};
use crate::moment::Moment;
use crate::wire::ethernet::{HEADER_LEN, TAG_LEN};

/// Receive offload hands over packets of up to 64 KiB; they are taken whole and then dropped by reason.
const LONGEST: usize = 65_536 + HEADER_LEN + TAG_LEN;
/// Where received frames begin in their chunk: a tag that is put back takes the room before.
const RECEIVED_AT: usize = HEADROOM + TAG_LEN;
/// Length of the two addresses that a tag comes behind.
const ADDRESSES_LEN: usize = 12;

/// Bytes of receive buffer for each frame of memory: the kernel counts a small packet with all that belongs to it.
const BYTES_WAITING: usize = 2_048;

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
    /// None for an inherited socket: pnet would bind it again, which one that shares packets with others cannot be.
    sender: Option<Box<dyn DataLinkSender>>,
    /// A second descriptor of the same socket: pnet keeps its own to itself.
    socket: OwnedFd,
    names: Names,
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
        // What comes while nobody looks, as in an upgrade, has to wait somewhere. Where the limit may not be passed, it stays.
        _ = set_socket_recv_buffer_size_force(&socket, frames as usize * BYTES_WAITING);
        receive::ask_for_tags(&socket)?;
        let second = socket.try_clone()?;
        let config = datalink::Config {
            write_timeout: Some(Duration::ZERO),
            promiscuous: false,
            socket_fd: Some(socket.into_raw_fd()),
            ..datalink::Config::default()
        };
        let Channel::Ethernet(sender, _) = datalink::channel(&interface, config)? else {
            return Err(io::Error::other("no Ethernet interface"));
        };
        if let Some(group) = group {
            join(&second, group)?;
        }
        Ok(Self { sender: Some(sender), ..Self::inherit(second, frames) })
    }

    /// The socket of another process, which has told what else it knew of it. What has come meanwhile waits in the kernel.
    pub fn inherit(socket: OwnedFd, frames: u32) -> Self {
        Self {
            sender: None,
            socket,
            names: Names::new(frames.into()),
            chunks: (0..frames).map(|_| vec![0; RECEIVED_AT + LONGEST].into_boxed_slice()).collect(),
            free: (0..u64::from(frames)).collect(),
            queued: VecDeque::with_capacity(frames as usize),
            statistics: KernelStatistics::default(),
        }
    }

    /// What the kernel has counted since this was last asked: another process counts on from here.
    pub fn take_statistics(&mut self) -> KernelStatistics {
        _ = self.statistics();
        std::mem::take(&mut self.statistics)
    }

    /// How many frames it has memory for.
    pub fn frames(&self) -> u32 {
        self.chunks.len() as u32
    }

    /// How many frames wait for the kernel to have room for them: they are not the kernel's yet.
    pub fn unsent(&self) -> usize {
        self.queued.len()
    }

    /// Sends what is queued until the kernel takes no more.
    fn drain(&mut self) {
        while let Some(held) = self.queued.pop_front() {
            let (chunk, Span { start, len }) = (self.names.own_chunk_of(&held), held.span());
            let bytes = &self.chunks[chunk as usize][start..start + len];
            let sent = match &mut self.sender {
                Some(sender) => sender.send_to(bytes, None),
                None => Some(send(&self.socket, bytes, SendFlags::DONTWAIT).map(drop).map_err(io::Error::from)),
            };
            match sent {
                Some(Err(error)) if is_full(&error) => {
                    self.queued.push_front(held);
                    return;
                }
                Some(Err(_)) | None => self.statistics.tx_invalid += 1,
                Some(Ok(())) => {}
            }
            self.free.push(chunk);
        }
    }
}

/// Puts a tag back where it was on the wire, and says where the frame now lies.
fn put_tag_back(buffer: &mut [u8], Received { len, tag }: Received) -> Span {
    match tag {
        Some(tag) if len >= ADDRESSES_LEN => {
            let start = RECEIVED_AT - TAG_LEN;
            buffer.copy_within(RECEIVED_AT..RECEIVED_AT + ADDRESSES_LEN, start);
            buffer[start + ADDRESSES_LEN..][..TAG_LEN].copy_from_slice(&tag);
            Span { start, len: len + TAG_LEN }
        }
        _ => Span { start: RECEIVED_AT, len },
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

/// The number of the interface that a socket is bound to; below 0 where that is gone.
fn interface_of(socket: &OwnedFd) -> Option<libc::c_int> {
    // SAFETY: all of a `sockaddr_ll` may be zero.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes no more than `len` bytes into the address.
    let result = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    (result == 0).then_some(address.sll_ifindex)
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

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl PacketIo for PacketSocket {
    const TAP: bool = true;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        // What is queued could not be sent, so the way out is full.
        let most = if self.queued.is_empty() { most } else { 0 };
        for _ in 0..most {
            let Some(chunk) = self.free.pop() else { return Ok(()) };
            let buffer = &mut self.chunks[chunk as usize];
            match receive(&self.socket, &mut buffer[RECEIVED_AT..]) {
                Ok(Some(received)) => into.push(self.names.hold(chunk, put_tag_back(buffer, received))),
                other => {
                    self.free.push(chunk);
                    return other.map(drop);
                }
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Moment {
        monotonic()
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        let chunk = if len <= LONGEST { self.free.pop()? } else { return None };
        Some(self.names.hold(chunk, Span { start: HEADROOM, len }))
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        let chunk = self.names.own_chunk_of(held) as usize;
        Frame::new(&mut self.chunks[chunk], held.span()).expect("a held frame lies inside its chunk")
    }

    fn send(&mut self, held: Held) {
        _ = self.names.own_chunk_of(&held);
        self.queued.push_back(held);
    }

    fn release(&mut self, held: Held) {
        self.free.push(self.names.own_chunk_of(&held));
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain();
        Ok(())
    }

    fn wait(&mut self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        // An interface that is removed goes down first, and only that leaves an error.
        if interface_of(&self.socket).is_some_and(|index| index < 0) {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let events = if self.queued.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut waiting =
            [PollFd::from_borrowed_fd(self.socket.as_fd(), events), PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        sleep_until_ready(&mut waiting, timeout)
    }

    fn statistics(&mut self) -> KernelStatistics {
        let (_, dropped) = packet_statistics(&self.socket);
        self.statistics.rx_ring_full += dropped;
        self.statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_back_behind_the_addresses() {
        let frame: Vec<u8> = (0..60).collect();
        let mut buffer = vec![0xee; RECEIVED_AT + 60];
        buffer[RECEIVED_AT..].copy_from_slice(&frame);
        let plain = put_tag_back(&mut buffer, Received { len: 60, tag: None });
        assert_eq!(&buffer[plain.start..plain.start + plain.len], frame);
        let span = put_tag_back(&mut buffer, Received { len: 60, tag: Some([0x81, 0, 0x20, 7]) });
        let tagged = [&frame[..12], &[0x81, 0, 0x20, 7], &frame[12..]].concat();
        assert_eq!(&buffer[span.start..span.start + span.len], tagged);
        assert!(span.start >= HEADROOM);
        let short = put_tag_back(&mut buffer, Received { len: 11, tag: Some([0x81, 0, 0x20, 7]) });
        assert_eq!(short.len, 11);
    }
}
