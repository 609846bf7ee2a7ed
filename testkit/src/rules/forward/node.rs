//! The node that everything runs through: `everything.toml` and `everything.json`, without a network.

use std::net::IpAddr;

use pointsman::config;
use pointsman::control::proposal::Proposal;
use pointsman::control::set::join;
use pointsman::control::update::Builder;
use pointsman::endpoint_set;
use pointsman::forward::encap::Sources;
use pointsman::moment::{Moment, Now};
use pointsman::snapshot::{NextHop, Settings, Snapshot, Tag};
use pointsman::underlay::path_mtu::Lowered;
use pointsman::wire::ethernet::MacAddress;

use super::plan::Plan;

/// The MTU of `everything.toml`.
pub const UNDERLAY_MTU: u32 = 1400;
/// Endpoints with a smaller MTU on the way: cut short for IPv6 inside, and too short for it.
const LOWERED: [(&str, u32); 2] = [("2001:db8:10::b", 1330), ("198.51.100.11", 600)];

/// What frames are forwarded by, and what must come of it.
pub struct Node {
    /// What it forwards by.
    pub snapshot: Snapshot,
    /// What the rules take it to forward by.
    pub plan: Plan,
}

impl Default for Node {
    fn default() -> Self {
        let (config, set) = (include_str!("everything.toml"), include_str!("everything.json"));
        let config = config::parse(config).expect("a valid config");
        let underlay = &config.underlay;
        let settings = Settings {
            seed: config.seed,
            dscp: underlay.dscp,
            underlay_mtu: underlay.mtu.expect("given"),
            hop_limit: underlay.hop_limit,
            mac: MacAddress(OWN_MAC),
            sources: Sources { v4: underlay.source_v4, v6: underlay.source_v6 },
        };
        let mut builder = Builder::new(settings, 600, 1);
        let joined = join(&config, &Proposal::whole(endpoint_set::parse(set).expect("a valid set")))
            .expect("no service of the config");
        builder.update(&joined, (0, 0), Now::at(0));
        for (endpoint, mtu) in LOWERED {
            let endpoint = endpoint.parse().expect("an address");
            assert!(builder.lower_mtu(Lowered { endpoint, mtu }, Moment::default()), "{endpoint}");
        }
        builder.resolve(next_hop);
        Self { snapshot: builder.snapshot(), plan: Plan::read(set).expect("a set that this reader knows") }
    }
}

/// The interface's own address.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Where packets to an endpoint go first: each kind of tag is some endpoint's, and one endpoint cannot be reached.
pub fn next_hop(endpoint: IpAddr) -> Option<NextHop> {
    let last = match endpoint {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    let tag = match last {
        0x01 => return None,
        0x0a => Tag::AsReceived,
        0x0b => Tag::None,
        _ => Tag::Fixed(0x6fff),
    };
    Some(NextHop { destination: MacAddress([2, 0, 0, 0, 1, last]), source: MacAddress(OWN_MAC), tag })
}

/// The largest outer packet that reaches an endpoint, in bytes.
pub fn path_mtu(endpoint: IpAddr) -> usize {
    let lowered = LOWERED.iter().find(|(address, _)| address.parse() == Ok(endpoint));
    lowered.map_or(UNDERLAY_MTU, |(_, mtu)| *mtu) as usize
}
