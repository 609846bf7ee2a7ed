//! What a router with a smaller MTU says of outer packets reaches the node, from real kernels. Needs root.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pointsman::forward::encap::{Source, Sources};
use pointsman::underlay::path_mtu::{self, IcmpSocket, Lowered};
use pointsman::wire::Family;
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, ipproto, sendto, socket};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use testkit::{Namespace, SOON, veth, wait_until};

const NODE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51a, 0, 0, 0, 0, 1);
const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// The prefix from which outer packets get an address by flow.
const ENTROPY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 0);
const ENDPOINT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const ENDPOINT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0xa);
const GRE: u8 = 47;

/// ```text
/// node  eth0 192.0.2.1, 2001:db8:51a::1  ── 1500 ──  router  ── 1400 ──  endpoint 198.51.100.20, 2001:db8:10::a
/// ```
struct Net {
    node: Namespace,
    router: Namespace,
    _endpoint: Namespace,
}

impl Net {
    fn new() -> Self {
        let (node, router, endpoint) = (Namespace::new("node"), Namespace::new("router"), Namespace::new("endpoint"));
        veth((&node, "eth0"), (&router, "near"), 1);
        veth((&router, "far"), (&endpoint, "eth0"), 1);
        node.add_addresses("eth0", &[format!("{NODE_V4}/24"), format!("{NODE_V6}/64")]);
        router.add_addresses("near", &[format!("{ROUTER_V4}/24"), "2001:db8:51a::fe/64".into()]);
        router.add_addresses("far", &["198.51.100.254/24".into(), "2001:db8:10::fe/64".into()]);
        endpoint.add_addresses("eth0", &[format!("{ENDPOINT_V4}/24"), format!("{ENDPOINT_V6}/64")]);
        router.run(&["ip", "link", "set", "far", "mtu", "1400"]);
        endpoint.run(&["ip", "link", "set", "eth0", "mtu", "1400"]);
        router.sysctl("net/ipv4/ip_forward", "1");
        router.sysctl("net/ipv6/conf/all/forwarding", "1");
        node.run(&["ip", "route", "add", "default", "via", &ROUTER_V4.to_string()]);
        node.run(&["ip", "route", "add", "default", "via", "2001:db8:51a::fe"]);
        router.run(&["ip", "route", "add", &format!("{ENTROPY}/96"), "via", &NODE_V6.to_string()]);
        Self { node, router, _endpoint: endpoint }
    }
}

fn sources() -> Sources {
    Sources {
        v4: Some(Source { address: NODE_V4, entropy: Ipv4Addr::UNSPECIFIED }),
        v6: Some(Source { address: NODE_V6, entropy: Ipv6Addr::UNSPECIFIED }),
    }
}

fn entropy_sources() -> Sources {
    Sources { v6: Some(Source { address: ENTROPY, entropy: Ipv6Addr::from_bits(0xffff_ffff) }), ..sources() }
}

/// Sends a GRE packet of 1500 bytes as the data path would, from the namespace of the calling thread.
fn send_outer(source: IpAddr, endpoint: IpAddr) -> io::Result<()> {
    let (family, header) = match (source, endpoint) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            let mut header = pointsman::wire::ipv4::template(source, to, 64, GRE);
            pointsman::wire::ipv4::fill(&mut header, 0, 0, 1500);
            (AddressFamily::INET, header.to_vec())
        }
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            let mut header = pointsman::wire::ipv6::template(source, to, 64, GRE);
            pointsman::wire::ipv6::fill(&mut header, 0, 0, 7, 1460);
            (AddressFamily::INET6, header.to_vec())
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let mut packet = header;
    packet.extend([0, 0, 8, 0]);
    packet.resize(1500, 0);
    // A raw socket for RAW takes the IP header as it is given.
    let socket = socket(family, SocketType::RAW, Some(ipproto::RAW as Protocol))?;
    sendto(&socket, &packet, SendFlags::empty(), &std::net::SocketAddr::new(endpoint, 0))?;
    Ok(())
}

/// Sends the packet until a router's word of it has come: the first ones ask for neighbours.
fn hear(net: &Net, sources: &Sources, source: IpAddr, endpoint: IpAddr) -> Option<(Lowered, usize)> {
    net.node.inside(|| {
        let mut socket = IcmpSocket::open().expect("root may open raw sockets");
        let (mut heard, mut others) = (None, 0);
        send_outer(source, endpoint).expect("the packet leaves");
        wait_until(SOON, || {
            while let Some((family, message)) = socket.next_message().expect("the socket is sound") {
                match path_mtu::read(message, family, sources) {
                    Some(lowered) => heard = Some(lowered),
                    None => others += 1,
                }
            }
            heard.is_some()
        });
        heard.map(|lowered| (lowered, others))
    })
}

#[test]
fn hears_of_a_smaller_link_for_either_family() {
    if testkit::skipped() {
        return;
    }
    let net = Net::new();
    for (source, endpoint) in [(NODE_V4.into(), IpAddr::from(ENDPOINT_V4)), (NODE_V6.into(), IpAddr::from(ENDPOINT_V6))]
    {
        assert_eq!(hear(&net, &sources(), source, endpoint), Some((Lowered { endpoint, mtu: 1400 }, 0)));
    }
}

/// Where outer packets have an address by flow, the prefix is made local, so that the kernel takes what routers answer.
#[test]
fn hears_of_packets_from_an_address_by_flow() {
    if testkit::skipped() {
        return;
    }
    let net = Net::new();
    net.node.run(&["ip", "-6", "route", "add", "local", &format!("{ENTROPY}/96"), "dev", "lo"]);
    let source = Ipv6Addr::from_bits(ENTROPY.to_bits() | 0x1234_5678);
    let endpoint = IpAddr::from(ENDPOINT_V6);
    let heard = hear(&net, &entropy_sources(), source.into(), endpoint);
    assert_eq!(heard, Some((Lowered { endpoint, mtu: 1400 }, 0)));
}

#[test]
fn says_which_capability_is_missing() {
    if testkit::skipped() {
        return;
    }
    // Capabilities are a thread's own.
    let refused = std::thread::spawn(|| {
        let mut sets = capabilities(None).expect("the kernel tells");
        sets.effective.remove(CapabilitySet::NET_RAW);
        set_capabilities(None, sets).expect("less is always allowed");
        IcmpSocket::open().err().map(|error| error.to_string())
    });
    let words = refused.join().expect("it does not panic").expect("it is not permitted");
    assert!(words.contains("CAP_NET_RAW"), "{words}");
}

#[test]
fn hears_nothing_else() {
    if testkit::skipped() {
        return;
    }
    let net = Net::new();
    let mut socket = net.node.inside(|| IcmpSocket::open().expect("root may open raw sockets"));
    assert_eq!(socket.descriptors().count(), 2);
    for address in [NODE_V4.to_string(), NODE_V6.to_string()] {
        net.router.run(&["ping", "-c", "2", "-i", "0.05", "-W", "5", &address]);
    }
    assert!(socket.next_message().expect("the socket is sound").is_none(), "pings stay away");
    // A port nobody listens on: also type 3, but about a packet of the host's own.
    net.node.inside(|| {
        let udp = std::net::UdpSocket::bind((NODE_V4, 0)).expect("a free port");
        udp.send_to(b"anyone?", (ROUTER_V4, 9)).expect("it leaves");
    });
    let mut unreachable = false;
    wait_until(SOON, || {
        while let Some((family, message)) = socket.next_message().expect("the socket is sound") {
            assert_eq!((family, message[..2].to_vec()), (Family::V4, vec![3, 3]));
            assert_eq!(path_mtu::read(message, family, &sources()), None);
            unreachable = true;
        }
        unreachable
    });
    assert!(unreachable, "the IPv4 filter knows types, not codes");
}
