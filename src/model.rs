//! Plain checked values: what a syncer pushes and what the rest works with. Serialised, they have the form of the
//! contract (`docs/control-protocol.md`), defaults left out.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

pub use crate::flow::Affinity;
use crate::maglev;
use crate::wire::gue;
use crate::wire::l4::protocol;

/// The most services of a set. 10,000 is what one node is measured with; this is where a set is surely a mistake.
pub const MOST_SERVICES: usize = 100_000;

/// The syncer's own label for a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Revision(pub String);

/// The number of a snapshot: grows by one with each that is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Generation(pub u64);

/// Everything a syncer pushes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndpointSet {
    /// The syncer's own label.
    pub revision: Revision,
    /// In the order of the document, which means nothing; problems are named by their place in it.
    pub services: Vec<Arc<Service>>,
}

impl EndpointSet {
    /// How many endpoints all services have together.
    pub fn endpoint_count(&self) -> usize {
        self.services.iter().map(|service| service.endpoints.len()).sum()
    }

    /// The same set; its services that are as in `other`, which is in the order of names, are the very ones from there. Nobody
    /// need compare them in full again, and they are in memory once.
    #[must_use]
    pub fn sharing(mut self, other: &Self) -> Self {
        for service in &mut self.services {
            if let Ok(place) = other.services.binary_search_by(|known| known.name.cmp(&service.name))
                && other.services[place] == *service
            {
                *service = other.services[place].clone();
            }
        }
        self
    }
}

/// A VIP match and its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Unique in its set.
    pub name: String,
    /// An address, as a prefix of full length, or a prefix.
    #[serde(serialize_with = "vip_text")]
    pub vip: IpNet,
    /// None: every protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// None: every port. Never an empty list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortRange>>,
    /// How packets are carried to the endpoints.
    pub encap: Encap,
    /// Which parts of a flow decide its endpoint.
    pub affinity: Affinity,
    /// Who answers a ping of the VIP.
    pub echo: Echo,
    /// What becomes of datagrams of flows that began before their endpoint drains.
    #[serde(skip_serializing_if = "is_default")]
    pub udp_drain: UdpDrain,
    /// Source prefixes that may use the service; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<IpNet>>,
    /// A prime; none: from the number of endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_size: Option<u32>,
    /// In the order of their names.
    pub endpoints: Vec<Endpoint>,
}

impl Service {
    /// Whether another service takes the same packets.
    pub fn matches_as(&self, other: &Self) -> bool {
        (self.vip, self.protocol, &self.ports) == (other.vip, other.protocol, &other.ports)
    }

    /// Slots of its table.
    pub fn table_size(&self) -> u32 {
        self.table_size_with(self.endpoints.len())
    }

    /// Slots of its table while it has so many endpoints.
    pub fn table_size_with(&self, endpoints: usize) -> u32 {
        self.table_size.unwrap_or_else(|| maglev::default_size(endpoints))
    }
}

/// Where a service's packets can go, usually a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Unique in its service.
    pub name: String,
    /// Where its tunnel ends.
    pub address: IpAddr,
    /// Its share, relative to the others'; 0 means draining.
    pub weight: u16,
    /// What the syncer says of it.
    pub state: State,
    /// When that state began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Endpoint {
    /// Its state; without a weight an active one drains.
    pub fn effective_state(&self) -> State {
        if self.state == State::Active && self.weight == 0 { State::Draining } else { self.state }
    }

    /// The weight with which it takes part in its service's table; 0 where it gets no new flows.
    pub fn table_weight(&self) -> u16 {
        if self.effective_state() == State::Active { self.weight } else { 0 }
    }
}

/// What an endpoint gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// New flows and its own.
    #[default]
    Active,
    /// Its own flows, no new ones.
    Draining,
    /// Nothing: its flows move.
    Down,
}

/// How packets are carried to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Encap {
    /// RFC 2784, with the key of RFC 2890 if there is one.
    Gre {
        /// All packets of a service carry the same key.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<u32>,
    },
    /// The packet itself behind an IP header (RFC 2003, 2473, 4213).
    Ipip,
    /// Generic UDP encapsulation, variant 0.
    Gue {
        /// The endpoints' UDP port.
        #[serde(skip_serializing_if = "is_default_gue_port")]
        port: u16,
        /// Whether UDP checksums are sent; none: over IPv6, where only tunnels may do without (RFC 6935), and not over
        /// IPv4.
        #[serde(skip_serializing_if = "Option::is_none")]
        checksum: Option<bool>,
    },
    /// A label that the endpoint pops (RFC 3032).
    Mpls {
        /// None: explicit null, which says no more than the inner packet's family.
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<u32>,
        /// What carries it; none: the link, so that the label is for the next hop.
        #[serde(skip_serializing_if = "Option::is_none")]
        over: Option<MplsOver>,
    },
}

/// What carries a labelled packet to its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MplsOver {
    /// GRE without a key (RFC 4023).
    Gre,
}

fn is_default_gue_port(port: &u16) -> bool {
    *port == gue::PORT
}

impl Default for Encap {
    fn default() -> Self {
        Self::Gre { key: None }
    }
}

/// Who answers a ping of the VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Echo {
    /// An endpoint where the service takes every protocol, else the node.
    #[default]
    Auto,
    /// The node.
    Reply,
    /// An endpoint.
    Forward,
}

/// Where a datagram goes whose flow is not tracked, and whose endpoint drains: nobody can tell an old flow from a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UdpDrain {
    /// To the draining endpoint, as an old flow, for a window.
    #[default]
    Keep,
    /// To an endpoint that takes new flows, at once: in a service like DNS each datagram is a flow of its own.
    Move,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An IP protocol, written by name where it has a common one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

const PROTOCOL_NAMES: [(&str, u8); 10] = [
    ("icmp", protocol::ICMP),
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("dccp", protocol::DCCP),
    ("gre", protocol::GRE),
    ("esp", protocol::ESP),
    ("ah", protocol::AUTHENTICATION),
    ("icmpv6", protocol::ICMPV6),
    ("sctp", protocol::SCTP),
    ("udplite", protocol::UDP_LITE),
];

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOL_NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The text is no protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protocol: tcp, udp, icmp, icmpv6, sctp, dccp, udplite, gre, esp, ah, or a number 0..255")]
pub struct NotAProtocol;

impl FromStr for Protocol {
    type Err = NotAProtocol;

    fn from_str(text: &str) -> Result<Self, NotAProtocol> {
        let named = PROTOCOL_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        named.map(|(_, number)| *number).or_else(|| text.parse().ok()).map(Self).ok_or(NotAProtocol)
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Destination ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port, not below the first.
    pub last: u16,
}

/// The text is no port and no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a port 1..65535 or a range such as \"8000-8099\"")]
pub struct NotAPortRange;

impl FromStr for PortRange {
    type Err = NotAPortRange;

    fn from_str(text: &str) -> Result<Self, NotAPortRange> {
        let port = |text: &str| text.trim().parse().ok().filter(|port| *port != 0).ok_or(NotAPortRange);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        (first <= last).then_some(Self { first, last }).ok_or(NotAPortRange)
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u16(self.first)
        } else {
            serializer.collect_str(&format_args!("{}-{}", self.first, self.last))
        }
    }
}

/// A moment in seconds since 1970-01-01 UTC, read and written as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// Moments whose year has four digits in UTC, as RFC 3339 writes it: 0000-01-01T00:00:00Z to 9999-12-31T23:59:59Z.
const WRITABLE: RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// The text is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a moment such as 2026-11-21T10:00:00Z (RFC 3339)")]
pub struct NotATimestamp;

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let moment: toml::value::Datetime = text.parse().map_err(|_| NotATimestamp)?;
        let (Some(date), Some(time), Some(offset)) = (moment.date, moment.time, moment.offset) else {
            return Err(NotATimestamp);
        };
        let minutes_east = match offset {
            toml::value::Offset::Z => 0,
            toml::value::Offset::Custom { minutes } => i64::from(minutes),
        };
        let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
        let second = i64::from(time.second.unwrap_or(0));
        let seconds = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + second;
        let moment = days * 86_400 + seconds - minutes_east * 60;
        WRITABLE.contains(&moment).then_some(Self(moment)).ok_or(NotATimestamp)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0.div_euclid(86_400));
        let second = self.0.rem_euclid(86_400);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; years begin in March here, so that the leap day is last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
        - 719_469
}

/// The date that many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    // Not after it, whichever side of 1970 it is on.
    let mut year = 1970 + days.div_euclid(366).min(days.div_euclid(365));
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days_since_1970(year, *month, 1) <= days).unwrap_or(1);
    (year, month, days - days_since_1970(year, month, 1) + 1)
}

fn vip_text<S: Serializer>(vip: &IpNet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&VipText(vip))
}

/// A VIP as a person writes it: an address without its full prefix length.
#[derive(Clone, Copy, Debug)]
pub struct VipText<'a>(pub &'a IpNet);

impl fmt::Display for VipText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint_set::parse;

    #[test]
    fn services_that_are_as_before_are_the_same_ones() {
        let set = |revision: &str, vip: &str| {
            let services = format!(r#"[{{"name":"b","vip":"{vip}"}},{{"name":"a","vip":"203.0.113.1"}}]"#);
            parse(&format!(r#"{{"revision":"{revision}","services":{services}}}"#)).expect("valid")
        };
        let mut before = set("1", "203.0.113.2");
        before.services.reverse();
        let after = set("2", "203.0.113.3").sharing(&before);
        assert_eq!(after, set("2", "203.0.113.3"));
        assert!(Arc::ptr_eq(&after.services[1], &before.services[0]));
    }

    #[test]
    fn moments_read_as_they_print() {
        // Seconds from `date -u -d ... +%s`.
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T10:00:00Z", 1_795_255_200),
            ("2024-02-29T23:59:59Z", 1_709_251_199),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2100-12-31T12:00:00Z", 4_133_937_600),
            ("1969-12-31T23:59:59Z", -1),
            ("1600-02-29T12:00:00Z", -11_670_955_200),
            ("0000-01-01T00:00:00Z", -62_167_219_200),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(seconds)), "{text}");
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
        assert_eq!("2026-11-21T11:30:00+01:30".parse(), Ok(Timestamp(1_795_255_200)));
        for wrong in [
            "",
            "2026-11-21",
            "10:00:00",
            "2026-11-21T10:00:00",
            "2026-13-01T00:00:00Z",
            "soon",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(wrong.parse::<Timestamp>(), Err(NotATimestamp), "{wrong}");
        }
    }

    #[test]
    fn ports_and_ranges() {
        assert_eq!("80".parse(), Ok(PortRange { first: 80, last: 80 }));
        assert_eq!("8000-8099".parse(), Ok(PortRange { first: 8000, last: 8099 }));
        for wrong in ["", "0", "65536", "9-8", "1-", "-1", "a"] {
            assert_eq!(wrong.parse::<PortRange>(), Err(NotAPortRange), "{wrong}");
        }
    }

    #[test]
    fn protocols_by_name_or_number() {
        assert_eq!("TCP".parse(), Ok(Protocol(6)));
        assert_eq!("89".parse(), Ok(Protocol(89)));
        assert_eq!(Protocol(89).to_string(), "89");
        assert_eq!(Protocol(58).to_string(), "icmpv6");
        assert_eq!("256".parse::<Protocol>(), Err(NotAProtocol));
    }

    #[test]
    fn an_endpoint_without_weight_or_not_active_takes_no_new_flows() {
        let endpoint = |weight, state| {
            let address = IpAddr::from([192, 0, 2, 1]);
            Endpoint { name: "a".into(), address, weight, state, since: None }.table_weight()
        };
        assert_eq!(endpoint(5, State::Active), 5);
        assert_eq!(endpoint(0, State::Active), 0);
        assert_eq!(endpoint(5, State::Draining), 0);
        assert_eq!(endpoint(5, State::Down), 0);
    }
}
