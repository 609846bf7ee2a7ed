//! Receiving a frame with its 802.1Q tag, which the kernel has taken out before the tap and tells apart
//! (`PACKET_AUXDATA`, packet(7)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::{PACKET_AUXDATA, TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID};

use crate::wire::ethernet::{TAG_LEN, ethertype};

/// A frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its length in the buffer, in bytes.
    pub len: usize,
    /// The tag that is to be put back behind its addresses, as on the wire.
    pub tag: Option<[u8; TAG_LEN]>,
}

/// Has the kernel tell the tags of what comes from now on.
pub fn ask_for_tags(socket: &OwnedFd) -> io::Result<()> {
    super::set_option(socket, PACKET_AUXDATA, 1)
}

/// Room for one `tpacket_auxdata`, aligned as control messages are.
#[repr(align(8))]
struct Control(MaybeUninit<[u8; 64]>);

/// Takes the next frame into `buffer`, without waiting; one that is longer is cut. `None` where none has come.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut place = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control(MaybeUninit::uninit());
    // SAFETY: all of a `msghdr` may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut place;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the descriptor is open; the kernel writes no more than `iov_len` bytes into the buffer and no more than
    // `msg_controllen` into the control room, and both outlive the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    match usize::try_from(len) {
        // SAFETY: the kernel has just filled it, and the control room is still there.
        Ok(len) => Ok(Some(Received { len: len.min(buffer.len()), tag: unsafe { tag(&message) } })),
        Err(_) => match io::Error::last_os_error() {
            error if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => Ok(None),
            error => Err(error),
        },
    }
}

/// The tag among the control messages of a message that was received.
///
/// # Safety
/// The message's control room is there, and as long as the message says, with what the kernel has written.
unsafe fn tag(message: &libc::msghdr) -> Option<[u8; TAG_LEN]> {
    // SAFETY: the kernel has filled the control room and set its length to what it wrote.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    // SAFETY: it only adds up lengths.
    let whole = unsafe { libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as u32) } as usize;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, PACKET_AUXDATA) || (header.cmsg_len as usize) < whole
    {
        return None;
    }
    // SAFETY: it carries a whole `tpacket_auxdata`, plain numbers, perhaps not aligned.
    let auxdata = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    if auxdata.tp_status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let is_told = auxdata.tp_status & TP_STATUS_VLAN_TPID_VALID != 0;
    let [a, b] = if is_told { auxdata.tp_vlan_tpid } else { ethertype::VLAN }.to_be_bytes();
    let [c, d] = auxdata.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}
