//! `pointsman endpoint` in real namespaces: tunnelled packets go in by hand, answers of the kernel come out.
//!
//! The client's end of the link sends frames as a forwarder would and hears the answers, which come untunnelled.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use pnet::datalink::{self, Channel, Config, DataLinkReceiver, DataLinkSender, MacAddr};
use pnet::packet::Packet;
use pnet::packet::ethernet::EthernetPacket;
use pointsman::endpoint::{self, DEFAULT_OVERHEAD, EndpointError, EndpointOptions};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use testkit::{Namespace, SOON, skipped, veth, wait_until};

const VIP_V4: &str = "203.0.113.10";
const VIP_V6: &str = "2001:db8:f::10";
const CLIENT_V4: &str = "198.51.100.1";
const CLIENT_V6: &str = "2001:db8:c::1";
/// IP protocol numbers.
const UDP: u8 = 17;
/// See [`UDP`].
const GRE: u8 = 47;
/// Where the echo servers listen.
const PORT: u16 = 7;
/// Not the default, so that it must have been set.
const GUE_PORT: u16 = 6666;

/// A client and an endpoint with a link between them. Strict reverse-path filters at the endpoint.
struct Bench {
    pod: Namespace,
    client: Namespace,
}

impl Bench {
    fn new() -> Self {
        let (pod, client) = (Namespace::new("pod"), Namespace::new("client"));
        veth((&client, "eth0"), (&pod, "eth0"), 1);
        client.add_addresses("eth0", &["192.0.2.1/24".into(), "2001:db8:1::1/64".into()]);
        client.add_addresses("lo", &[format!("{CLIENT_V4}/32"), format!("{CLIENT_V6}/128")]);
        pod.add_addresses("eth0", &["192.0.2.2/24".into(), "2001:db8:1::2/64".into()]);
        pod.run(&["ip", "route", "add", "default", "via", "192.0.2.1", "mtu", "1450", "proto", "static"]);
        pod.run(&["ip", "-6", "route", "add", "default", "via", "2001:db8:1::1", "metric", "77"]);
        for scope in ["all", "eth0"] {
            pod.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "1");
        }
        Self { pod, client }
    }

    fn configure(&self, vips: &[&str]) -> Vec<String> {
        self.pod.inside(|| endpoint::configure(&options(vips))).unwrap_or_else(|error| panic!("{error}"))
    }

    fn remove(&self, vips: &[&str]) -> Vec<String> {
        self.pod.inside(|| endpoint::remove(&options(vips))).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A UDP server at the endpoint, on all addresses, for as long as the test lives.
    fn serve(&self) {
        let (ready, wait) = mpsc::channel();
        self.pod.thread(move || {
            let sockets = [VIP_V4, VIP_V6].map(|vip| UdpSocket::bind((vip, PORT)).expect("the VIP is on lo"));
            sockets.iter().for_each(|socket| socket.set_read_timeout(Some(SOON)).expect("not zero"));
            ready.send(()).expect("the test waits");
            let [v4, v6] = sockets;
            std::thread::spawn(move || echo(&v6));
            echo(&v4);
        });
        wait.recv().expect("the server binds");
    }
}

fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], from);
    }
}

fn options(vips: &[&str]) -> EndpointOptions {
    let vips = vips.iter().map(|vip| address(vip)).collect();
    EndpointOptions { interface: "eth0".into(), vips, netns: None, gue_port: GUE_PORT, overhead: DEFAULT_OVERHEAD }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The client's link, as frames.
struct Wire {
    to: Box<dyn DataLinkSender>,
    from: Box<dyn DataLinkReceiver>,
    macs: [MacAddr; 2],
}

impl Wire {
    fn new(bench: &Bench) -> Self {
        let mac = |namespace: &Namespace| interface(namespace).mac.expect("veth has a MAC");
        let macs = [mac(&bench.pod), mac(&bench.client)];
        let link = interface(&bench.client);
        let config = Config { read_timeout: Some(std::time::Duration::from_millis(20)), ..Config::default() };
        let channel = bench.client.inside(|| datalink::channel(&link, config).expect("root may open a packet socket"));
        let Channel::Ethernet(to, from) = channel else { panic!("not an Ethernet channel") };
        Self { to, from, macs }
    }

    /// Sends an IP packet, or a labelled one, in an Ethernet frame to the pod; `tagged` with an 802.1Q tag, VLAN 0.
    fn send(&mut self, packet: &[u8], tagged: bool) {
        let octets = |mac: MacAddr| <[u8; 6]>::from(mac);
        let mut frame = [octets(self.macs[0]), octets(self.macs[1])].concat();
        if tagged {
            frame.extend([0x81, 0, 0, 0]);
        }
        frame.extend(ethertype(packet));
        frame.extend(packet);
        self.to.send_to(&frame, None).expect("a packet socket opened").expect("the link is up");
    }

    /// Waits for an answer with this IP source and this payload; untunnelled, to the client.
    fn hears(&mut self, vip: &str, payload: &[u8]) -> bool {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            let Ok(frame) = self.from.next() else { continue };
            let Some(frame) = EthernetPacket::new(frame) else { continue };
            let packet = frame.payload();
            let (source, destination) = addresses(packet);
            let sides = if address(vip).is_ipv4() { CLIENT_V4 } else { CLIENT_V6 };
            if source == Some(address(vip)) && destination == Some(address(sides)) && packet.ends_with(payload) {
                return true;
            }
        }
        false
    }

    /// Whether some payload is answered before a marker that is sent behind it and is answered surely.
    fn answers(&mut self, vip: &str, packet: &[u8], payload: &[u8], marker: &[u8]) -> bool {
        self.send(packet, false);
        self.send(&gre_v6(None, &udp(CLIENT_V6, VIP_V6, marker)), false);
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            let Ok(frame) = self.from.next() else { continue };
            let Some(frame) = EthernetPacket::new(frame) else { continue };
            let (source, _) = addresses(frame.payload());
            if source == Some(address(vip)) && frame.payload().ends_with(payload) {
                return true;
            }
            if source == Some(address(VIP_V6)) && frame.payload().ends_with(marker) {
                return false;
            }
        }
        panic!("not even the marker was answered");
    }
}

fn interface(namespace: &Namespace) -> datalink::NetworkInterface {
    let all = namespace.inside(datalink::interfaces);
    all.into_iter().find(|interface| interface.name == "eth0").expect("the link was just made")
}

fn addresses(packet: &[u8]) -> (Option<IpAddr>, Option<IpAddr>) {
    let v4 = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(IpAddr::from);
    let v6 = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(IpAddr::from);
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => (v4(12), v4(16)),
        Some(6) => (v6(8), v6(24)),
        _ => (None, None),
    }
}

/// Of an IP packet, or of one behind [`LABEL`].
fn ethertype(packet: &[u8]) -> [u8; 2] {
    match packet[0] >> 4 {
        4 => [0x08, 0x00],
        6 => [0x86, 0xdd],
        // As LABEL begins.
        _ => [0x88, 0x47],
    }
}

/// An IP header before a payload; `options` are 32-bit words of IPv4 options.
fn ip(source: &str, destination: &str, protocol: u8, options: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match (address(source), address(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = 20 + 4 * usize::from(options);
            packet.extend([0x45 + options, 0]);
            packet.extend(u16::try_from(header + payload.len()).expect("small").to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.resize(header, 1);
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(u16::try_from(payload.len()).expect("small").to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => panic!("{source} and {destination} are of two families"),
    }
    packet.extend(payload);
    packet
}

/// A UDP datagram from the client to [`PORT`].
fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("small");
    let mut datagram = [4242_u16, PORT, length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let pseudo = [octets(source), octets(destination), vec![0, 17], length.to_be_bytes().to_vec(), datagram.clone()];
    let sum = checksum(&pseudo.concat());
    datagram[6..8].copy_from_slice(&sum);
    ip(source, destination, 17, 0, &datagram)
}

fn octets(text: &str) -> Vec<u8> {
    match address(text) {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!u16::try_from(folded).expect("folded")).to_be_bytes()
}

fn gre(key: Option<u32>, inner: &[u8]) -> Vec<u8> {
    let mut packet = vec![if key.is_some() { 0x20 } else { 0 }, 0];
    packet.extend(ethertype(inner));
    packet.extend(key.into_iter().flat_map(u32::to_be_bytes));
    packet.extend(inner);
    packet
}

/// Behind UDP with this checksum, which need not be right; no variant, option or flag but 0.
fn gue(checksum: u16, inner: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + 4 + inner.len()).expect("small");
    let mut packet = [50_000, GUE_PORT, length, checksum].map(u16::to_be_bytes).concat();
    packet.extend([0, ip_protocol(inner), 0, 0]);
    packet.extend(inner);
    packet
}

/// Label 0x12345, bottom of stack, TTL 64 (RFC 3032).
const LABEL: [u8; 4] = [0x12, 0x34, 0x51, 64];

fn mpls(inner: &[u8]) -> Vec<u8> {
    [&LABEL, inner].concat()
}

/// The number by which an IP header names another IP packet behind it.
fn ip_protocol(inner: &[u8]) -> u8 {
    if inner[0] >> 4 == 4 { 4 } else { 41 }
}

/// The outer sources are nobody's: no reverse-path filter may see them.
fn over_v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip("2001:db8:dead::1", "2001:db8:1::2", protocol, 0, payload)
}

fn over_v4(protocol: u8, options: u8, payload: &[u8]) -> Vec<u8> {
    ip("10.99.99.99", "192.0.2.2", protocol, options, payload)
}

fn gre_v6(key: Option<u32>, inner: &[u8]) -> Vec<u8> {
    over_v6(GRE, &gre(key, inner))
}

fn gre_v4(key: Option<u32>, options: u8, inner: &[u8]) -> Vec<u8> {
    over_v4(GRE, options, &gre(key, inner))
}

/// Puts an inner packet into a tunnel.
type Encapsulate = fn(&[u8]) -> Vec<u8>;

/// Every encapsulation that an endpoint takes.
const ENCAPSULATIONS: [(&str, Encapsulate); 19] = [
    ("GRE over IPv6", |inner| gre_v6(None, inner)),
    ("GRE over IPv4", |inner| gre_v4(None, 0, inner)),
    ("GRE over IPv4 with options", |inner| gre_v4(None, 2, inner)),
    ("GRE with a key over IPv6", |inner| gre_v6(Some(7), inner)),
    ("GRE with a key over IPv4", |inner| gre_v4(Some(7), 0, inner)),
    ("GRE with a key over IPv4 with options", |inner| gre_v4(Some(7), 2, inner)),
    ("IPIP over IPv6", |inner| over_v6(ip_protocol(inner), inner)),
    ("IPIP over IPv4", |inner| over_v4(ip_protocol(inner), 0, inner)),
    ("IPIP over IPv4 with options", |inner| over_v4(ip_protocol(inner), 2, inner)),
    ("GUE over IPv6", |inner| over_v6(UDP, &gue(0xbad, inner))),
    ("GUE over IPv6 without a checksum", |inner| over_v6(UDP, &gue(0, inner))),
    ("GUE over IPv4", |inner| over_v4(UDP, 0, &gue(0xbad, inner))),
    ("GUE over IPv4 without a checksum", |inner| over_v4(UDP, 0, &gue(0, inner))),
    ("GUE over IPv4 with options", |inner| over_v4(UDP, 2, &gue(0, inner))),
    ("MPLS", mpls),
    ("MPLS over GRE over IPv6", |inner| gre_v6(None, &mpls(inner))),
    ("MPLS over GRE with a key over IPv6", |inner| gre_v6(Some(7), &mpls(inner))),
    ("MPLS over GRE over IPv4", |inner| gre_v4(None, 0, &mpls(inner))),
    ("MPLS over GRE over IPv4 with options", |inner| gre_v4(None, 2, &mpls(inner))),
];

#[test]
fn answers_come_back_untunnelled() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    bench.configure(&[VIP_V4, VIP_V6]);
    bench.serve();
    let mut wire = Wire::new(&bench);
    hears_every_encapsulation(&mut wire);
}

/// Each, with and without a tag, is answered.
fn hears_every_encapsulation(wire: &mut Wire) {
    for (client, vip) in [(CLIENT_V4, VIP_V4), (CLIENT_V6, VIP_V6)] {
        for (encapsulation, encapsulate) in ENCAPSULATIONS {
            for tag in ["untagged", "tagged"] {
                let payload = format!("{encapsulation}, {tag}");
                let packet = encapsulate(&udp(client, vip, payload.as_bytes()));
                wire.send(&packet, tag == "tagged");
                assert!(wire.hears(vip, payload.as_bytes()), "no answer of {vip} to {payload}");
            }
        }
    }
}

#[test]
fn only_its_own_vips_and_well_formed_tunnels_are_accepted() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    bench.configure(&[VIP_V4, VIP_V6]);
    bench.serve();
    bench.configure(&[VIP_V6]);
    let mut wire = Wire::new(&bench);
    let foreign = udp(CLIENT_V4, VIP_V4, b"foreign");
    assert!(!wire.answers(VIP_V4, &gre_v6(None, &foreign), b"foreign", b"marker 0"), "no VIP any more");

    let inner = udp(CLIENT_V6, VIP_V6, b"inner");
    let gue_v6 = over_v6(UDP, &gue(0, &inner));
    let edit = |packet: Vec<u8>, at: usize, value: u8| {
        let mut packet = packet;
        packet[at] = value;
        packet
    };
    let malformed = [
        ("GRE with a checksum", edit(gre_v6(None, &inner), 40, 0x80)),
        ("GRE version 1", edit(gre_v6(None, &inner), 41, 1)),
        ("another GRE protocol", edit(gre_v6(None, &inner), 43, 0xde)),
        ("the first fragment of an IPv4 packet", edit(gre_v4(None, 0, &inner), 6, 0x20)),
        ("a later fragment of an IPv4 packet", edit(gre_v4(None, 0, &inner), 7, 1)),
        ("another outer protocol", edit(gre_v6(None, &inner), 6, 48)),
        ("IPv6 that calls itself IPv4 inside", over_v6(4, &inner)),
        ("GUE to another port", edit(gue_v6.clone(), 43, 0)),
        ("GUE of variant 1", edit(gue_v6.clone(), 48, 0x40)),
        ("a GUE control message", edit(gue_v6.clone(), 48, 0x20)),
        ("GUE with an option", edit(gue_v6.clone(), 48, 1)),
        ("another GUE protocol", edit(gue_v6.clone(), 49, 59)),
        ("GUE with a flag", edit(gue_v6, 50, 0x80)),
        ("more than one label", edit(mpls(&inner), 2, 0x50)),
        ("more than one label over GRE", edit(gre_v6(None, &mpls(&inner)), 46, 0x50)),
        ("neither IPv4 nor IPv6 behind a label", edit(mpls(&inner), 4, 0x50)),
        ("a label that is cut off", gre_v6(None, &LABEL[..3])),
        ("an inner packet that is cut off", gre_v6(None, &inner[..39])),
        ("a GRE header that is cut off", ip("2001:db8:dead::1", "2001:db8:1::2", 47, 0, &[0, 0, 0x86])),
    ];
    for (number, (what, packet)) in malformed.into_iter().enumerate() {
        let marker = format!("marker {}", number + 1);
        assert!(!wire.answers(VIP_V6, &packet, b"inner", marker.as_bytes()), "{what} was accepted");
    }
}

#[test]
fn tcp_segments_announce_what_fits_the_tunnel() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    bench.configure(&[VIP_V4, VIP_V6]);
    let routes = bench.pod.run(&["ip", "route"]);
    let default = routes.lines().find(|line| line.starts_with("default")).expect("a default route");
    for kept in ["via 192.0.2.1", "mtu 1450", "proto static", "advmss 1416"] {
        assert!(default.contains(kept), "{default}");
    }
    let connected = routes.lines().find(|line| line.starts_with("192.0.2.0/24")).expect("the link's own route");
    assert!(connected.contains("advmss 1416") && connected.contains("src 192.0.2.2"), "{connected}");
    let routes = bench.pod.run(&["ip", "-6", "route"]);
    let default: Vec<_> = routes.lines().filter(|line| line.starts_with("default")).collect();
    assert_eq!(default.len(), 1, "{routes}");
    for kept in ["via 2001:db8:1::1", "metric 77", "advmss 1396"] {
        assert!(default[0].contains(kept), "{default:?}");
    }

    let for_gue = EndpointOptions { overhead: 52, ..options(&[VIP_V4, VIP_V6]) };
    bench.pod.inside(|| endpoint::configure(&for_gue)).unwrap_or_else(|error| panic!("{error}"));
    let routes = bench.pod.run(&["ip", "route"]) + &bench.pod.run(&["ip", "-6", "route"]);
    assert!(routes.contains("advmss 1408") && routes.contains("advmss 1388"), "{routes}");
    bench.pod.inside(|| endpoint::remove(&for_gue)).unwrap_or_else(|error| panic!("{error}"));
    let routes = bench.pod.run(&["ip", "route"]) + &bench.pod.run(&["ip", "-6", "route"]);
    assert!(!routes.contains("advmss"), "{routes}");
}

#[test]
fn running_it_twice_converges_and_removing_undoes_it() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    let state = || {
        let list = |command: &[&str]| bench.pod.run(command);
        [list(&["ip", "-brief", "address", "show", "lo"]), list(&["ip", "route"]), list(&["ip", "-6", "route"])]
    };
    let before = state();
    let first = bench.configure(&[VIP_V4, VIP_V6]);
    let configured = state();
    assert_ne!(before, configured);
    let second = bench.configure(&[VIP_V4, VIP_V6]);
    assert_eq!(state(), configured, "{first:?}\n{second:?}");
    assert!(second.contains(&format!("lo: already has {VIP_V4}")), "{second:?}");
    assert!(second.contains(&"eth0: advmss set on 0 routes".to_owned()), "{second:?}");
    assert!(program_of(&bench).is_some());

    bench.remove(&[VIP_V4]);
    assert!(program_of(&bench).is_some(), "the other VIP still needs it");
    assert!(!bench.pod.run(&["ip", "address", "show", "lo"]).contains(VIP_V4));
    bench.remove(&[VIP_V6]);
    assert_eq!(program_of(&bench), None);
    assert_eq!(state(), before);
    bench.remove(&[VIP_V6]);
    assert_eq!(state(), before);
}

#[test]
fn the_generic_mode_serves_where_the_native_one_does_not() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    // A veth takes no native program above some 3,500 bytes while its peer sends larger frames.
    for namespace in [&bench.client, &bench.pod] {
        namespace.run(&["ip", "link", "set", "eth0", "mtu", "9000"]);
    }
    let lines = bench.configure(&[VIP_V4, VIP_V6]);
    assert!(lines.iter().any(|line| line.contains("attached") && line.contains("generic")), "{lines:?}");
    let lines = bench.configure(&[VIP_V4, VIP_V6]);
    assert!(lines.iter().any(|line| line.contains("replaced") && line.contains("generic")), "{lines:?}");
    bench.serve();
    let mut wire = Wire::new(&bench);
    hears_every_encapsulation(&mut wire);
}

#[test]
fn it_says_what_is_wrong() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    let failure = |options: EndpointOptions| {
        let answer = bench.pod.inside(|| endpoint::configure(&options));
        answer.expect_err("this cannot be configured").to_string()
    };
    assert!(matches!(endpoint::configure(&options(&[])), Err(EndpointError::NoVip)));
    for name in ["eth7", "a-name-that-is-too-long-for-an-interface", ""] {
        let words = failure(EndpointOptions { interface: name.into(), ..options(&[VIP_V4]) });
        assert!(words.contains(&format!("no interface named {name}")), "{words}");
    }
    let missing = PathBuf::from("/run/netns/there-is-no-such-namespace");
    let words = failure(EndpointOptions { netns: Some(missing), ..options(&[VIP_V4]) });
    assert!(words.contains("there-is-no-such-namespace"), "{words}");
}

#[test]
fn the_capabilities_that_it_asks_for_are_enough() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    let with = |capabilities: CapabilitySet| {
        bench.pod.inside(|| {
            let inheritable = CapabilitySet::empty();
            let sets = CapabilitySets { effective: capabilities, permitted: capabilities, inheritable };
            set_capabilities(None, sets).expect("capabilities can be given up");
            endpoint::configure(&options(&[VIP_V4])).map_err(|error| error.to_string())
        })
    };
    // The loader looks once a process at what the kernel can do: not first in a thread that may not look.
    with(CapabilitySet::NET_ADMIN | CapabilitySet::BPF).expect("enough for the first time");
    let words = with(CapabilitySet::NET_ADMIN | CapabilitySet::BPF).expect_err("whose program is it?");
    assert!(words.contains("CAP_SYS_ADMIN"), "{words}");
    with(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN).expect("enough for the second time");
    bench.remove(&[VIP_V4]);
    let words = with(CapabilitySet::empty()).expect_err("nothing is permitted");
    assert!(words.contains("CAP_NET_ADMIN"), "{words}");
    let words = with(CapabilitySet::NET_ADMIN).expect_err("loading a program takes more");
    assert!(words.contains("CAP_BPF"), "{words}");
}

#[test]
fn a_program_that_is_not_ours_stays() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let (source, object) = (directory.path().join("other.c"), directory.path().join("other.o"));
    let code = "__attribute__((section(\"xdp\"), used)) int other(void *frame) { return 2; }\n";
    std::fs::write(&source, code).expect("the directory is the test's own");
    let (source, object) = (source.to_string_lossy(), object.to_string_lossy());
    bench.pod.run(&["clang", "-O2", "-target", "bpf", "-c", &source, "-o", &object]);
    bench.pod.run(&["ip", "link", "set", "eth0", "xdpdrv", "object", &object, "section", "xdp"]);
    let before = program_of(&bench).expect("ip attached it");
    let answer = bench.pod.inside(|| endpoint::configure(&options(&[VIP_V4])));
    let words = answer.expect_err("the place is taken").to_string();
    assert!(words.contains("eth0") && words.contains("not pointsman's"), "{words}");
    bench.remove(&[VIP_V4]);
    assert_eq!(program_of(&bench), Some(before));
}

#[test]
fn it_enters_the_namespace_that_it_is_given() {
    if skipped() {
        return;
    }
    let bench = Bench::new();
    let netns = Some(PathBuf::from(format!("/run/netns/{}", bench.pod.name())));
    let options = EndpointOptions { netns, ..options(&[VIP_V4]) };
    // From another namespace, in a thread that ends.
    bench.client.inside(|| endpoint::configure(&options)).unwrap_or_else(|error| panic!("{error}"));
    assert!(wait_until(SOON, || program_of(&bench).is_some()));
    assert!(bench.pod.run(&["ip", "address", "show", "lo"]).contains(VIP_V4));
}

/// The `prog/xdp ...` words of the pod's link.
fn program_of(bench: &Bench) -> Option<String> {
    let shown = bench.pod.run(&["ip", "link", "show", "eth0"]);
    shown.lines().find(|line| line.contains("prog/xdp")).map(str::to_owned)
}
