//! What is put in front of a packet, Ethernet's addresses and tag aside.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{LONGEST, Source, Sources};
use crate::flow::FlowHash;
use crate::model::{Encap, MplsOver};
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{ETHERTYPE_LEN, ethertype};
use crate::wire::l4::protocol;
use crate::wire::{Family, gre, gue, ipv4, ipv6, mpls, udp};

/// The longest headers, with the ethertype before them.
pub(super) const WITH_TYPE: usize = ETHERTYPE_LEN + LONGEST;

/// The outer headers of packets to one endpoint. Only its address is its own: those of 100,000 endpoints are to lie in the
/// caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    headers: Arc<OuterHeaders>,
    /// One of IPv4 in front.
    address: [u8; 16],
}

/// Outer headers as they leave, but for the endpoint's address and what depends on the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OuterHeaders {
    /// Ethertype and headers. They end where it ends: so all of it can be copied to before a packet, which costs less than to
    /// copy as much as there is.
    bytes: [u8; WITH_TYPE],
    /// Length of the headers.
    len: u8,
    carrier: Carrier,
    tunnel: Tunnel,
}

/// The outermost header behind Ethernet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Carrier {
    V4,
    V6,
    Label,
}

/// What of the headers behind it depends on the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tunnel {
    Nothing,
    Udp,
    UdpWithChecksum,
    Label,
}

impl OuterHeaders {
    /// The headers to reach endpoints of a family with packets of the family `inner`, or `None` where this node has no
    /// source address of the endpoints' family.
    pub fn new(encap: Encap, inner: Family, endpoint: Family, sources: &Sources, hop_limit: u8) -> Option<Self> {
        let mut outer = Self { bytes: [0; WITH_TYPE], len: 0, carrier: Carrier::Label, tunnel: Tunnel::Nothing };
        match encap {
            Encap::Gre { key } => {
                outer.add_ip(endpoint, sources, hop_limit, protocol::GRE)?;
                outer.add(gre::header_len(key), |into| gre::write(into, key, inner.ethertype()));
            }
            Encap::Ipip => outer.add_ip(endpoint, sources, hop_limit, inner.protocol())?,
            Encap::Gue { port, checksum } => {
                outer.add_ip(endpoint, sources, hop_limit, protocol::UDP)?;
                let has_checksum = checksum.unwrap_or(endpoint == Family::V6);
                outer.tunnel = if has_checksum { Tunnel::UdpWithChecksum } else { Tunnel::Udp };
                outer.add(udp::HEADER_LEN, |into| udp::template(into, port));
                outer.add(gue::HEADER_LEN, |into| gue::write(into, inner.protocol()));
            }
            Encap::Mpls { label, over } => {
                if over == Some(MplsOver::Gre) {
                    outer.add_ip(endpoint, sources, hop_limit, protocol::GRE)?;
                    outer.add(gre::HEADER_LEN, |into| gre::write(into, None, ethertype::MPLS));
                }
                outer.tunnel = Tunnel::Label;
                let label = label.unwrap_or(inner.explicit_null());
                outer.add(mpls::ENTRY_LEN, |into| mpls::write(into, label, hop_limit));
            }
        }
        let ethertype = outer.ethertype().to_be_bytes();
        outer.bytes[..ETHERTYPE_LEN].copy_from_slice(&ethertype);
        // They were written from the start on.
        let unused = LONGEST - outer.overhead();
        outer.bytes.rotate_right(unused);
        Some(outer)
    }

    fn add_ip(&mut self, endpoint: Family, sources: &Sources, hop_limit: u8, protocol: u8) -> Option<()> {
        match endpoint {
            Family::V4 => {
                let Source { address, .. } = sources.v4?;
                self.carrier = Carrier::V4;
                let header = ipv4::template(address, Ipv4Addr::UNSPECIFIED, hop_limit, protocol);
                self.add(ipv4::HEADER_LEN, |into| into[..ipv4::HEADER_LEN].copy_from_slice(&header));
            }
            Family::V6 => {
                let Source { address, .. } = sources.v6?;
                self.carrier = Carrier::V6;
                let header = ipv6::template(address, Ipv6Addr::UNSPECIFIED, hop_limit, protocol);
                self.add(ipv6::HEADER_LEN, |into| into[..ipv6::HEADER_LEN].copy_from_slice(&header));
            }
        }
        Some(())
    }

    fn add(&mut self, len: usize, write: impl FnOnce(&mut [u8])) {
        let at = ETHERTYPE_LEN + self.overhead();
        write(&mut self.bytes[at..]);
        self.len += len as u8;
    }

    /// How many bytes it adds to an IP packet.
    #[inline]
    pub fn overhead(&self) -> usize {
        usize::from(self.len)
    }

    fn ethertype(&self) -> u16 {
        match self.carrier {
            Carrier::V4 => ethertype::IPV4,
            Carrier::V6 => ethertype::IPV6,
            Carrier::Label => ethertype::MPLS,
        }
    }

    /// Completes what lies behind the IP header.
    #[inline(never)]
    fn fill_tunnel(&self, headers: &mut [u8], total: usize, (hash, traffic_class): (FlowHash, u8)) {
        match self.tunnel {
            Tunnel::Nothing => {}
            Tunnel::Udp | Tunnel::UdpWithChecksum => {
                udp::fill(&mut headers[self.ip_len()..], hash.source_port(), (total - self.ip_len()) as u16);
            }
            Tunnel::Label => {
                let at = headers.len() - mpls::ENTRY_LEN;
                mpls::set_traffic_class(&mut headers[at..], traffic_class >> 5);
            }
        }
    }

    /// Whether [`set_udp_checksum`](Self::set_udp_checksum) is still to be called when headers have been written.
    #[inline]
    pub(super) fn has_udp_checksum(&self) -> bool {
        self.tunnel == Tunnel::UdpWithChecksum
    }

    /// Puts the UDP checksum into finished headers at the end of `headers`. `pieces` are those of the packet; all but the last
    /// have an even length.
    #[inline(never)]
    pub(super) fn set_udp_checksum(&self, headers: &mut [u8], pieces: &[&[u8]]) {
        let at = headers.len() - self.overhead();
        let (ip, udp) = headers[at..].split_at_mut(self.ip_len());
        let addresses = if self.carrier == Carrier::V4 { &ip[12..20] } else { &ip[8..40] };
        let pseudo = Sum::default().add_bytes(addresses).add_word(protocol::UDP.into());
        let len = udp.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let sum = pseudo.add_word(len as u16).add_bytes(udp);
        udp::set_checksum(udp, pieces.iter().fold(sum, |sum, piece| sum.add_bytes(piece)));
    }

    fn ip_len(&self) -> usize {
        match self.carrier {
            Carrier::V4 => ipv4::HEADER_LEN,
            Carrier::V6 => ipv6::HEADER_LEN,
            Carrier::Label => 0,
        }
    }
}

/// The headers that endpoints share.
#[derive(Debug, Default)]
pub struct SharedHeaders(HashSet<Arc<OuterHeaders>>);

impl SharedHeaders {
    /// The same headers, where there are such already.
    pub fn share(&mut self, headers: OuterHeaders) -> Arc<OuterHeaders> {
        if let Some(known) = self.0.get(&headers) {
            return known.clone();
        }
        let new = Arc::new(headers);
        self.0.insert(new.clone());
        new
    }

    /// Forgets those that no endpoint has any more.
    pub fn drop_unused(&mut self) {
        self.0.retain(|headers| Arc::strong_count(headers) > 1);
    }
}

impl Outer {
    /// The headers to reach an endpoint of the family that `headers` are for.
    pub fn new(headers: Arc<OuterHeaders>, endpoint: IpAddr) -> Self {
        let mut address = [0; 16];
        match endpoint {
            IpAddr::V4(v4) => address[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => address = v6.octets(),
        }
        Self { headers, address }
    }

    /// How many bytes they add to an IP packet.
    #[inline]
    pub fn overhead(&self) -> usize {
        self.headers.overhead()
    }

    /// What goes between Ethernet's header and the packet.
    #[inline]
    pub(super) fn headers(&self) -> &OuterHeaders {
        &self.headers
    }

    /// Writes the ethertype and the headers to the end of `into`, for a packet of `len` bytes, but for a UDP checksum.
    #[inline(always)]
    pub(super) fn write(
        &self,
        into: &mut [u8; WITH_TYPE],
        len: usize,
        (hash, traffic_class): (FlowHash, u8),
        sources: &Sources,
    ) {
        let headers = &*self.headers;
        *into = headers.bytes;
        let into = &mut into[WITH_TYPE - headers.overhead()..];
        let total = headers.overhead() + len;
        match headers.carrier {
            Carrier::V4 => {
                let bits = sources.v4.map_or(0, |own| v4_host_bits(hash, own.entropy.into()));
                let [a, b, c, d, ..] = self.address;
                ipv4::set_destination(into, &[a, b, c, d]);
                ipv4::fill(into, bits, traffic_class, total as u16);
            }
            Carrier::V6 => {
                let bits = sources.v6.map_or(0, |own| v6_host_bits(hash, own.entropy.into()));
                ipv6::set_destination(into, &self.address);
                ipv6::fill(into, bits, traffic_class, hash.flow_label(), (total - ipv6::HEADER_LEN) as u16);
            }
            Carrier::Label => {}
        }
        if headers.tunnel != Tunnel::Nothing {
            headers.fill_tunnel(into, total, (hash, traffic_class));
        }
    }
}

/// The bits of an outer source that come from the flow hash: not 0, which is the subnet-router anycast address (RFC 4291
/// section 2.6.1).
fn v6_host_bits(hash: FlowHash, entropy: u128) -> u128 {
    match u128::from(hash.0) & entropy {
        0 => entropy & 1,
        bits => bits,
    }
}

/// The same for IPv4: neither all 0, the network itself, nor all 1, its broadcast address; a /31 has two hosts (RFC 3021).
fn v4_host_bits(hash: FlowHash, entropy: u32) -> u32 {
    match hash.0 as u32 & entropy {
        0 => entropy & 1,
        all if all == entropy && entropy > 1 => all - 1,
        bits => bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_never_makes_a_networks_own_address() {
        let v4 = |hash: u64| v4_host_bits(FlowHash(hash), 0xff);
        assert_eq!((v4(0x1234), v4(0x1200), v4(0x12ff)), (0x34, 1, 0xfe));
        assert_eq!(v4_host_bits(FlowHash(u64::MAX), 0), 0, "an address has no host bits");
        assert_eq!(v4_host_bits(FlowHash(u64::MAX), 1), 1, "both addresses of a /31 are hosts");
        let v6 = |hash: u64| v6_host_bits(FlowHash(hash), 0xff);
        assert_eq!((v6(0x1234), v6(0x1200), v6(0x12ff)), (0x34, 1, 0xff));
        assert_eq!(v6_host_bits(FlowHash(u64::MAX), 0), 0);
    }

    #[test]
    fn endpoints_share_headers_while_there_are_any() {
        let source = Source { address: "192.0.2.1".parse().expect("an address"), entropy: Ipv4Addr::UNSPECIFIED };
        let sources = Sources { v4: Some(source), v6: None };
        let headers =
            |hop_limit| OuterHeaders::new(Encap::Ipip, Family::V4, Family::V4, &sources, hop_limit).expect("v4");
        let mut shared = SharedHeaders::default();
        let (one, same, other) = (shared.share(headers(64)), shared.share(headers(64)), shared.share(headers(65)));
        assert!(Arc::ptr_eq(&one, &same) && one != other);
        drop(other);
        shared.drop_unused();
        assert_eq!((shared.0.len(), shared.0.contains(&one)), (1, true));
    }
}
