//! The same with the kernel's own tunnel devices, for those who would rather have these.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;

use super::EndpointOptions;
use super::routes::mss;

/// What `ip link` shows for most interfaces; the MTU is not looked up, so that the commands can be printed anywhere.
const MTU: u32 = 1500;
/// Outer IPv6 and GRE; outer IPv4 and GRE.
const OVERHEAD: [u32; 2] = [44, 24];

/// The shell commands (and comments, `# ...`) that make an endpoint with the kernel's GRE devices in place of the XDP
/// program, for an interface with an MTU of 1500 bytes; for the other encapsulations as comments. Touches nothing.
pub fn equivalent_commands(options: &EndpointOptions) -> Vec<String> {
    let EndpointOptions { interface, vips, netns, gue_port, overhead } = options;
    let mut commands = vec!["modprobe -a ip6_gre ip_gre".to_owned()];
    commands.extend(device("vip-gre6", "ip6gre", "ip6gre0", MTU - OVERHEAD[0]));
    commands.extend(filter("vip-gre6", vips));
    commands.extend(device("vip-gre4", "gre", "gre0", MTU - OVERHEAD[1]));
    commands.extend(filter("vip-gre4", vips));
    commands.extend(other_encapsulations(*gue_port));
    commands.push("ip link set lo up".into());
    for vip in vips {
        commands.push(match vip.is_ipv4() {
            true => format!("ip address replace {vip}/32 dev lo"),
            false => format!("ip address replace {vip}/128 dev lo nodad"),
        });
    }
    let mss = [mss(MTU, *overhead, AddressFamily::Inet), mss(MTU, *overhead, AddressFamily::Inet6)];
    commands.push(format!("# likewise for every other route that leaves by {interface}:"));
    commands.push(change_default_route("ip -4", interface, mss[0]));
    commands.push(change_default_route("ip -6", interface, mss[1]));
    if let Some(path) = netns {
        commands.insert(0, format!("nsenter --net={} sh <<'END'", path.display()));
        commands.push("END".into());
    }
    commands
}

/// A device for whatever comes by one outer family.
fn device(name: &str, kind: &str, own: &str, mtu: u32) -> [String; 5] {
    [
        format!("# where the kernel says that the file exists, use its own device {own} in place of {name};"),
        "# for services with a key, add: key KEY".to_owned(),
        format!("ip link add {name} type {kind} local any remote any"),
        format!("ip link set {name} mtu {mtu}"),
        format!("ip link set {name} up"),
    ]
}

/// Inner packets come in by the device, while the route back leaves by another: only the loose reverse-path filter lets
/// them in, and by a device without an IPv4 address not even that one.
fn filter(name: &str, vips: &[IpAddr]) -> Vec<String> {
    let Some(vip) = vips.iter().find(|vip| vip.is_ipv4()) else { return Vec::new() };
    vec![format!("ip address replace {vip}/32 dev {name}"), format!("sysctl -w net.ipv4.conf.{name}.rp_filter=2")]
}

/// What takes each of them: IPIP has devices of its own; GUE hands to these what is inside; a label is popped by a
/// route to `lo`, an explicit null by the kernel itself.
fn other_encapsulations(gue_port: u16) -> [String; 7] {
    let ipip = |over: &str, name: &str, kind: &str| {
        format!("# - IPIP over {over}: ip link add {name} type {kind} mode any local ADDRESS remote any")
    };
    [
        "# for others than GRE: modprobe -a ip6_tunnel sit fou6 fou mpls_router; then (ADDRESS is the endpoint's)"
            .to_owned(),
        ipip("IPv6", "vip-ip6", "ip6tnl"),
        ipip("IPv4", "vip-ip4", "sit"),
        "#   each up, and with an address and a filter as above".to_owned(),
        format!("# - GUE, beside IPIP: ip -6 fou add port {gue_port} gue; ip fou add port {gue_port} gue"),
        "# - MPLS: sysctl -w net.mpls.platform_labels=1048575 net.mpls.conf.DEVICE.input=1".to_owned(),
        "#   net.ipv4.conf.lo.rp_filter=2; where the service has a label: ip -f mpls route add LABEL dev lo".to_owned(),
    ]
}

fn change_default_route(ip: &str, interface: &str, mss: u32) -> String {
    format!("{ip} route replace $({ip} route show default dev {interface}) dev {interface} advmss {mss}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vips_get_their_own_prefix_length() {
        let vips = vec!["203.0.113.10".parse().expect("an address"), "2001:db8::10".parse().expect("an address")];
        let interface = "eth0".into();
        let options = EndpointOptions { interface, vips, netns: None, gue_port: 6080, overhead: 44 };
        let commands = equivalent_commands(&options);
        assert!(commands.contains(&"ip address replace 203.0.113.10/32 dev lo".to_owned()));
        assert!(commands.contains(&"ip address replace 2001:db8::10/128 dev lo nodad".to_owned()));
        assert!(commands.iter().any(|command| command.ends_with("dev eth0 advmss 1416")));
    }
}
