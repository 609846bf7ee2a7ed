//! Two namespaces with a veth pair between them: `node` has the forwarder, `outside` the generator and the sink.

use std::net::{Ipv4Addr, Ipv6Addr};

use testkit::{EDGE_V4, EDGE_V6, Namespace, veth};

/// Both ends are called so.
pub const LINK: &str = "eth0";
/// The service's address and port.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const PORT: u16 = 4433;
/// The endpoint, behind the same link.
pub const ENDPOINT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 0xe0);
/// All frames have this length in bytes, link header and all, without the check sequence that a wire adds.
pub const LENGTH: usize = 64;

const NODE_MAC: &str = "02:00:00:00:00:01";
const OUTSIDE_MAC: &str = "02:00:00:00:00:02";

/// The pair.
pub struct Pair {
    pub node: Namespace,
    pub outside: Namespace,
}

impl Pair {
    /// One queue at each end; the way to the endpoint is known, so that nothing has to be asked.
    pub fn new() -> Self {
        let pair = Self { node: Namespace::new("node"), outside: Namespace::new("outside") };
        veth((&pair.node, LINK), (&pair.outside, LINK), 1);
        pair.outside.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1");
        for (namespace, mac) in [(&pair.node, NODE_MAC), (&pair.outside, OUTSIDE_MAC)] {
            namespace.run(&["ip", "link", "set", LINK, "address", mac]);
        }
        pair.node.add_addresses(LINK, &[format!("{EDGE_V4}/24"), format!("{EDGE_V6}/64")]);
        let endpoint = ENDPOINT.to_string();
        pair.node.run(&["ip", "neighbour", "add", &endpoint, "lladdr", OUTSIDE_MAC, "dev", LINK, "nud", "permanent"]);
        pair
    }

    /// Takes off what a forwarder may have left behind.
    pub fn tidy(&self) {
        let _ = self.node.try_run(&["ip", "link", "set", LINK, "xdp", "off"]);
    }

    /// The number of the outside's end there.
    pub fn outside_index(&self) -> u32 {
        let said = self.outside.run(&["ip", "-o", "link", "show", LINK]);
        said.split(':').next().and_then(|number| number.trim().parse().ok()).expect("ip begins with the number")
    }
}

/// A UDP datagram to the VIP.
pub fn frame() -> Vec<u8> {
    let mut frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0].to_vec();
    let packet_len = (LENGTH - frame.len()) as u16;
    let mut header = vec![0x45, 0];
    header.extend(packet_len.to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 198, 51, 100, 9]);
    header.extend(VIP.octets());
    let sum: u32 = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    frame.extend(header);
    // The generator sets the source port, 0 here.
    frame.extend([0, 0]);
    frame.extend(PORT.to_be_bytes());
    frame.extend((packet_len - 20).to_be_bytes());
    frame.resize(LENGTH, 0);
    frame
}
