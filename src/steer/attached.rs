//! Which XDP program an interface runs, and where: asked of the kernel by netlink, which alone knows.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::error::SteerError;
use super::xdp::Mode;

const DOING: &str = "ask which XDP program the interface runs";

/// Where on the interface the program with this id runs, if it does.
pub fn mode_of(interface: u32, program: u32) -> Result<Option<Mode>, SteerError> {
    Ok(programs_of(interface)?.into_iter().find(|(id, _)| *id == program).map(|(_, mode)| mode))
}

/// The id of the program that the interface runs, and where; none: there is none.
pub fn program_of(interface: u32) -> Result<Option<(u32, Mode)>, SteerError> {
    Ok(programs_of(interface)?.into_iter().next())
}

fn programs_of(interface: u32) -> Result<Vec<(u32, Mode)>, SteerError> {
    let attributes = link_attributes(interface)?;
    let xdp = attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    let of = |attribute: &LinkXdp| match attribute {
        LinkXdp::DrvProgId(id) => Some((*id, Mode::Native)),
        LinkXdp::SkbProgId(id) => Some((*id, Mode::Generic)),
        _ => None,
    };
    Ok(xdp.flatten().filter_map(of).collect())
}

fn link_attributes(interface: u32) -> Result<Vec<LinkAttribute>, SteerError> {
    let mut question = LinkMessage::default();
    question.header.index = interface;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(question));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);

    let answer = ask(&bytes).map_err(SteerError::while_doing(DOING))?;
    let answer = NetlinkMessage::deserialize(&answer).map_err(SteerError::while_doing(DOING))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link.attributes),
        NetlinkPayload::Error(error) => Err(SteerError::while_doing(DOING)(error.to_io())),
        _ => Ok(Vec::new()),
    }
}

/// The kernel serves the question within the call that sends it: the answer is there at once.
fn ask(request: &[u8]) -> io::Result<Vec<u8>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request, 0)?;
    Ok(socket.recv_from_full()?.0)
}
