//! Config → what all services share.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::{Config, DEFAULT_MAC, DEFAULT_MTU};
use crate::forward::encap::{Source, Sources};
use crate::snapshot::Settings;
use crate::underlay::Link;

/// The largest IP packet, in bytes; a loopback's MTU is larger.
const LARGEST_PACKET: u32 = 65_535;

/// The settings by this config; where it leaves the choice, the interface's. Without an interface sources can be missing,
/// and the MTU is the usual one.
pub fn settings(config: &Config, link: Option<&Link>) -> Settings {
    let underlay = &config.underlay;
    let own_v4 = || Some(Source { address: link?.source_v4()?, entropy: Ipv4Addr::UNSPECIFIED });
    let own_v6 = || Some(Source { address: link?.source_v6()?, entropy: Ipv6Addr::UNSPECIFIED });
    Settings {
        seed: config.seed,
        dscp: underlay.dscp,
        underlay_mtu: underlay_mtu(config, link.map_or(DEFAULT_MTU, |link| link.mtu)),
        hop_limit: underlay.hop_limit,
        mac: config.interface.mac.or(link.map(|link| link.mac)).unwrap_or(DEFAULT_MAC),
        sources: Sources { v4: underlay.source_v4.or_else(own_v4), v6: underlay.source_v6.or_else(own_v6) },
    }
}

/// The largest IP packet that the underlay carries, in bytes, over a link of this MTU.
pub fn underlay_mtu(config: &Config, link_mtu: u32) -> u32 {
    config.underlay.mtu.unwrap_or(link_mtu).min(LARGEST_PACKET)
}
