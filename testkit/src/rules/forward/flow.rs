//! Which flow a packet belongs to, as far as it shows it.

use std::net::IpAddr;

use super::packet::{Ip, be16, be32};

/// From client to VIP. Ports are 0 where the protocol has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub client: IpAddr,
    pub vip: IpAddr,
    pub protocol: u8,
    pub client_port: u16,
    pub port: u16,
}

/// What all fragments of a packet have in common: addresses, identification, and with IPv4 the protocol.
pub type Whole = (IpAddr, IpAddr, u32, u8);

/// What lies behind the IP header and all extension headers.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    pub protocol: u8,
    /// Empty where the packet was cut before it.
    pub segment: &'a [u8],
    /// Which packet it is a part of, and where it belongs, in bytes.
    pub part: Option<(Whole, usize)>,
}

/// What of a packet's flow can be read.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// All.
    Flow(Flow),
    /// It is what the first fragment of this packet shows.
    First(Whole),
    /// Nothing that this reader understands.
    Nothing,
}

/// Whether a protocol's header begins with ports.
pub fn has_ports(protocol: u8) -> bool {
    [6, 17, 33, 132, 136].contains(&protocol)
}

/// Whether a protocol has neither ports nor, as ICMP has, kinds of messages, nor another header behind it. The other
/// version's ICMP, and what are extension headers to IPv6 alone, are like any other protocol.
pub fn is_plain(v6: bool, protocol: u8) -> bool {
    let special: &[u8] = if v6 { &[0, 43, 44, 58, 60] } else { &[1] };
    !has_ports(protocol) && !special.contains(&protocol)
}

impl<'a> Ip<'a> {
    /// `None` where the extension headers end too early.
    pub fn upper(&self) -> Option<Upper<'a>> {
        let whole = |id, protocol| (self.source, self.destination, id, protocol);
        if !self.v6 {
            let is_part = self.more_fragments || self.offset > 0;
            let part = is_part.then_some((whole(self.id.into(), self.protocol), self.offset));
            return Some(Upper { protocol: self.protocol, segment: self.payload, part });
        }
        let mut upper = Upper { protocol: self.protocol, segment: self.payload, part: None };
        let mut is_authenticated = false;
        while [0, 43, 44, 51, 60].contains(&upper.protocol) && upper.part.is_none_or(|(_, offset)| offset == 0) {
            let extension = upper.segment.get(..8)?;
            is_authenticated |= upper.protocol == 51;
            let len = match upper.protocol {
                44 => 8,
                51 => (usize::from(extension[1]) + 2) * 4,
                _ => (usize::from(extension[1]) + 1) * 8,
            };
            let place = be16(extension, 2);
            if upper.protocol == 44 && place & 0xfff9 != 0 && upper.part.is_none() {
                upper.part = Some((whole(be32(extension, 4), 0), usize::from(place & 0xfff8)));
            }
            (upper.protocol, upper.segment) = (extension[0], upper.segment.get(len..)?);
        }
        // What is authenticated is for the endpoint to say.
        if is_authenticated {
            upper.protocol = 51;
        }
        Some(upper)
    }

    /// The ICMP message of the packet's own IP version, if it is one and shows its type.
    pub fn icmp(&self) -> Option<&'a [u8]> {
        let upper = self.upper()?;
        let is_message =
            upper.protocol == if self.v6 { 58 } else { 1 } && upper.part.is_none_or(|(_, offset)| offset == 0);
        (is_message && upper.segment.len() >= 8).then_some(upper.segment)
    }

    /// Whether it is an ICMP error.
    pub fn is_icmp_error(&self) -> bool {
        let errors: &[u8] = if self.v6 { &[1, 2, 3, 4] } else { &[3, 4, 11, 12] };
        self.icmp().is_some_and(|message| errors.contains(&message[0]))
    }

    /// Its flow; that of an ICMP error is the one of the packet that it quotes.
    pub fn shown(&self) -> Shown {
        let Some(upper) = self.upper() else { return Shown::Nothing };
        if self.is_icmp_error() {
            return quoted(self.v6, &upper.segment[8..]).map_or(Shown::Nothing, Shown::Flow);
        }
        let ports = match (upper.part, upper.segment) {
            (Some((whole, 1..)), _) => return Shown::First(whole),
            (_, &[a, b, c, d, ..]) if has_ports(upper.protocol) => (be16(&[a, b], 0), be16(&[c, d], 0)),
            _ => (0, 0),
        };
        let (client, vip, protocol) = (self.source, self.destination, upper.protocol);
        Shown::Flow(Flow { client, vip, protocol, client_port: ports.0, port: ports.1 })
    }
}

/// The flow of a quoted packet, which went from the VIP to the client; it may be cut anywhere.
fn quoted(v6: bool, quote: &[u8]) -> Option<Flow> {
    let mut whole = quote.to_vec();
    let len = if v6 { quote.len().checked_sub(40)? } else { quote.len() };
    let field = if v6 { 4 } else { 2 };
    whole.get_mut(field..field + 2)?.copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    let ip = Ip::read(if v6 { 0x86dd } else { 0x0800 }, &whole)?;
    let upper = ip.upper()?;
    if upper.part.is_some_and(|(_, offset)| offset > 0) || has_ports(upper.protocol) && upper.segment.len() < 4 {
        return None;
    }
    let ports = if has_ports(upper.protocol) { be32(upper.segment, 0) } else { 0 };
    let (port, client_port) = ((ports >> 16) as u16, ports as u16);
    Some(Flow { client: ip.destination, vip: ip.source, protocol: upper.protocol, client_port, port })
}
