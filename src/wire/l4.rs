//! What of the transport layer a forwarder needs: protocol numbers and ports.

use super::HeaderError;

/// Protocol numbers (IANA).
#[allow(missing_docs, reason = "the names are those of the IANA registry")]
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const UDP_LITE: u8 = 136;
}

/// The protocols whose headers begin with two 16-bit ports.
pub const WITH_PORTS: [u8; 5] = [protocol::TCP, protocol::UDP, protocol::DCCP, protocol::SCTP, protocol::UDP_LITE];

/// Whether a protocol's header begins with two ports.
#[inline]
pub fn has_ports(protocol: u8) -> bool {
    WITH_PORTS.contains(&protocol)
}

/// Source and destination port; both 0 where the protocol has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

/// The shortest header of a protocol, in bytes; 0 for those that are not looked into.
#[inline]
fn shortest_header(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => 20,
        protocol::DCCP | protocol::SCTP => 12,
        protocol::UDP | protocol::UDP_LITE => 8,
        _ => 0,
    }
}

impl Ports {
    /// Reads the ports of the transport header `segment` of the given protocol, which must be whole.
    #[inline]
    pub fn read(protocol: u8, segment: &[u8]) -> Result<Self, HeaderError> {
        if !has_ports(protocol) {
            return Ok(Self::default());
        }
        if segment.len() < shortest_header(protocol) {
            return Err(HeaderError::Truncated);
        }
        Self::read_quoted(segment)
    }

    /// Reads the ports of a transport header that has them, and of which no more than these need be there.
    #[inline]
    pub fn read_quoted(segment: &[u8]) -> Result<Self, HeaderError> {
        let &[s0, s1, d0, d1] = super::header::<4>(segment)?;
        Ok(Self { source: u16::from_be_bytes([s0, s1]), destination: u16::from_be_bytes([d0, d1]) })
    }

    /// Those of a packet that goes the other way.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_protocols_with_ports_have_them() {
        let mut segment = [0; 20];
        segment[..4].copy_from_slice(&[0x1f, 0x90, 0x00, 0x50]);
        for protocol in WITH_PORTS {
            assert_eq!(Ports::read(protocol, &segment), Ok(Ports { source: 8080, destination: 80 }));
            let short = &segment[..shortest_header(protocol) - 1];
            assert_eq!(Ports::read(protocol, short), Err(HeaderError::Truncated));
        }
        assert_eq!(Ports::read(protocol::ESP, &segment), Ok(Ports::default()));
        assert_eq!(Ports::read(protocol::ICMP, &[]), Ok(Ports::default()));
    }
}
