//! A service manager stops the daemon and starts it again, and keeps the steering program's descriptors meanwhile: it stays on
//! the interface, and the kernel sees no VIP packet. Where the service manager closes them, it goes. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::programs::links::{FdLink, PinnedLink};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::netdevice::name_to_index;
use serde_json::{Value, json};
use testkit::{Asked, Driver, Edge, Namespace, SOON, Sessions, Stream, Topology, http, wait_until};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// As many descriptors as the unit has the service manager keep.
const ROOM: usize = 8;
/// All that keeps the steering program on `eth0`.
const ALL: [&str; 4] = ["gate/eth0/link", "gate/eth0/prefixes", "gate/eth0/vips", "gate/eth0/xsks"];
const NONE: [&str; 0] = [];

#[test]
fn steering_stays_over_a_restart_native() {
    steering_stays_over_a_restart(Driver::XdpNative);
}

#[test]
fn steering_stays_over_a_restart_generic() {
    steering_stays_over_a_restart(Driver::XdpGeneric);
}

/// Beside connections in the middle of a handover, whose slots remember. The edge node has the VIP itself, and its kernel would
/// answer if it were let.
fn steering_stays_over_a_restart(driver: Driver) {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(4);
    topology.edge.add_addresses("lo", &[format!("{VIP}/32")]);
    let _servers: Vec<Asked> = topology.endpoints.iter().map(|e| Asked::start(&e.namespace, &e.name)).collect();
    let mut edge = Edge::builder(&topology.edge, driver).keeping_descriptors(ROOM).start();
    edge.apply(set(&topology, &["active", "active"]));
    let sessions = Sessions::start(&topology.client, VIP, 50);
    edge.apply(set(&topology, &["draining", "draining", "active", "active"]));
    let (link, before) = (pinned_link(&edge), kernel_answers(&topology.edge));
    let mut silences = Vec::new();
    for _ in 0..3 {
        let stream = stream(&topology);
        stream.run(20);
        let looks = Looks::start(&topology.edge);
        assert!(edge.stop().success());
        assert_eq!(edge.store().names(), ALL);
        assert!(!edge.pins().exists(), "no pin outlives a stop");
        let sent = stream.sent();
        assert!(wait_until(SOON, || stream.sent() > sent), "some come while nobody forwards");
        edge.run();
        stream.run(20);
        let (count, without) = looks.finish();
        assert!(without == 0, "{without} of {count} looks at eth0 saw no XDP program");
        assert_eq!(
            pinned_link(&edge),
            link,
            "it is pinned again, and was never taken off: a link is attached but once"
        );
        assert_eq!(edge.store().names(), NONE);
        silences.push(stream.finish().1.silence);
    }
    println!("{driver:?}: restarts: nothing came for {silences:?}");
    assert_eq!(kernel_answers(&topology.edge), before, "the kernel has seen VIP packets");
    sessions.go_on("after three restarts in the middle of a handover");
    edge.metrics().assert_balanced();
    // What no busy machine makes of them.
    let shortest = silences.iter().min().expect("three");
    assert!(*shortest < Duration::from_secs(3), "{silences:?}");
}

/// That is how it was without the service manager's help, and is still where it keeps nothing.
#[test]
fn without_a_store_the_kernel_sees_what_comes_in_between() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    topology.edge.add_addresses("lo", &[format!("{VIP}/32")]);
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    edge.apply(set(&topology, &["active"]));
    let (stream, before) = (stream(&topology), kernel_answers(&topology.edge));
    stream.run(20);
    assert!(edge.stop().success());
    assert!(!has_xdp(&topology.edge, "eth0") && !edge.pins().exists());
    assert!(wait_until(SOON, || kernel_answers(&topology.edge) > before), "nothing is kept from the kernel");
    edge.run();
    stream.run(20);
}

#[test]
fn nothing_stays_where_the_service_manager_closes_it() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    let mut edge = start(&topology);
    // It is the process that has taken over that gives them.
    edge.upgrade();
    assert!(edge.stop().success());
    assert_eq!(edge.store().names(), ALL);
    assert!(has_xdp(&topology.edge, "eth0") && !edge.pins().exists());
    edge.store().close();
    assert!(wait_until(SOON, || !has_xdp(&topology.edge, "eth0")), "the program has nobody left");
    edge.run();
    assert_forwards(&topology);
}

/// One that does not keep all is given nothing, and neither does the guard, which no descriptor holds, stay.
#[test]
fn what_cannot_be_kept_is_taken_off() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    for (driver, room) in [(Driver::XdpNative, ALL.len() - 1), (Driver::Packet, ROOM)] {
        let mut edge = Edge::builder(&topology.edge, driver).keeping_descriptors(room).start();
        edge.apply(set(&topology, &["active"]));
        assert!(edge.stop().success());
        assert_eq!(edge.store().names(), NONE);
        let filters = topology.edge.run(&["tc", "filter", "show", "dev", "eth0", "ingress"]);
        assert!(
            filters.is_empty() && !has_xdp(&topology.edge, "eth0") && !edge.pins().exists(),
            "{driver:?}: {filters}"
        );
    }
}

#[test]
fn another_interface_in_the_config_lets_the_old_one_go() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    topology.edge.run(&["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "other"]);
    ["eth1", "other"].iter().for_each(|link| _ = topology.edge.run(&["ip", "link", "set", link, "up"]));
    let (mut edge, _) = stopped(&topology);
    edge.edit_config("name = \"eth0\"", "name = \"eth1\"");
    edge.run();
    assert!(wait_until(SOON, || !has_xdp(&topology.edge, "eth0")), "{}", edge.log());
    assert!(has_xdp(&topology.edge, "eth1") && !edge.pins().exists());
    assert_eq!(edge.store().names(), NONE);
}

#[test]
fn another_driver_in_the_config_lets_the_program_go() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    let (mut edge, _) = stopped(&topology);
    edge.edit_config("driver = \"af_xdp\"", "driver = \"af_packet\"");
    edge.run();
    assert!(!has_xdp(&topology.edge, "eth0"), "{}", edge.log());
    assert_eq!(edge.store().names(), NONE);
    assert_forwards(&topology);
}

/// The start goes on without what it cannot use, says so, and keeps nothing of it open.
#[test]
fn what_is_not_understood_is_let_go() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    let (mut edge, _) = stopped(&topology);
    let garbage = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let file = || OwnedFd::from(garbage.reopen().expect("it is there"));
    let mut objects: BTreeMap<String, OwnedFd> = edge.store().take().into_iter().collect();
    let mut object = |name: &str| objects.remove(name).expect("it was kept");
    // The link by no name of the daemon's, which somebody else has, too; a map that is called the link; and what can be pinned
    // nowhere.
    let link = object("gate/eth0/link");
    let _copy = link.try_clone().expect("there is room for descriptors");
    edge.store().put("gate/eth7/link", link);
    edge.store().put("gate/eth0/link", object("gate/eth0/vips"));
    edge.store().put("gate/eth0/vips", file());
    edge.store().put("stored", file());
    edge.run();
    assert_forwards(&topology);
    assert_eq!(edge.store().names(), NONE);
    let log = edge.log();
    for said in ["gate/eth7/link, which", "gate/eth0/vips, which", "stored, which"] {
        assert_eq!(log.lines().filter(|line| line.contains(said)).count(), 1, "{said}: {log}");
    }
    let open = fs::read_dir(format!("/proc/{}/fd", edge.pid())).expect("it runs");
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    assert!(!open.is_empty() && !open.iter().any(|path| path == garbage.path()), "{open:?}");
    assert!(edge.stop().success());
}

/// A start that fails leaves it as it was between the two runs: the service manager has all of it, and there is no pin.
#[test]
fn a_start_that_fails_gives_all_of_it_back() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    let (mut edge, link) = stopped(&topology);
    edge.edit_config("driver = ", "cores = [0]\ndriver = ");
    for _ in 0..2 {
        let said = edge.run_in_vain();
        assert!(said.contains("1 cores for 2 queues"), "{said}");
        assert_eq!(edge.store().names(), ALL);
        assert!(has_xdp(&topology.edge, "eth0") && !edge.pins().exists());
    }
    edge.edit_config("cores = [0]\n", "");
    edge.run();
    assert_eq!((pinned_link(&edge), edge.store().names()), (link, vec![]));
    assert_forwards(&topology);
    edge.edit_config("driver = ", "cores = [0]\ndriver = ");
    assert!(edge.stop().success());
    edge.run_in_vain();
    edge.store().close();
    assert!(wait_until(SOON, || !has_xdp(&topology.edge, "eth0")), "it does not outlast a stop");
}

/// A start that has died when it had pinned everything and forgotten nothing yet.
#[test]
fn what_is_pinned_already_counts() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    let (mut edge, link) = stopped(&topology);
    let copies: Vec<_> = edge.store().take();
    let copy = |object: &OwnedFd| object.try_clone().expect("there is room for descriptors");
    copies.iter().for_each(|(name, object)| edge.store().put(name, copy(object)));
    edge.run();
    edge.kill();
    copies.into_iter().for_each(|(name, object)| edge.store().put(&name, object));
    edge.run();
    assert_eq!((pinned_link(&edge), edge.store().names()), (link, vec![]));
    assert!(!edge.log().contains("is let go"), "{}", edge.log());
    assert_forwards(&topology);
}

/// Descriptors that its parent was passed are not the daemon's, whatever their names.
#[test]
fn what_another_process_was_passed_is_left_alone() {
    if testkit::skipped() {
        return;
    }
    let topology = endpoints(1);
    let (mut edge, link) = stopped(&topology);
    edge.wrap(&["env", "LISTEN_PID=1"]);
    let said = edge.run_in_vain();
    assert!(said.contains("eth0 already has a steering program of pointsman's"), "{said}");
    assert_eq!(edge.store().names(), ALL);
    edge.wrap(&[]);
    edge.run();
    assert_eq!(pinned_link(&edge), link);
    assert_forwards(&topology);
}

fn endpoints(count: usize) -> Topology {
    Topology::with_endpoints(2, count, &[VIP])
}

/// A daemon with a service, and as much room at its service manager as the unit asks for.
fn start(topology: &Topology) -> Edge<'_> {
    let edge = Edge::builder(&topology.edge, Driver::XdpNative).keeping_descriptors(ROOM).start();
    edge.apply(set(topology, &["active"]));
    edge
}

/// The same when it has been stopped, and the number of the link that it had.
fn stopped(topology: &Topology) -> (Edge<'_>, u32) {
    let mut edge = start(topology);
    let link = pinned_link(&edge);
    assert!(edge.stop().success());
    (edge, link)
}

/// A service with the first endpoints, in these states.
fn set(topology: &Topology, states: &[&str]) -> Value {
    json!([{ "name": "web", "vip": VIP, "endpoints": topology.in_states(states) }])
}

fn stream(topology: &Topology) -> Stream {
    let endpoints: Vec<_> = topology.endpoints.iter().map(|endpoint| &endpoint.namespace).collect();
    Stream::start(&topology.client, VIP, &endpoints, 16, Duration::from_millis(10))
}

fn assert_forwards(topology: &Topology) {
    let answer = topology.client.inside(|| http::who((VIP, 80).into()));
    assert_eq!(answer.map(|(name, _)| name).map_err(|error| error.to_string()).as_deref(), Ok("ep0"));
}

/// The kernel's number for the link that is pinned.
fn pinned_link(edge: &Edge<'_>) -> u32 {
    let link = PinnedLink::from_pin(edge.pins().join("link")).expect("the link is pinned");
    FdLink::from(link).info().expect("the kernel knows its links").id()
}

/// How many packets this namespace's kernel has answered for want of somebody who listens.
fn kernel_answers(namespace: &Namespace) -> u64 {
    let all = namespace.inside(|| fs::read_to_string("/proc/thread-self/net/snmp")).expect("it is readable");
    let value = |protocol: &str, name: &str| {
        let mut lines = all.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let (_, value) = names.split(' ').zip(values.split(' ')).find(|(other, _)| *other == name).expect("it counts");
        value.parse::<u64>().expect("a number")
    };
    value("Udp", "NoPorts") + value("Tcp", "OutRsts")
}

fn has_xdp(namespace: &Namespace, link: &str) -> bool {
    namespace.inside(|| {
        let socket = Socket::new(NETLINK_ROUTE).expect("root may");
        program_on(&socket, index_of(link)).is_some()
    })
}

/// Looks at `eth0` again and again, in a thread.
struct Looks {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

impl Looks {
    fn start(namespace: &Namespace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = namespace.thread(move || {
            let (socket, index) = (Socket::new(NETLINK_ROUTE).expect("root may"), index_of("eth0"));
            let (mut count, mut without, mut is_last) = (0, 0, false);
            while !is_last {
                is_last = stopped.load(Ordering::Relaxed);
                count += 1;
                without += u64::from(program_on(&socket, index).is_none());
                thread::sleep(Duration::from_micros(200));
            }
            (count, without)
        });
        Self { stop, thread }
    }

    /// How often it has looked, and how often there was no XDP program.
    fn finish(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only looks")
    }
}

fn index_of(link: &str) -> u32 {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("there are ports");
    name_to_index(&socket, link).expect("it is there")
}

/// The number of the XDP program on an interface.
fn program_on(socket: &Socket, index: u32) -> Option<u32> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(question));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).expect("the kernel listens");
    let (answer, _) = socket.recv_from_full().expect("it answers");
    let answer = NetlinkMessage::deserialize(&answer).expect("it is readable").payload;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer else { panic!("{answer:?}") };
    let xdp = link.attributes.into_iter().filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    xdp.flatten().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(id),
        _ => None,
    })
}
