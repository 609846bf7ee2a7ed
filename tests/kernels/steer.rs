//! The gate on real interfaces: what it keeps from the kernel, what it leaves to it, and what outlives a process.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use aya::programs::links::{FdLink, PinnedLink};
use pointsman::config::XdpMode;
use pointsman::steer::{Gate, Guard, Mode, SteerError, Steering, cleanup, rx_queues};
use tempfile::TempDir;

use testkit::{Heartbeat, Namespace, SOON, output_of, skipped, veth, wait_until};

/// The node's addresses on the link; the second pair are VIPs that neighbours must find.
const OWN: [&str; 2] = ["10.0.0.1", "fd00::1"];
const ON_LINK: [&str; 2] = ["10.0.0.5", "fd00::5"];
/// Addresses on the node's loopback, which the peer reaches through the node.
const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
const OTHERS: [&str; 2] = ["192.0.2.99", "2001:db8::99"];

/// A node and its peer on one link, and a bpffs of its own.
struct Site {
    node: Namespace,
    peer: Namespace,
    bpffs: Bpffs,
}

impl Site {
    fn new() -> Self {
        let site = Self { node: Namespace::new("node"), peer: Namespace::new("peer"), bpffs: Bpffs::mount() };
        site.connect();
        let loopback = [VIPS, OTHERS].concat();
        site.node.add_addresses("lo", &loopback.into_iter().map(host).collect::<Vec<_>>());
        site
    }

    fn connect(&self) {
        veth((&self.node, "eth0"), (&self.peer, "eth0"), 2);
        let on_link = |addresses: &[&str]| -> Vec<String> {
            let bits = |address: &str| if address.contains(':') { 64 } else { 24 };
            addresses.iter().map(|address| format!("{address}/{}", bits(address))).collect()
        };
        self.node.add_addresses("eth0", &on_link(&[OWN, ON_LINK].concat()));
        self.peer.add_addresses("eth0", &on_link(&["10.0.0.2", "fd00::2"]));
        self.peer.run(&["ip", "route", "add", "192.0.2.0/24", "via", OWN[0]]);
        self.peer.run(&["ip", "route", "add", "2001:db8::/64", "via", OWN[1]]);
    }

    fn steering(&self, mode: XdpMode) -> Result<Steering, SteerError> {
        self.node.inside(|| Steering::open("eth0", mode, &self.bpffs.pin()))
    }

    fn guard(&self) -> Result<Guard, SteerError> {
        self.node.inside(|| Guard::open("eth0", &self.bpffs.pin()))
    }

    fn detach(&self, gate: Gate) {
        self.node.inside(|| gate.detach()).expect("the gate can be taken away");
    }

    fn cleanup(&self) {
        self.node.inside(|| cleanup(&self.bpffs.pin(), "eth0")).expect("there is nothing that cannot be removed");
    }

    fn link(&self) -> String {
        self.node.run(&["ip", "-d", "link", "show", "dev", "eth0"])
    }

    fn filters(&self) -> String {
        String::from_utf8_lossy(&self.node.try_run(&["tc", "filter", "show", "dev", "eth0", "ingress"]).stdout).into()
    }

    /// The number that the kernel gave to the pinned link.
    fn link_id(&self) -> u32 {
        let link = PinnedLink::from_pin(self.bpffs.pin().join("eth0/link")).expect("the link is pinned");
        FdLink::from(link).info().expect("the kernel knows its links").id()
    }

    #[track_caller]
    fn answer(&self, addresses: &[&str], when: &str) {
        for address in addresses {
            let answered = || self.peer.try_run(&["ping", "-c1", "-W1", address]).status.success();
            assert!(wait_until(SOON, answered), "{address} does not answer {when}");
        }
    }

    #[track_caller]
    fn silent(&self, addresses: &[&str], when: &str) {
        for address in addresses {
            let output = self.peer.try_run(&["ping", "-c3", "-i0.05", "-W1", address]);
            let words = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(words.contains(" 0 received") && !words.contains("rror"), "{address} {when}: {words}");
        }
    }

    /// Does something a number of times while the peer keeps asking a VIP, which must not answer once.
    #[track_caller]
    fn silent_throughout(&self, mut work: impl FnMut()) {
        for vip in VIPS {
            let ping = self.peer.spawn(&["ping", "-i0.002", "-c500", "-W1", vip]);
            let mut times = 0;
            while ping.ended().is_none() {
                work();
                times += 1;
            }
            assert!(times > 2, "the work was done only {times} times while {vip} was asked");
            assert!(ping.log().contains(" 0 received"), "{vip} answered: {}", ping.log());
        }
    }

    /// Has the peer ask the node for the link address of its addresses, from nothing and again from an old answer.
    #[track_caller]
    fn neighbours_are_found(&self, addresses: &[&str]) {
        for address in addresses {
            let look = || self.peer.run(&["ip", "neighbour", "show", address, "dev", "eth0"]);
            self.peer.run(&["ip", "neighbour", "replace", address, "dev", "eth0", "nud", "none"]);
            self.peer.try_run(&["ping", "-c1", "-W1", address]);
            let found = wait_until(SOON, || look().contains("lladdr"));
            assert!(found, "the node does not tell {address}'s link address: {}", look());
            let known = look().split_whitespace().skip_while(|word| *word != "lladdr").nth(1).map(str::to_owned);
            let known = known.expect("an address follows the word");
            let probe = ["ip", "neighbour", "replace", address, "lladdr", &known, "dev", "eth0", "nud", "probe"];
            self.peer.run(&probe);
            let found = wait_until(SOON, || look().contains("REACHABLE"));
            assert!(found, "the node does not confirm {address}'s link address: {}", look());
        }
    }
}

/// A bpffs, unmounted when dropped; with it go its pins and what they keep alive.
struct Bpffs(TempDir);

impl Bpffs {
    fn mount() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        output_of(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(directory.path()));
        Self(directory)
    }

    fn pin(&self) -> PathBuf {
        self.0.path().join("pointsman")
    }

    fn pins(&self, interface: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.pin().join(interface)) else { return Vec::new() };
        entries.map(|entry| entry.expect("the directory is there").file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("could not unmount {}", self.0.path().display());
        }
    }
}

fn host(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 128 } else { 32 })
}

fn set(vips: &[&str]) -> BTreeSet<ipnet::IpNet> {
    vips.iter().map(|vip| vip.parse().expect("a prefix")).collect()
}

fn hosts(vips: &[&str]) -> BTreeSet<ipnet::IpNet> {
    vips.iter().map(|vip| host(vip).parse().expect("a prefix")).collect()
}

/// What both kinds of gate promise.
fn keeps_vips_from_the_kernel(site: &Site, open: impl Fn() -> Gate) {
    let own: SocketAddr = "10.0.0.1:2222".parse().expect("an address");
    let heartbeat = Heartbeat::start(&site.peer, &site.node, own);
    let mut gate = open();
    heartbeat.goes_on("after the gate stood");
    site.answer(&VIPS, "while it is not a VIP yet");

    gate.set_vips(&hosts(&[VIPS, ON_LINK].concat())).expect("the VIPs fit");
    heartbeat.goes_on("after the VIPs were set");
    site.silent(&[VIPS, ON_LINK].concat(), "is a VIP");
    site.answer(&[OWN, OTHERS].concat(), "though it is no VIP");
    site.neighbours_are_found(&ON_LINK);

    gate.set_vips(&set(&["192.0.2.0/26", "2001:db8::/122", "203.0.113.7/32"])).expect("the VIPs fit");
    heartbeat.goes_on("after the VIPs were changed");
    site.silent(&VIPS, "is in a prefix of VIPs");
    site.answer(&[OTHERS, ON_LINK].concat(), "though it is no VIP any more");

    site.detach(gate);
    heartbeat.goes_on("after the gate was gone");
    site.answer(&[VIPS, OTHERS, OWN].concat(), "without a gate");
    assert_eq!(site.bpffs.pins("eth0"), Vec::<String>::new());
    assert!(!site.bpffs.pin().join("eth0").exists(), "the directory for pins is still there");
    site.cleanup();
}

/// What both kinds of gate promise for when their process is gone.
fn outlives_its_process(site: &Site, open: impl Fn() -> Gate) {
    let mut gate = open();
    gate.set_vips(&hosts(&VIPS)).expect("the VIPs fit");
    drop(gate);
    site.silent(&VIPS, "is a VIP of a daemon that died");
    site.silent_throughout(|| drop(open()));

    // The successor owns the maps, not a copy of them.
    let mut gate = open();
    gate.set_vips(&BTreeSet::new()).expect("nothing always fits");
    site.answer(&VIPS, "after the successor has taken all VIPs back");
    gate.set_vips(&hosts(&VIPS)).expect("the VIPs fit");
    drop(gate);
    site.silent(&VIPS, "is a VIP again");
    site.cleanup();
    site.answer(&VIPS, "after the cleanup");
    assert!(!site.bpffs.pin().join("eth0").exists(), "the directory for pins is still there");
    site.cleanup();
}

fn steering_keeps_vips(asked: XdpMode, mode: Mode) {
    if skipped() {
        return;
    }
    let site = Site::new();
    keeps_vips_from_the_kernel(&site, || {
        let steering = site.steering(asked).expect("veth has XDP");
        assert_eq!(steering.mode(), mode);
        assert!(site.link().contains("prog/xdp"), "{}", site.link());
        Gate::Xdp(steering)
    });
    assert!(!site.link().contains("xdp"), "{}", site.link());
}

#[test]
fn steering_in_the_driver_keeps_vips_from_the_kernel() {
    steering_keeps_vips(XdpMode::Auto, Mode::Native);
}

#[test]
fn generic_steering_keeps_vips_from_the_kernel() {
    steering_keeps_vips(XdpMode::Generic, Mode::Generic);
}

#[test]
fn the_guard_keeps_vips_from_the_kernel() {
    if skipped() {
        return;
    }
    let site = Site::new();
    keeps_vips_from_the_kernel(&site, || Gate::Tc(site.guard().expect("every link has tc")));
    assert_eq!(site.filters(), "");
}

#[test]
fn steering_outlives_its_process_and_is_taken_over_without_a_gap() {
    if skipped() {
        return;
    }
    let site = Site::new();
    drop(site.steering(XdpMode::Auto).expect("veth has XDP"));
    let link = site.link_id();
    outlives_its_process(&site, || {
        let steering = site.steering(XdpMode::Auto).expect("an earlier run's program can be taken over");
        assert_eq!(site.link_id(), link, "the link is another one");
        Gate::Xdp(steering)
    });
    assert!(!site.link().contains("xdp"), "{}", site.link());
}

#[test]
fn the_guard_outlives_its_process_and_is_taken_over_without_a_gap() {
    if skipped() {
        return;
    }
    let site = Site::new();
    outlives_its_process(&site, || {
        let guard = site.guard().expect("an earlier run's guard can be taken over");
        assert_eq!(site.filters().matches(" handle 0x706d ").count(), 1, "{}", site.filters());
        Gate::Tc(guard)
    });
    assert_eq!(site.filters(), "");
}

#[test]
fn a_tap_sees_what_the_guard_drops() {
    use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
    if skipped() {
        return;
    }
    let site = Site::new();
    let mut guard = site.guard().expect("every link has tc");
    guard.set_vips(&hosts(&VIPS)).expect("the VIPs fit");
    let all = Protocol::from_raw(u32::from(3_u16.to_be()).try_into().expect("not zero"));
    let tap =
        site.node.inside(|| socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::NONBLOCK, Some(all)));
    let tap = tap.expect("root may tap");
    site.silent(&VIPS[..1], "is a VIP");
    let mut frame = [0; 2048];
    let seen =
        wait_until(SOON, || recv(&tap, &mut frame[..], RecvFlags::empty()).is_ok() && frame[30..34] == [192, 0, 2, 10]);
    assert!(seen, "the tap saw no frame for the VIP");
    site.detach(Gate::Tc(guard));
}

#[test]
fn what_is_stale_is_removed_and_attached_anew() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let leave = |mode| site.steering(mode)?.set_vips(&hosts(&VIPS));
    leave(XdpMode::Generic).expect("the VIPs fit");
    let link = site.link_id();
    let steering = site.steering(XdpMode::Native).expect("another mode can be asked for");
    assert_eq!(steering.mode(), Mode::Native);
    assert_ne!(site.link_id(), link);
    site.answer(&VIPS, "after an attachment anew");

    leave(XdpMode::Native).expect("the VIPs fit");
    drop(steering);
    site.node.run(&["ip", "link", "delete", "eth0"]);
    site.connect();
    let steering = site.steering(XdpMode::Auto).expect("a new interface of the old name can be used");
    assert!(site.link().contains("prog/xdp"), "{}", site.link());
    site.answer(&VIPS, "after an attachment anew");
    site.detach(Gate::Xdp(steering));

    site.guard().and_then(|mut guard| guard.set_vips(&hosts(&VIPS))).expect("the VIPs fit");
    site.node.run(&["ip", "link", "delete", "eth0"]);
    site.connect();
    let guard = site.guard().expect("a new interface of the old name can be used");
    site.answer(&VIPS, "after an attachment anew");
    drop(guard);
    site.node.run(&["ip", "link", "delete", "eth0"]);
    site.cleanup();
    assert!(!site.bpffs.pin().join("eth0").exists(), "the directory for pins is still there");
}

#[test]
fn another_driver_finds_the_interface_free() {
    if skipped() {
        return;
    }
    let site = Site::new();
    drop(site.steering(XdpMode::Auto).expect("veth has XDP"));
    drop(site.guard().expect("every link has tc"));
    assert!(!site.link().contains("xdp"), "{}", site.link());
    let steering = site.steering(XdpMode::Auto).expect("veth has XDP");
    assert_eq!(site.filters(), "");
    site.detach(Gate::Xdp(steering));
}

#[test]
fn tagged_frames_are_steered_too() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let mut steering = site.steering(XdpMode::Native).expect("veth has XDP");
    steering.set_vips(&hosts(&VIPS)).expect("the VIPs fit");
    let mut tap = site.node.inside(open_tap);
    let mut wire = site.peer.inside(open_tap);
    // The last one, which is no VIP's, tells when all have passed.
    for address in [[192, 0, 2, 10], [192, 0, 2, 98], [192, 0, 2, 10], [192, 0, 2, 99]] {
        wire.0.send_to(&tagged(address), None).expect("there is room").expect("the link is up");
    }
    let mut seen = Vec::new();
    let all_passed = wait_until(SOON, || {
        if let Ok(frame) = tap.1.next() {
            // The kernel takes the tag off before a tap sees the frame.
            let marked = frame.len() == 60 - 4 && frame.ends_with(MARK);
            seen.extend(marked.then(|| frame[33]));
        }
        seen.last() == Some(&99)
    });
    assert!(all_passed, "no tagged frame passed");
    assert_eq!(seen, [98, 99], "the last bytes of the addresses that the kernel saw");
    site.detach(Gate::Xdp(steering));
}

const MARK: &[u8] = b"pointsman";

type Tap = (Box<dyn pnet::datalink::DataLinkSender>, Box<dyn pnet::datalink::DataLinkReceiver>);

/// A way to send and receive whole frames on eth0 of the present namespace.
fn open_tap() -> Tap {
    use pnet::datalink::{Channel, Config, channel, interfaces};
    let eth0 = interfaces().into_iter().find(|interface| interface.name == "eth0").expect("the namespace has eth0");
    let patience = Some(std::time::Duration::from_millis(100));
    match channel(&eth0, Config { read_timeout: patience, ..Config::default() }).expect("root may tap") {
        Channel::Ethernet(sender, receiver) => (sender, receiver),
        _ => panic!("eth0 is an Ethernet link"),
    }
}

/// A frame with an 802.1Q tag and an IPv4 header of which only the destination matters here.
fn tagged(destination: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([0x81, 0x00, 0x00, 0x07, 0x08, 0x00]);
    frame.extend([0x45, 0, 0, 42, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2]);
    frame.extend(destination);
    frame.resize(60 - MARK.len(), 0);
    frame.extend(MARK);
    frame
}

#[test]
fn an_interface_with_a_dot_in_its_name_has_pins_too() {
    if skipped() {
        return;
    }
    let site = Site::new();
    veth((&site.node, "eth0.7"), (&site.peer, "eth0.7"), 1);
    let pin = site.bpffs.pin();
    let open = || site.node.inside(|| Steering::open("eth0.7", XdpMode::Auto, &pin)).expect("veth has XDP");
    drop(open());
    assert_eq!(site.bpffs.pins("eth0:7").len(), 4);
    drop(open());
    site.node.inside(|| cleanup(&pin, "eth0.7")).expect("it can be removed");
    assert!(!pin.join("eth0:7").exists(), "the directory for pins is still there");
}

#[test]
fn errors_say_what_to_mend() {
    if skipped() {
        return;
    }
    let site = Site::new();
    let elsewhere = tempfile::tempdir().expect("a temporary directory can be made");
    let words = |pin: &Path, interface: &str, mode| {
        let opened = site.node.inside(|| Steering::open(interface, mode, pin));
        opened.expect_err("this cannot be opened").to_string()
    };
    let pin = elsewhere.path().join("pins");
    let expected = format!("{} is not on a bpffs: mount -t bpf bpf /sys/fs/bpf", pin.join("eth0").display());
    assert_eq!(words(&pin, "eth0", XdpMode::Auto), expected);
    assert!(!pin.exists(), "the refused directory was made");
    assert!(words(&site.bpffs.pin(), "eth9", XdpMode::Auto).contains("there is no interface eth9"));
    assert!(words(&site.bpffs.pin(), "lo", XdpMode::Native).contains("\"generic\""));

    let other = site.bpffs.0.path().join("other");
    let held = site.node.inside(|| Steering::open("eth0", XdpMode::Auto, &other)).expect("veth has XDP");
    let occupied = words(&site.bpffs.pin(), "eth0", XdpMode::Auto);
    assert!(occupied.contains("already has a steering program of pointsman's"), "{occupied}");
    assert!(occupied.contains(&format!("pinned at {}", other.join("eth0/link").display())), "{occupied}");
    assert_eq!(site.bpffs.pins("eth0"), Vec::<String>::new());
    site.detach(Gate::Xdp(held));

    let mut steering = site.steering(XdpMode::Auto).expect("the interface is free again");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("any port");
    assert!(matches!(steering.set_socket(256, socket.as_fd()), Err(SteerError::TooManyQueues(256))));
    assert!(matches!(steering.set_socket(0, socket.as_fd()), Err(SteerError::Failed { .. })));
    site.detach(Gate::Xdp(steering));

    let refused = site.node.inside(|| {
        give_up_capabilities();
        let pin = site.bpffs.pin();
        [Steering::open("eth0", XdpMode::Auto, &pin).map(drop), Guard::open("eth0", &pin).map(drop)]
    });
    for refusal in refused {
        let words = refusal.expect_err("not without capabilities").to_string();
        assert!(words.contains("CAP_NET_ADMIN and CAP_BPF"), "{words}");
    }
}

/// Leaves the calling thread none, be it root's.
fn give_up_capabilities() {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .expect("a thread may give up what it has");
}

#[test]
fn queues_are_counted() {
    if skipped() {
        return;
    }
    let site = Site::new();
    assert_eq!(site.node.inside(|| rx_queues("eth0")).expect("veth tells its queues"), 2);
    assert_eq!(site.node.inside(|| rx_queues("lo")).expect("lo does not, and has one"), 1);
    assert!(site.node.inside(|| rx_queues("eth9")).is_err());
}
