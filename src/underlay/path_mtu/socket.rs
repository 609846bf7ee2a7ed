//! Raw sockets that hear what routers say to this node.
#![allow(unsafe_code, reason = "rustix cannot set the filter of a raw socket")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, ipproto, recv, socket_with};

use crate::wire::Family;

/// From linux/icmp.h: one bit for each of the first 32 types; a 1 keeps it away.
const ICMP_FILTER: libc::c_int = 1;
/// From linux/icmpv6.h: the same for all 256 types.
const ICMPV6_FILTER: libc::c_int = 1;
const DESTINATION_UNREACHABLE: u32 = 3;
const PACKET_TOO_BIG: u32 = 2;

/// No IP packet is longer, in bytes.
const LONGEST: usize = 65_535;

/// Why there is no socket to hear routers by.
#[derive(Debug, thiserror::Error)]
pub enum IcmpSocketError {
    /// Raw sockets need a capability.
    #[error("not permitted to hear ICMP messages; give pointsman the capability CAP_NET_RAW")]
    NotPermitted,
    /// The kernel refused for another reason.
    #[error("cannot open a raw socket for ICMP messages: {0}")]
    Kernel(#[from] io::Error),
}

/// Hears ICMP "destination unreachable" and ICMPv6 Packet Too Big addressed to this network namespace, each copied
/// beside what the kernel does with it.
pub struct IcmpSocket {
    /// One for each family that the kernel has; the first was read last.
    sockets: Vec<(Family, OwnedFd)>,
    buffer: Box<[u8]>,
}

impl IcmpSocket {
    /// Begins to listen, in the network namespace of the calling thread. It needs CAP_NET_RAW, and only here.
    pub fn open() -> Result<Self, IcmpSocketError> {
        let v4 = open(AddressFamily::INET, ipproto::ICMP)?;
        set_filter(&v4, (libc::SOL_RAW, ICMP_FILTER), &[!(1 << DESTINATION_UNREACHABLE)])?;
        let mut sockets = vec![(Family::V4, v4)];
        match open(AddressFamily::INET6, ipproto::ICMPV6) {
            Ok(v6) => {
                let mut filter = [u32::MAX; 8];
                filter[0] = !(1 << PACKET_TOO_BIG);
                set_filter(&v6, (libc::IPPROTO_ICMPV6, ICMPV6_FILTER), &filter)?;
                sockets.push((Family::V6, v6));
            }
            // A kernel without IPv6.
            Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { sockets, buffer: vec![0; LONGEST].into_boxed_slice() })
    }

    /// The descriptors to wait for reading on (also edge-triggered).
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|(_, socket)| socket.as_fd())
    }

    /// The next message, from its ICMP type on; `None` where no more have come. It never waits. The families take turns:
    /// a flood of one does not drown the other.
    pub fn next_message(&mut self) -> io::Result<Option<(Family, &[u8])>> {
        for _ in 0..self.sockets.len() {
            self.sockets.rotate_left(1);
            let (family, socket) = &self.sockets[0];
            let Some(len) = receive(socket, &mut self.buffer)? else { continue };
            let packet = &self.buffer[..len];
            // Only with IPv4 the kernel gives the IP header too.
            let header_len = match family {
                Family::V4 => packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4),
                Family::V6 => 0,
            };
            return Ok(Some((*family, packet.get(header_len..).unwrap_or_default())));
        }
        Ok(None)
    }
}

impl From<Errno> for IcmpSocketError {
    fn from(error: Errno) -> Self {
        if error == Errno::PERM { Self::NotPermitted } else { Self::Kernel(error.into()) }
    }
}

fn open(family: AddressFamily, protocol: Protocol) -> Result<OwnedFd, Errno> {
    socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(protocol))
}

/// The length of the next packet, where there is one.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((len, _)) => return Ok(Some(len)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sets a filter of message types: a bit for each, 1 keeps it away.
fn set_filter(socket: &OwnedFd, (level, option): (libc::c_int, libc::c_int), filter: &[u32]) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads no more than the filter's own length from it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            filter.as_ptr().cast(),
            size_of_val(filter) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
