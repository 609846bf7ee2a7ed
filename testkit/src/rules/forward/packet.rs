//! Headers, read without a line of the code under test.

use std::net::IpAddr;

/// A number of two bytes, in the order of the wire.
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A number of four bytes, in the order of the wire.
pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

/// The sum of RFC 1071 over the pieces, each but the last of even length: 0xffff where a checksum in it is right.
pub fn sum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for piece in pieces {
        sum += piece
            .chunks(2)
            .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low)))
            .sum::<u64>();
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// An Ethernet frame with at most one 802.1Q tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    pub destination: &'a [u8],
    pub source: &'a [u8],
    pub tag: Option<u16>,
    pub ethertype: u16,
    pub rest: &'a [u8],
}

impl<'a> Link<'a> {
    /// `None` where the frame ends in the header.
    pub fn read(frame: &'a [u8]) -> Option<Self> {
        let tagged = frame.len() >= 14 && be16(frame, 12) == 0x8100;
        let len = if tagged { 18 } else { 14 };
        let header = frame.get(..len)?;
        Some(Self {
            destination: &frame[0..6],
            source: &frame[6..12],
            tag: tagged.then(|| be16(header, 14)),
            ethertype: be16(header, len - 2),
            rest: &frame[len..],
        })
    }
}

/// An IP packet, cut to the length that its header tells. Extension headers count as payload.
#[derive(Clone, Copy, Debug)]
pub struct Ip<'a> {
    pub v6: bool,
    /// The packet.
    pub bytes: &'a [u8],
    pub header: &'a [u8],
    pub payload: &'a [u8],
    /// DSCP and ECN.
    pub class: u8,
    pub flow_label: u32,
    pub ttl: u8,
    pub protocol: u8,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub id: u16,
    pub dont_fragment: bool,
    pub more_fragments: bool,
    /// In bytes.
    pub offset: usize,
}

impl<'a> Ip<'a> {
    /// `None` where it is no IP packet, or is not whole.
    pub fn read(ethertype: u16, bytes: &'a [u8]) -> Option<Self> {
        match ethertype {
            0x0800 => Self::read_v4(bytes),
            0x86dd => Self::read_v6(bytes),
            _ => None,
        }
    }

    fn read_v4(bytes: &'a [u8]) -> Option<Self> {
        let fixed = bytes.get(..20)?;
        let (len, total) = (usize::from(fixed[0] & 15) * 4, usize::from(be16(fixed, 2)));
        if fixed[0] >> 4 != 4 || len < 20 || total < len || total > bytes.len() {
            return None;
        }
        let address = |at: usize| IpAddr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Self {
            v6: false,
            bytes: &bytes[..total],
            header: &bytes[..len],
            payload: &bytes[len..total],
            class: fixed[1],
            flow_label: 0,
            ttl: fixed[8],
            protocol: fixed[9],
            source: address(12),
            destination: address(16),
            id: be16(fixed, 4),
            dont_fragment: fixed[6] & 0x40 != 0,
            more_fragments: fixed[6] & 0x20 != 0,
            offset: usize::from(be16(fixed, 6) & 0x1fff) * 8,
        })
    }

    fn read_v6(bytes: &'a [u8]) -> Option<Self> {
        let fixed = bytes.get(..40)?;
        let total = 40 + usize::from(be16(fixed, 4));
        if fixed[0] >> 4 != 6 || total > bytes.len() {
            return None;
        }
        let address = |at: usize| <[u8; 16]>::try_from(&bytes[at..at + 16]).ok().map(IpAddr::from);
        Some(Self {
            v6: true,
            bytes: &bytes[..total],
            header: fixed,
            payload: &bytes[40..total],
            class: fixed[0] << 4 | fixed[1] >> 4,
            flow_label: be32(fixed, 0) & 0x000f_ffff,
            ttl: fixed[7],
            protocol: fixed[6],
            source: address(8)?,
            destination: address(24)?,
            id: 0,
            dont_fragment: true,
            more_fragments: false,
            offset: 0,
        })
    }

    /// Whether the header's checksum is right; IPv6 has none.
    pub fn header_is_right(&self) -> bool {
        self.v6 || sum(&[self.header]) == 0xffff
    }

    /// Whether the checksum in `segment`, which this packet carries as `protocol`, is right. All but ICMP count the
    /// addresses.
    pub fn segment_is_right(&self, protocol: u8, segment: &[u8]) -> bool {
        if protocol == 1 {
            return sum(&[segment]) == 0xffff;
        }
        let addresses = if self.v6 { &self.header[8..40] } else { &self.header[12..20] };
        let length = (segment.len() as u32).to_be_bytes();
        sum(&[addresses, &length, &[0, protocol], segment]) == 0xffff
    }
}

/// Whether a packet comes from where nobody elsewhere is: RFC 6890 has these as not forwardable, and multicast, reserved
/// and broadcast addresses are no sources. Nor is the packet's own destination.
pub fn is_martian(ip: &Ip<'_>) -> bool {
    let is_nobodys = match ip.source {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 0
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || u32::from(v4) >= 0xf000_0000
        }
        IpAddr::V6(v6) => {
            let [first, .., mark, _, _] = v6.segments();
            first & 0xffc0 == 0xfe80
                || first & 0xff00 == 0xff00
                || u128::from(v6) <= 1
                || mark == 0xffff && v6.segments()[..5] == [0; 5]
        }
    };
    is_nobodys || ip.source == ip.destination
}

/// The destination address, as far as there are bytes for it; nothing else is looked at.
pub fn destination(link: &Link<'_>) -> Option<IpAddr> {
    match link.ethertype {
        0x0800 => <[u8; 4]>::try_from(link.rest.get(16..20)?).ok().map(IpAddr::from),
        0x86dd => <[u8; 16]>::try_from(link.rest.get(24..40)?).ok().map(IpAddr::from),
        _ => None,
    }
}
