//! The tree of a config → [`Config`]: each section's keys, defaults and bounds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    AnnounceConfig, Config, ControlConfig, Driver, HandoverConfig, InterfaceConfig, NodeConfig, Poll, SMALLEST_MTU,
    UnderlayConfig, XdpMode, ZeroCopy,
};
use crate::document::{Node, Table};
use crate::endpoint_set::{LONGEST_LIST, read_prefix, read_services};
use crate::flow::Seed;
use crate::forward::encap::Source;
use crate::snapshot::Dscp;
use crate::wire::ethernet::MacAddress;

/// The whole document; every problem goes to its collector.
pub(super) fn config(root: &Node<'_>) -> Option<Config> {
    const SECTIONS: &[&str] =
        &["node", "interface", "underlay", "hash", "handover", "control", "announce", "metrics", "service"];
    let table = root.table(SECTIONS)?;
    let node = read_node(&Section::open(&table, "node", &["name", "state_dir"]));
    let interface = read_interface(&table);
    let underlay = read_underlay(&Section::open(
        &table,
        "underlay",
        &["source_v6", "source_v4", "mtu", "hop_limit", "dscp", "next_hop"],
    ));
    let hash = Section::open(&table, "hash", &["seed"]);
    let seed = hash.or("seed", Seed([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]), read_seed);
    let handover = read_handover(&Section::open(&table, "handover", &["window", "tracked_flows"]));
    let control =
        read_control(&Section::open(&table, "control", &["socket", "mode", "group", "allow_users", "vip_allow"]));
    let announce = read_announce(&Section::open(&table, "announce", &["routes", "drain_time"]));
    let metrics = Section::open(&table, "metrics", &["listen"]);
    let metrics_listen = metrics.or("listen", SocketAddr::from(([127, 0, 0, 1], 9750)), socket_address);
    let services = table.get("service").map_or(Some(Vec::new()), |list| read_services(&list));
    Some(Config {
        node: node?,
        interface: interface?,
        underlay: underlay?,
        seed: seed?,
        handover: handover?,
        control: control?,
        announce: announce?,
        metrics_listen: metrics_listen?,
        services: services?,
    })
}

/// One `[section]`; one that is missing is an empty one, one that is no table reads as if every key were wrong.
struct Section<'a> {
    table: Option<Table<'a>>,
    broken: bool,
}

impl<'a> Section<'a> {
    fn open(root: &Table<'a>, name: &str, keys: &[&str]) -> Self {
        let node = root.get(name);
        let table = node.as_ref().and_then(|node| node.table(keys));
        Self { broken: node.is_some() && table.is_none(), table }
    }

    fn get(&self, key: &str) -> Option<Node<'a>> {
        self.table.as_ref()?.get(key)
    }

    /// The value of a key, or its default; `None` where it is wrong.
    fn or<T>(&self, key: &str, default: T, read: impl Fn(&Node<'a>) -> Option<T>) -> Option<T> {
        if self.broken {
            return None;
        }
        self.get(key).map_or(Some(default), |node| read(&node))
    }

    /// The value of a key that may be missing; `None` where it is wrong.
    fn optional<T>(&self, key: &str, read: impl Fn(&Node<'a>) -> Option<T>) -> Option<Option<T>> {
        self.or(key, None, |node| read(node).map(Some))
    }
}

fn read_node(section: &Section<'_>) -> Option<NodeConfig> {
    let name = section.optional("name", |node| node.name(253));
    let state_dir = section.or("state_dir", "/var/lib/pointsman".into(), absolute_path);
    Some(NodeConfig { name: name?, state_dir: state_dir? })
}

fn read_interface(root: &Table<'_>) -> Option<InterfaceConfig> {
    const KEYS: &[&str] =
        &["name", "mac", "driver", "xdp_mode", "zero_copy", "queues", "cores", "frames", "pin", "batch", "poll"];
    let table = root.require("interface")?.table(KEYS)?;
    let name = table.require("name").and_then(|node| interface_name(&node));
    let section = Section { table: Some(table), broken: false };
    let mac = section.optional("mac", read_unicast_mac);
    let driver = section.or("driver", Driver::Auto, |node| {
        node.choice(&[("auto", Driver::Auto), ("af_xdp", Driver::AfXdp), ("af_packet", Driver::AfPacket)])
    });
    let xdp_mode = section.or("xdp_mode", XdpMode::Auto, |node| {
        node.choice(&[("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)])
    });
    let zero_copy = section.or("zero_copy", ZeroCopy::Auto, |node| {
        node.choice(&[("auto", ZeroCopy::Auto), ("on", ZeroCopy::On), ("off", ZeroCopy::Off)])
    });
    let queues = section.or("queues", None, read_queues);
    let cores = section.optional("cores", |node| {
        distinct(node, 1023).map(|cores| cores.into_iter().map(|core| core as usize).collect::<Vec<_>>())
    });
    let frames = section.or("frames", 4096, read_frames);
    let pin = section.or("pin", "/sys/fs/bpf/pointsman".into(), absolute_path);
    let batch = section.or("batch", 64, |node| node.integer(1..=1024).map(|batch| batch as usize));
    let poll =
        section.or("poll", Poll::Adaptive, |node| node.choice(&[("adaptive", Poll::Adaptive), ("busy", Poll::Busy)]));
    if let (Some(Some(cores)), Some(Some(queues))) = (&cores, &queues)
        && cores.len() != queues.len()
        && let Some(node) = section.get("cores")
    {
        node.refuse(format!(
            "{} cores for {} queues; each queue has one worker on one core",
            cores.len(),
            queues.len()
        ));
    }
    Some(InterfaceConfig {
        name: name?,
        mac: mac?,
        driver: driver?,
        xdp_mode: xdp_mode?,
        zero_copy: zero_copy?,
        queues: queues?,
        cores: cores?,
        frames: frames?,
        pin: pin?,
        batch: batch?,
        poll: poll?,
    })
}

fn interface_name(node: &Node<'_>) -> Option<String> {
    let name = node.name(15)?;
    if name.contains(['/', ' ', ':']) || name == "." || name == ".." {
        node.refuse(format!("\"{name}\" cannot be the name of an interface"));
        return None;
    }
    Some(name)
}

fn read_unicast_mac(node: &Node<'_>) -> Option<MacAddress> {
    let mac: MacAddress = node.parsed()?;
    if mac.0[0] & 1 != 0 || mac == MacAddress::default() {
        node.refuse(format!("{mac} is not the address of one interface"));
        return None;
    }
    Some(mac)
}

fn read_queues(node: &Node<'_>) -> Option<Option<Vec<u32>>> {
    if node.is_text() {
        return node.choice(&[("all", ())]).map(|()| None);
    }
    let queues = distinct(node, 255)?;
    Some(Some(queues.into_iter().map(|queue| queue as u32).collect()))
}

/// A list of at least one number, none twice.
fn distinct(node: &Node<'_>, most: u64) -> Option<Vec<u64>> {
    let items = node.list(LONGEST_LIST, "entries")?;
    let read: Vec<Option<u64>> = items.iter().map(|item| item.integer(0..=most)).collect();
    let numbers = read.into_iter().collect::<Option<Vec<u64>>>()?;
    let differ = numbers.iter().collect::<std::collections::BTreeSet<_>>().len() == numbers.len();
    if numbers.is_empty() || !differ {
        node.refuse("must name at least one, and none twice");
        return None;
    }
    Some(numbers)
}

fn read_frames(node: &Node<'_>) -> Option<u32> {
    let frames = node.integer(64..=1 << 20)?;
    if !frames.is_power_of_two() {
        node.refuse(format!("{frames} is not a power of two; the next one is {}", frames.next_power_of_two()));
        return None;
    }
    Some(frames as u32)
}

fn read_underlay(section: &Section<'_>) -> Option<UnderlayConfig> {
    let source_v6 = section.optional("source_v6", |node| match read_prefix(node)? {
        IpNet::V6(prefix) => source_v6(node, prefix),
        IpNet::V4(prefix) => wrong_family(node, prefix.addr().into(), "IPv6"),
    });
    let source_v4 = section.optional("source_v4", |node| match read_prefix(node)? {
        IpNet::V4(prefix) => source_v4(node, prefix),
        IpNet::V6(prefix) => wrong_family(node, prefix.addr().into(), "IPv4"),
    });
    let mtu = section.optional("mtu", |node| node.integer(u64::from(SMALLEST_MTU)..=65_535).map(|mtu| mtu as u32));
    let hop_limit = section.or("hop_limit", 64, |node| node.integer(1..=255).map(|limit| limit as u8));
    let dscp = section.or("dscp", Dscp::Copy, |node| {
        if node.is_text() {
            return node.choice(&[("copy", Dscp::Copy)]);
        }
        node.integer(0..=63).map(|dscp| Dscp::Fixed(dscp as u8))
    });
    let next_hop = section.or("next_hop", None, |node| match node.text()? {
        "auto" => Some(None),
        _ => read_unicast_mac(node).map(Some),
    });
    Some(UnderlayConfig {
        source_v6: source_v6?,
        source_v4: source_v4?,
        mtu: mtu?,
        hop_limit: hop_limit?,
        dscp: dscp?,
        next_hop: next_hop?,
    })
}

fn source_v6(node: &Node<'_>, prefix: Ipv6Net) -> Option<Source<Ipv6Addr>> {
    checked_source(node, prefix.addr().into(), prefix.prefix_len(), 64)?;
    Some(Source { address: prefix.addr(), entropy: prefix.hostmask() })
}

fn source_v4(node: &Node<'_>, prefix: Ipv4Net) -> Option<Source<Ipv4Addr>> {
    checked_source(node, prefix.addr().into(), prefix.prefix_len(), 8)?;
    Some(Source { address: prefix.addr(), entropy: prefix.hostmask() })
}

/// The entropy comes from a 64-bit hash, so no more bits than that can be filled.
fn checked_source(node: &Node<'_>, address: IpAddr, len: u8, shortest: u8) -> Option<()> {
    if len < shortest {
        node.refuse(format!("/{len} is too short a prefix; at least /{shortest}"));
        return None;
    }
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        node.refuse(format!("{address} cannot be the source of a packet on the wire"));
        return None;
    }
    Some(())
}

fn wrong_family<T>(node: &Node<'_>, address: IpAddr, family: &str) -> Option<T> {
    node.refuse(format!("{address} is not an {family} address"));
    None
}

fn read_seed(node: &Node<'_>) -> Option<Seed> {
    let text = node.text()?;
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(number) = u128::from_str_radix(text, 16).ok().filter(|_| digits) else {
        node.refuse("not 128 bits as 32 hexadecimal digits");
        return None;
    };
    Some(Seed(number.to_be_bytes()))
}

fn read_handover(section: &Section<'_>) -> Option<HandoverConfig> {
    let window = section.or("window", Duration::from_secs(600), |node| read_duration(node, 1));
    let tracked_flows = section.or("tracked_flows", 262_144, |node| node.integer(1024..=1 << 26).map(|n| n as u32));
    Some(HandoverConfig { window: window?, tracked_flows: tracked_flows? })
}

fn read_announce(section: &Section<'_>) -> Option<AnnounceConfig> {
    let routes = section.or("routes", false, Node::boolean);
    let drain_time = section.or("drain_time", Duration::ZERO, |node| read_duration(node, 0));
    Some(AnnounceConfig { routes: routes?, drain_time: drain_time? })
}

/// A number and a unit, such as `90s`, `10m`, `1h`; at least so many seconds.
fn read_duration(node: &Node<'_>, least: u64) -> Option<Duration> {
    let text = node.text()?;
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit.trim() {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let duration = seconds.zip(number.parse::<u64>().ok()).and_then(|(unit, number)| number.checked_mul(unit));
    match duration {
        Some(seconds) if (least..=86_400).contains(&seconds) => Some(Duration::from_secs(seconds)),
        _ => {
            node.refuse(format!("\"{text}\" is not a time from {least}s to 24h, such as \"90s\", \"10m\", \"1h\""));
            None
        }
    }
}

fn read_control(section: &Section<'_>) -> Option<ControlConfig> {
    let socket = section.or("socket", "/run/pointsman/control.sock".into(), absolute_path);
    let mode = section.or("mode", 0o660, |node| {
        let mode = node.text().and_then(|text| u32::from_str_radix(text, 8).ok()).filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            node.refuse("not permission bits in octal, such as \"0660\"");
        }
        mode
    });
    let group = section.optional("group", |node| node.name(32));
    let allow_users = section.or("allow_users", vec!["root".to_owned()], |node| {
        let read: Vec<Option<String>> = node.list(LONGEST_LIST, "entries")?.iter().map(|user| user.name(32)).collect();
        read.into_iter().collect()
    });
    let vip_allow = section.optional("vip_allow", |node| {
        let read: Vec<Option<IpNet>> = node.list(LONGEST_LIST, "entries")?.iter().map(read_prefix).collect();
        read.into_iter().collect()
    });
    Some(ControlConfig {
        socket: socket?,
        mode: mode?,
        group: group?,
        allow_users: allow_users?,
        vip_allow: vip_allow?,
    })
}

fn absolute_path(node: &Node<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(node.text()?);
    if !path.is_absolute() {
        node.refuse(format!("\"{}\" is not an absolute path", path.display()));
        return None;
    }
    Some(path)
}

fn socket_address(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.text()?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        node.refuse(format!("\"{text}\" is not an address and port such as 127.0.0.1:9750"));
    }
    parsed
}
