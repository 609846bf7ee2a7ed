//! The same with the kernel's own GRE devices, for those who would rather have these.

use netlink_packet_route::AddressFamily;

use super::EndpointOptions;
use super::routes::mss;

/// What `ip link` shows for most interfaces; the MTU is not looked up, so that the commands can be printed anywhere.
const MTU: u32 = 1500;
/// Outer IPv6 and GRE; outer IPv4 and GRE.
const OVERHEAD: [u32; 2] = [44, 24];

/// The shell commands (and comments, `# ...`) that make an endpoint with the kernel's GRE devices in place of the XDP
/// program, for an interface with an MTU of 1500 bytes. Touches nothing.
pub fn equivalent_commands(options: &EndpointOptions) -> Vec<String> {
    let EndpointOptions { interface, vips, netns } = options;
    let mut commands = vec!["modprobe -a ip6_gre ip_gre".to_owned()];
    commands.extend(device("vip-gre6", "ip6gre", "ip6gre0", MTU - OVERHEAD[0]));
    commands.extend(device("vip-gre4", "gre", "gre0", MTU - OVERHEAD[1]));
    commands.push("ip link set lo up".into());
    for vip in vips {
        commands.push(match vip.is_ipv4() {
            true => format!("ip address replace {vip}/32 dev lo"),
            false => format!("ip address replace {vip}/128 dev lo nodad"),
        });
    }
    let mss = [mss(MTU, AddressFamily::Inet), mss(MTU, AddressFamily::Inet6)];
    commands.push(format!("# likewise for every other route that leaves by {interface}:"));
    commands.push(change_default_route("ip -4", interface, mss[0]));
    commands.push(change_default_route("ip -6", interface, mss[1]));
    if let Some(path) = netns {
        commands.insert(0, format!("nsenter --net={} sh <<'END'", path.display()));
        commands.push("END".into());
    }
    commands
}

/// A device for whatever comes by one outer family. Inner packets come in by it, while the route back leaves by
/// another: only the loose reverse-path filter lets them in.
fn device(name: &str, kind: &str, own: &str, mtu: u32) -> [String; 6] {
    [
        format!("# where the kernel says that the file exists, use its own device {own} in place of {name};"),
        "# for services with a key, add: key KEY".to_owned(),
        format!("ip link add {name} type {kind} local any remote any"),
        format!("ip link set {name} mtu {mtu}"),
        format!("ip link set {name} up"),
        format!("sysctl -w net.ipv4.conf.{name}.rp_filter=2"),
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
        let commands = equivalent_commands(&EndpointOptions { interface: "eth0".into(), vips, netns: None });
        assert!(commands.contains(&"ip address replace 203.0.113.10/32 dev lo".to_owned()));
        assert!(commands.contains(&"ip address replace 2001:db8::10/128 dev lo nodad".to_owned()));
        assert!(commands.iter().any(|command| command.ends_with("dev eth0 advmss 1416")));
    }
}
