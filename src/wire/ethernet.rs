//! Ethernet II, with one optional 802.1Q tag.

use std::fmt;
use std::str::FromStr;

use super::{HeaderError, field16, header};

/// Length of an untagged header, in bytes.
pub const HEADER_LEN: usize = 14;
/// Length of an 802.1Q tag, in bytes.
pub const TAG_LEN: usize = 4;
/// Length of the ethertype, with which a header ends, in bytes.
pub const ETHERTYPE_LEN: usize = 2;

/// The bit of an address's first byte that makes it a group's.
const GROUP: u8 = 1;

/// Ethertypes (IEEE 802 numbers).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// MPLS, one receiver (RFC 3032).
    pub const MPLS: u16 = 0x8847;
    /// An 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
}

/// A 48-bit Ethernet address, in the order of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six colon-separated pairs of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address such as 02:00:00:00:00:01")]
pub struct NotAMacAddress;

impl FromStr for MacAddress {
    type Err = NotAMacAddress;

    fn from_str(text: &str) -> Result<Self, NotAMacAddress> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(NotAMacAddress)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| NotAMacAddress)?;
        }
        parts.next().is_none().then_some(Self(bytes)).ok_or(NotAMacAddress)
    }
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Whom the frame is for.
    pub destination: MacAddress,
    /// Who sent it.
    pub source: MacAddress,
    /// The tag's control field (priority, drop eligible, VLAN), where there is a tag.
    pub tag: Option<u16>,
    /// Ethertype of the payload.
    pub ethertype: u16,
}

impl Ethernet {
    /// Reads the header at the start of `frame`.
    #[inline]
    pub fn read(frame: &[u8]) -> Result<Self, HeaderError> {
        let fixed = header::<HEADER_LEN>(frame)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *fixed;
        let mut ethernet = Self {
            destination: MacAddress([d0, d1, d2, d3, d4, d5]),
            source: MacAddress([s0, s1, s2, s3, s4, s5]),
            tag: None,
            ethertype: field16(fixed, 12),
        };
        if ethernet.ethertype == ethertype::VLAN {
            let tagged = header::<{ HEADER_LEN + TAG_LEN }>(frame)?;
            ethernet.tag = Some(field16(tagged, 14));
            ethernet.ethertype = field16(tagged, 16);
        }
        Ok(ethernet)
    }

    /// Length of the header on the wire, in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        if self.tag.is_some() { HEADER_LEN + TAG_LEN } else { HEADER_LEN }
    }

    /// Whether it is for more than one receiver, or names more than one as its sender: the group bit, which the broadcast
    /// address has too (IEEE 802 section 8.2).
    #[inline]
    pub fn is_group(&self) -> bool {
        (self.destination.0[0] | self.source.0[0]) & GROUP != 0
    }

    /// Writes the header to the start of `into` and answers its length; `into` holds at least
    /// [`header_len`](Self::header_len) bytes.
    pub fn write(&self, into: &mut [u8]) -> usize {
        into[..12].copy_from_slice(&addresses(self.destination, self.source));
        let mut at = 12;
        if let Some(control) = self.tag {
            into[at..at + TAG_LEN].copy_from_slice(&tag(control));
            at += TAG_LEN;
        }
        into[at..at + ETHERTYPE_LEN].copy_from_slice(&self.ethertype.to_be_bytes());
        at + ETHERTYPE_LEN
    }
}

/// The addresses, with which a header begins.
#[inline]
pub fn addresses(destination: MacAddress, source: MacAddress) -> [u8; 12] {
    let ([d0, d1, d2, d3, d4, d5], [s0, s1, s2, s3, s4, s5]) = (destination.0, source.0);
    [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]
}

/// Whether one of a header's addresses is a group's.
#[inline(always)]
pub fn is_group(header: &[u8; HEADER_LEN]) -> bool {
    (header[0] | header[6]) & GROUP != 0
}

/// The tag with this control field, which stands between addresses and ethertype.
#[inline]
pub fn tag(control: u16) -> [u8; TAG_LEN] {
    let ([t0, t1], [c0, c1]) = (ethertype::VLAN.to_be_bytes(), control.to_be_bytes());
    [t0, t1, c0, c1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_with_and_without_a_tag() {
        for tag in [None, Some(0x2064)] {
            let ethernet = Ethernet {
                destination: MacAddress([2, 0, 0, 0, 0, 1]),
                source: MacAddress([2, 0, 0, 0, 0, 2]),
                tag,
                ethertype: ethertype::IPV6,
            };
            let mut bytes = [0; 18];
            let len = ethernet.write(&mut bytes);
            assert_eq!(len, ethernet.header_len());
            assert_eq!(Ethernet::read(&bytes[..len]), Ok(ethernet));
            assert_eq!(Ethernet::read(&bytes[..len - 1]), Err(HeaderError::Truncated));
        }
    }

    #[test]
    fn addresses_read_as_they_print() {
        let text = "02:00:5e:10:00:ff";
        assert_eq!(text.parse::<MacAddress>().map(|mac| mac.to_string()), Ok(text.to_owned()));
        for wrong in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:ff:00", "2:0:5e:10:0:ff", "02-00-5e-10-00-ff", "+2:00:5e:10:00:ff0"]
        {
            assert_eq!(wrong.parse::<MacAddress>(), Err(NotAMacAddress), "{wrong}");
        }
    }
}
