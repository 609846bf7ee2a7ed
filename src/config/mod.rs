//! TOML → checked [`Config`]: all defaults, all errors at once. Section 3 of the contract.

mod read;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::document::{Node, Problem, Problems, parse_toml};
use crate::flow::Seed;
use crate::forward::encap::Source;
use crate::model::Service;
use crate::snapshot::Dscp;
use crate::wire::ethernet::MacAddress;

/// The outer MTU of a node that has no interface to ask (`replay`).
pub const DEFAULT_MTU: u32 = 1500;
/// The interface's address where there is no interface to ask (`replay`).
pub const DEFAULT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// The smallest underlay MTU: what every link of IPv4 carries (RFC 791 section 3.2). What services need beyond that is looked
/// at one by one: it depends on the VIP's family and on the headers in front.
pub const SMALLEST_MTU: u32 = 68;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[node]`
    pub node: NodeConfig,
    /// `[interface]`
    pub interface: InterfaceConfig,
    /// `[underlay]`
    pub underlay: UnderlayConfig,
    /// `hash.seed`
    pub seed: Seed,
    /// `[handover]`
    pub handover: HandoverConfig,
    /// `[control]`
    pub control: ControlConfig,
    /// `[announce]`
    pub announce: AnnounceConfig,
    /// `metrics.listen`
    pub metrics_listen: SocketAddr,
    /// `[[service]]`: those that need no syncer.
    pub services: Vec<Arc<Service>>,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// None: the host name.
    pub name: Option<String>,
    /// Keeps the last applied endpoint set.
    pub state_dir: PathBuf,
}

/// Which kernel interface moves frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// AF_XDP where it is to be had, else AF_PACKET.
    Auto,
    /// AF_XDP or nothing.
    AfXdp,
    /// AF_PACKET.
    AfPacket,
}

/// How the steering program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native where the driver can, else generic.
    Auto,
    /// In the driver.
    Native,
    /// In the kernel's common receive path.
    Generic,
}

/// Whether frames are shared with the device or copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Shared where the driver can.
    Auto,
    /// Shared or nothing.
    On,
    /// Copied.
    Off,
}

/// How a worker waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Asks for a while, then sleeps until the kernel wakes it.
    Adaptive,
    /// Never sleeps.
    Busy,
}

/// `[interface]`
#[derive(Clone, Debug, PartialEq)]
pub struct InterfaceConfig {
    /// Client traffic and tunnels both use it.
    pub name: String,
    /// None: the interface's own.
    pub mac: Option<MacAddress>,
    /// `driver`
    pub driver: Driver,
    /// `xdp_mode`
    pub xdp_mode: XdpMode,
    /// `zero_copy`
    pub zero_copy: ZeroCopy,
    /// None: all.
    pub queues: Option<Vec<u32>>,
    /// One a worker; none: chosen.
    pub cores: Option<Vec<usize>>,
    /// Frames of packet memory a worker; a power of two.
    pub frames: u32,
    /// A directory on a bpffs.
    pub pin: PathBuf,
    /// The most frames taken at once.
    pub batch: usize,
    /// `poll`
    pub poll: Poll,
}

/// `[underlay]`
#[derive(Clone, Debug, PartialEq)]
pub struct UnderlayConfig {
    /// None: the interface's address.
    pub source_v6: Option<Source<Ipv6Addr>>,
    /// None: the interface's address.
    pub source_v4: Option<Source<Ipv4Addr>>,
    /// None: the interface's.
    pub mtu: Option<u32>,
    /// Of outer packets.
    pub hop_limit: u8,
    /// Outer DSCP.
    pub dscp: Dscp,
    /// None: kernel routes and neighbours.
    pub next_hop: Option<MacAddress>,
}

/// `[handover]`
#[derive(Clone, Debug, PartialEq)]
pub struct HandoverConfig {
    /// How long a slot remembers.
    pub window: Duration,
    /// A worker; bounds its memory.
    pub tracked_flows: u32,
}

impl HandoverConfig {
    /// The window in whole seconds, as slot memories count.
    pub fn window_seconds(&self) -> u32 {
        u32::try_from(self.window.as_secs()).unwrap_or(u32::MAX)
    }
}

/// `[control]`
#[derive(Clone, Debug, PartialEq)]
pub struct ControlConfig {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// Its group; none: the daemon's own.
    pub group: Option<String>,
    /// Who may write, by the peer's credentials.
    pub allow_users: Vec<String>,
    /// What a syncer may claim as a VIP; none: anything.
    pub vip_allow: Option<Vec<IpNet>>,
}

/// `[announce]`
#[derive(Clone, Debug, PartialEq)]
pub struct AnnounceConfig {
    /// Whether VIPs that have an endpoint get a blackhole route.
    pub routes: bool,
    /// How long forwarding goes on after SIGTERM, once the routes are withdrawn.
    pub drain_time: Duration,
}

/// Reads and checks a config file.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problems(vec![Problem::at("", &format!("cannot be read: {error}"))]))?;
    parse(&text)
}

/// Reads and checks the text of a config.
pub fn parse(text: &str) -> Result<Config, Problems> {
    let (tree, collector) = parse_toml(text)?;
    let config = read::config(&Node::root(&tree, &collector));
    collector.finish(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_but_the_interface_has_a_default() {
        let config = parse("[interface]\nname = \"eth0\"\n").expect("valid");
        assert_eq!(config.interface.frames, 4096);
        assert_eq!(config.interface.queues, None);
        assert_eq!(config.underlay.dscp, Dscp::Copy);
        assert_eq!(config.handover.window, Duration::from_secs(600));
        assert_eq!(config.control.allow_users, ["root"]);
        assert_eq!(config.metrics_listen.to_string(), "127.0.0.1:9750");
        assert_eq!(config.announce, AnnounceConfig { routes: false, drain_time: Duration::ZERO });
        assert!(config.services.is_empty());
    }

    #[test]
    fn reads_every_key() {
        let text = include_str!("every-key.toml");
        let config = parse(text).expect("valid");
        assert_eq!(config.node.name.as_deref(), Some("edge-1"));
        assert_eq!(config.interface.mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
        assert_eq!(config.interface.queues, Some(vec![0, 1]));
        assert_eq!(config.interface.cores, Some(vec![1, 2]));
        let source = config.underlay.source_v6.expect("given");
        assert_eq!(source.entropy, "::ffff:ffff".parse::<Ipv6Addr>().expect("v6"));
        assert_eq!(config.underlay.dscp, Dscp::Fixed(46));
        assert_eq!(config.seed.0[15], 15);
        assert_eq!(config.control.mode, 0o600);
        assert_eq!(config.control.vip_allow.map(|list| list.len()), Some(2));
        assert_eq!(config.announce, AnnounceConfig { routes: true, drain_time: Duration::from_secs(15) });
        assert_eq!(config.services[0].endpoints[0].name, "a");
    }

    #[test]
    fn each_kind_of_error_names_its_key() {
        for (line, expected) in [
            ("[interface]\nnmae = \"x\"", "line 4: interface.nmae: unknown key"),
            ("[colour]", "colour: unknown key"),
            ("[interface]\nmac = \"01:00:00:00:00:01\"", "interface.mac: 01:00:00:00:00:01 is not the address of one"),
            ("[interface]\nmac = \"x\"", "interface.mac: \"x\" is not a MAC address"),
            ("[interface]\ndriver = \"dpdk\"", "interface.driver: \"dpdk\" is not one of \"auto\", \"af_xdp\""),
            ("[interface]\nxdp_mode = 1", "interface.xdp_mode: 1 is not one of"),
            ("[interface]\nqueues = \"some\"", "interface.queues: \"some\" is not one of \"all\""),
            ("[interface]\nqueues = []", "interface.queues: must name at least one"),
            ("[interface]\nqueues = [1, 1]", "interface.queues: must name at least one, and none twice"),
            ("[interface]\nqueues = [0, 1]\ncores = [1]", "interface.cores: 1 cores for 2 queues"),
            ("[interface]\nframes = 1000", "interface.frames: 1000 is not a power of two; the next one is 1024"),
            ("[interface]\npin = \"bpf\"", "interface.pin: \"bpf\" is not an absolute path"),
            ("[interface]\nbatch = 0", "interface.batch: 0 is not a whole number 1..1024"),
            ("[underlay]\nsource_v6 = \"192.0.2.1\"", "underlay.source_v6: 192.0.2.1 is not an IPv6 address"),
            ("[underlay]\nsource_v6 = \"2001:db8::/32\"", "underlay.source_v6: /32 is too short"),
            ("[underlay]\nsource_v4 = \"192.0.2.1/24\"", "has host bits; the prefix is 192.0.2.0/24"),
            ("[underlay]\nmtu = 67", "underlay.mtu: 67 is not a whole number 68..65535"),
            ("[underlay]\nhop_limit = 0", "underlay.hop_limit: 0 is not a whole number 1..255"),
            ("[underlay]\ndscp = 64", "underlay.dscp: 64 is not a whole number 0..63"),
            ("[underlay]\nnext_hop = \"eth0\"", "underlay.next_hop: \"eth0\" is not a MAC address"),
            ("[hash]\nseed = \"00\"", "hash.seed: not 128 bits as 32 hexadecimal digits"),
            ("[handover]\nwindow = \"10\"", "handover.window: \"10\" is not a time"),
            ("[handover]\ntracked_flows = 1", "handover.tracked_flows: 1 is not a whole number"),
            ("[control]\nmode = \"0888\"", "control.mode: not permission bits"),
            ("[control]\nallow_users = [1]", "control.allow_users[0]: 1 is not a string"),
            ("[control]\nvip_allow = [\"x\"]", "control.vip_allow[0]: \"x\" is not an IP address or a prefix"),
            ("[announce]\nroutes = 1", "announce.routes: 1 is not true or false"),
            ("[announce]\ndrain_time = \"5\"", "announce.drain_time: \"5\" is not a time from 0s to 24h"),
            ("[metrics]\nlisten = \"9750\"", "metrics.listen: \"9750\" is not an address and port"),
            ("[[service]]\nname = \"a\"", "service[0].vip: missing"),
            ("[node]\nname = \"\"", "node.name: \"\" is not a name"),
        ] {
            let with_name = match line.strip_prefix("[interface]\n") {
                Some(rest) => format!("# a comment\n[interface]\nname = \"eth0\"\n{rest}\n"),
                None => format!("# a comment\n[interface]\nname = \"eth0\"\n{line}\n"),
            };
            let problems = parse(&with_name).map(|_| String::new()).unwrap_or_else(|problems| problems.to_string());
            assert!(problems.contains(expected), "{line}\n  gave     {problems}\n  expected {expected}");
        }
    }

    #[test]
    fn all_errors_at_once() {
        let problems = parse("node = 1\n[interface]\nframes = 3\n[hash]\nseed = 1\n").expect_err("four problems");
        assert_eq!(problems.0.len(), 4, "{problems}");
        assert_eq!(parse("").expect_err("no interface").to_string(), "interface: missing");
    }
}
