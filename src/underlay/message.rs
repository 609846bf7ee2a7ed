//! Between the kernel's route messages (rtnetlink) and this room's own words. Bytes in, bytes out; no socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_DUMP_INTR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::event::{Event, LinkNews, Vlan};
use super::link::LinkAddress;
use super::neighbours::{Gateway, Neighbour};
use super::next_hop::Route;
use crate::wire::ethernet::MacAddress;

/// Message types of next-hop objects (`RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`), which the crate does not read.
const NEXT_HOP_MESSAGES: [u16; 2] = [104, 105];

/// Appends a request to `into`.
pub fn append(message: RouteNetlinkMessage, flags: u16, sequence: u32, into: &mut Vec<u8>) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = into.len();
    into.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut into[start..]);
}

/// One message of a datagram.
pub struct Received {
    /// The number of the question it answers.
    pub sequence: u32,
    /// The dump it belongs to was disturbed by a change, and has to be begun again.
    pub interrupted: bool,
    /// What it says.
    pub content: Content,
}

/// What a message says.
pub enum Content {
    /// One that the crate can read.
    Message(RouteNetlinkMessage),
    /// Something about next-hop objects.
    NextHopObject,
    /// The end of a dump.
    Done,
    /// A request was carried out that has no other answer.
    Acknowledged,
    /// A request was refused.
    Refused(io::Error),
    /// Anything else.
    Unreadable,
}

/// The messages of a datagram. One that cannot be read does not hide those after it.
pub fn split(mut datagram: &[u8]) -> impl Iterator<Item = Received> {
    std::iter::from_fn(move || {
        let header = NetlinkBuffer::new_checked(datagram).ok()?;
        let (length, sequence) = (header.length() as usize, header.sequence_number());
        let interrupted = header.flags() & NLM_F_DUMP_INTR != 0;
        let kind = header.message_type();
        let message = &datagram[..length];
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        let content = if NEXT_HOP_MESSAGES.contains(&kind) { Content::NextHopObject } else { read(message) };
        Some(Received { sequence, interrupted, content })
    })
}

fn read(message: &[u8]) -> Content {
    match NetlinkMessage::deserialize(message).map(|message| message.payload) {
        Ok(NetlinkPayload::InnerMessage(inner)) => Content::Message(inner),
        Ok(NetlinkPayload::Done(_)) => Content::Done,
        Ok(NetlinkPayload::Error(error)) if error.code.is_none() => Content::Acknowledged,
        Ok(NetlinkPayload::Error(error)) => Content::Refused(error.to_io()),
        _ => Content::Unreadable,
    }
}

/// "How would you reach this address?"
pub fn route_request(target: IpAddr) -> RouteNetlinkMessage {
    let mut request = RouteMessage::default();
    request.header.address_family = family(target);
    request.header.destination_prefix_length = if target.is_ipv4() { 32 } else { 128 };
    request.attributes.push(RouteAttribute::Destination(target.into()));
    RouteNetlinkMessage::GetRoute(request)
}

/// "I am about to use this neighbour": the kernel resolves or verifies it. Not to be sent about a permanent neighbour,
/// which this would make an ordinary one.
pub fn use_neighbour(Gateway { interface, address }: Gateway) -> RouteNetlinkMessage {
    let mut request = NeighbourMessage::default();
    request.header.family = family(address);
    request.header.ifindex = interface;
    request.header.flags = NeighbourFlags::Use;
    request.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }));
    RouteNetlinkMessage::NewNeighbour(request)
}

/// The route in an answer to [`route_request`].
pub fn route(target: IpAddr, answer: &RouteMessage) -> Route {
    match answer.header.kind {
        RouteType::Local => Route::Local,
        RouteType::Unicast => {
            let interface = answer.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            let gateway = answer.attributes.iter().find_map(gateway).unwrap_or(target);
            interface.map_or(Route::None, |interface| Route::Via { interface, gateway })
        }
        _ => Route::None,
    }
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
            Some((*v6).into())
        }
        _ => None,
    }
}

/// The news in a message, if it is any to this room.
pub fn event(message: &RouteNetlinkMessage) -> Option<Event> {
    use RouteNetlinkMessage as M;
    match message {
        M::NewLink(link) => link_news(link).map(Event::Link),
        M::DelLink(link) => is_own_family(link).then_some(Event::LinkGone(link.header.index)),
        M::NewAddress(message) => link_address(message).map(|address| Event::Address(message.header.index, address)),
        M::DelAddress(message) => {
            link_address(message).map(|address| Event::AddressGone(message.header.index, address.net))
        }
        M::NewNeighbour(message) => {
            neighbour(message).map(|(gateway, neighbour)| Event::Neighbour(gateway, Some(neighbour)))
        }
        M::DelNeighbour(message) => neighbour(message).map(|(gateway, _)| Event::Neighbour(gateway, None)),
        M::NewRoute(message) | M::DelRoute(message) => prefix(message).map(Event::Route),
        M::NewRule(_) | M::DelRule(_) => Some(Event::Routing),
        _ => None,
    }
}

/// Bridges and wireless devices tell of their ports in link messages of other families; those are not about the link.
fn is_own_family(link: &LinkMessage) -> bool {
    link.header.interface_family == AddressFamily::Unspec
}

fn link_news(link: &LinkMessage) -> Option<LinkNews> {
    let mut news = LinkNews {
        index: link.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        vlan: vlan(link),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => news.name.clone_from(name),
            LinkAttribute::Address(bytes) => news.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => news.mtu = *mtu,
            _ => {}
        }
    }
    (is_own_family(link) && !news.name.is_empty()).then_some(news)
}

/// What a VLAN device adds, and to what.
fn vlan(link: &LinkMessage) -> Option<Vlan> {
    let (mut parent, mut id) = (None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            // The parent is in another network namespace; its number means another interface here.
            LinkAttribute::LinkNetNsId(_) => return None,
            LinkAttribute::LinkInfo(infos) => id = infos.iter().find_map(vlan_id),
            _ => {}
        }
    }
    Some(Vlan { parent: parent?, id: id? })
}

fn vlan_id(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(data)) = info else { return None };
    // Provider bridging (IEEE 802.1ad) tags with another EtherType, and frames are not made with it.
    let customer = data.iter().any(|part| matches!(part, InfoVlan::Protocol(VlanProtocol::Ieee8021Q)));
    let id = data.iter().find_map(|part| if let InfoVlan::Id(id) = part { Some(*id) } else { None });
    id.filter(|_| customer)
}

fn mac(bytes: &[u8]) -> Option<MacAddress> {
    bytes.try_into().ok().map(MacAddress)
}

fn link_address(message: &AddressMessage) -> Option<LinkAddress> {
    let (mut address, mut local, mut flags) = (None, None, u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            // Where it differs from the address, that one is the peer's.
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Flags(all) => flags = all.bits(),
            _ => {}
        }
    }
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    let mut unfit = AddressFlags::Tentative | AddressFlags::Deprecated | AddressFlags::Dadfailed;
    if matches!(net, IpNet::V6(_)) {
        // For IPv6 this bit means a temporary address (RFC 8981), gone in a day.
        unfit |= AddressFlags::Secondary;
    }
    let preferred = !AddressFlags::from_bits_retain(flags).intersects(unfit);
    Some(LinkAddress { net, global: message.header.scope == AddressScope::Universe, preferred })
}

fn neighbour(message: &NeighbourMessage) -> Option<(Gateway, Neighbour)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut hardware) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => hardware = mac(bytes),
            _ => {}
        }
    }
    let neighbour = match (message.header.state, hardware) {
        (NeighbourState::Failed, _) => Neighbour::Failed,
        (NeighbourState::Reachable, Some(mac)) => Neighbour::Reachable(mac),
        (NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe, Some(mac)) => Neighbour::Stale(mac),
        (NeighbourState::Noarp | NeighbourState::Permanent, Some(mac)) => Neighbour::Permanent(mac),
        _ => Neighbour::Incomplete,
    };
    Some((Gateway { interface: message.header.ifindex, address: address? }, neighbour))
}

/// Where a route leads to.
pub fn prefix(message: &RouteMessage) -> Option<IpNet> {
    let everything = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    IpNet::new(destination.unwrap_or(everything), message.header.destination_prefix_length).ok()
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_split_into_its_messages_and_rubbish_does_no_harm() {
        let mut datagram = Vec::new();
        append(route_request([192, 0, 2, 1].into()), 1, 7, &mut datagram);
        append(use_neighbour(Gateway { interface: 2, address: Ipv6Addr::LOCALHOST.into() }), 1, 8, &mut datagram);
        let sequences = |bytes: &[u8]| -> Vec<u32> { split(bytes).map(|received| received.sequence).collect() };
        assert_eq!(sequences(&datagram), [7, 8]);
        assert_eq!(sequences(&datagram[..datagram.len() - 1]), [7]);
        assert_eq!(sequences(&[0; 40]), [0; 0]);
        assert_eq!(sequences(&[]), [0; 0]);
        assert_eq!(sequences(&[9]), [0; 0]);
    }

    #[test]
    fn an_ipv4_route_may_have_an_ipv6_gateway() {
        let mut answer = RouteMessage::default();
        answer.header.kind = RouteType::Unicast;
        answer.attributes = vec![RouteAttribute::Oif(2), RouteAttribute::Via(RouteVia::Inet6(Ipv6Addr::LOCALHOST))];
        let target = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(route(target, &answer), Route::Via { interface: 2, gateway: Ipv6Addr::LOCALHOST.into() });
        answer.attributes.truncate(1);
        assert_eq!(route(target, &answer), Route::Via { interface: 2, gateway: target }, "on the link");
        answer.header.kind = RouteType::BlackHole;
        assert_eq!(route(target, &answer), Route::None);
    }

    #[test]
    fn a_route_without_destination_is_the_default_route() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        let event = event(&RouteNetlinkMessage::DelRoute(message));
        assert_eq!(event, "::/0".parse().ok().map(Event::Route));
    }

    fn link_message(id: u16, protocol: VlanProtocol) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        let data = InfoData::Vlan(vec![InfoVlan::Protocol(protocol), InfoVlan::Id(id)]);
        message.attributes = vec![
            LinkAttribute::IfName("eth0.100".into()),
            LinkAttribute::Link(2),
            LinkAttribute::LinkInfo(vec![LinkInfo::Data(data)]),
        ];
        message
    }

    #[test]
    fn a_vlan_device_tells_its_number_and_what_it_is_on() {
        let tells = |message: &LinkMessage| link_news(message).expect("it has a name").vlan;
        let mut message = link_message(100, VlanProtocol::Ieee8021Q);
        assert_eq!(tells(&message), Some(Vlan { parent: 2, id: 100 }));
        message.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(tells(&message), None, "its parent is in another network namespace");
        assert_eq!(tells(&link_message(100, VlanProtocol::Ieee8021Ad)), None, "another EtherType");
        message.attributes.truncate(2);
        assert_eq!(tells(&message), None, "on top of another, but no VLAN device");
    }
}
