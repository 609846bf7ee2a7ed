//! One netlink socket that asks and waits for the answer.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::underlay::message::{self, Content};

/// The kernel fills datagrams of a dump up to 32 KiB.
const DATAGRAM: usize = 64 * 1024;
/// Times a dump is begun again because a table changed under it.
const DUMP_TRIES: usize = 5;

/// Asks the kernel of one network namespace.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket, in the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // The kernel serves a request in the asker's own call: what is not there then will not come.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has the kernel do something; `flags` beside those every request has.
    pub fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, flags | NLM_F_ACK).map(drop)
    }

    /// The kernel's one answer to a question.
    pub fn get(&mut self, question: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        let (mut answers, _) = self.ask(question, NLM_F_ACK)?;
        answers.pop().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A whole table.
    pub fn dump(&mut self, question: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_TRIES {
            let (answers, interrupted) = self.ask(question.clone(), NLM_F_DUMP)?;
            if !interrupted {
                return Ok(answers);
            }
        }
        Err(io::Error::other("the table changes faster than it can be read"))
    }

    /// Sends a request and reads until its acknowledgement or the end of its dump. Also answers whether the dump was
    /// interrupted.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        message::append(message, NLM_F_REQUEST | flags, self.sequence, &mut bytes);
        self.socket.send(&bytes, 0)?;
        let (mut answers, mut interrupted) = (Vec::new(), false);
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            self.socket.recv(&mut datagram, 0)?;
            for received in message::split(&datagram).filter(|received| received.sequence == self.sequence) {
                interrupted |= received.interrupted;
                match received.content {
                    Content::Message(answer) => answers.push(answer),
                    Content::Done | Content::Acknowledged => return Ok((answers, interrupted)),
                    Content::Refused(error) => return Err(error),
                    Content::NextHopObject | Content::Unreadable => {}
                }
            }
        }
    }
}
