//! The small edge: two nodes on the client's link, of which VRRP gives one the VIPs as addresses of its own. Real
//! keepalived at both, as shipped in `conf/keepalived.conf.example`. Needs root, and keepalived.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;
use testkit::keepalived::Keepalived;
use testkit::{Asked, Driver, EDGE_V4, EDGE_V6, Edge, Load, Namespace, SOON, Sessions, Topology, wait_until};

const VIPS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))];
const SECOND: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(192, 0, 2, 2), Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, 2));
const EXAMPLE: &str = include_str!("../../conf/keepalived.conf.example");
/// Connections to each VIP that stay open all the time.
const SESSIONS: usize = 100;
/// RFC 5798, section 6.1: three intervals of 0.3 seconds, and up to one more, the lower the priority.
const MASTER_DOWN: Duration = Duration::from_millis(1_200);
/// How often the example asks whether pointsman is there, and for how long it waits for the answer.
const CHECK: Duration = Duration::from_secs(2);
/// What a machine that is busy with other tests may add.
const BUSY: Duration = Duration::from_secs(1);
/// A port of the VIPs that no service has, on which the nodes listen.
const OTHER_PORT: u16 = 81;

#[test]
fn the_example_for_keepalived_is_valid() {
    if testkit::skipped() || Keepalived::is_missing() {
        return;
    }
    // The script of the example is that of an installed pointsman.
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let config = EXAMPLE.replace("/usr/local/bin/pointsman", env!("CARGO_BIN_EXE_pointsman"));
    std::fs::write(file.path(), &config).expect("the file was just made");
    // It looks for the interface, too.
    let topology = Topology::new(1);
    // The command as the example names it.
    let (_, command) = EXAMPLE.split_once("check it with: ").expect("the example says how to check it");
    let path = file.path().display().to_string();
    let words: Vec<&str> = command.lines().next().expect("it is named").split(' ').collect();
    let words: Vec<&str> = words.into_iter().map(|word| if word == "FILE" { &path } else { word }).collect();
    let output = topology.edge.try_run(&words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(file.path()).expect("it is there still"), config, "the check changes the file");
}

#[test]
fn connections_go_on_with_af_xdp_native() {
    connections_go_on(Driver::XdpNative, "");
}

#[test]
fn connections_go_on_with_af_xdp_generic() {
    connections_go_on(Driver::XdpGeneric, "");
}

#[test]
fn connections_go_on_with_af_packet() {
    connections_go_on(Driver::Packet, "");
}

/// The VIPs have an Ethernet address of their own, which moves with them, on a device of their own.
#[test]
fn connections_go_on_with_af_xdp_native_and_a_virtual_mac() {
    connections_go_on(Driver::XdpNative, "use_vmac");
}

#[test]
fn connections_go_on_with_af_xdp_generic_and_a_virtual_mac() {
    connections_go_on(Driver::XdpGeneric, "use_vmac");
}

#[test]
fn connections_go_on_with_af_packet_and_a_virtual_mac() {
    connections_go_on(Driver::Packet, "use_vmac");
}

/// The VIPs move four times, for a reason of its own each.
fn connections_go_on(driver: Driver, vmac: &str) {
    if testkit::skipped() || Keepalived::is_missing() {
        return;
    }
    let (topology, _servers) = on_one_link();
    let second_ns = topology.add_neighbour("second", SECOND);
    for port in ["edge", "second"] {
        // A network card takes no frames that a switch sends everywhere since it does not know where to.
        topology.fabric().run(&["ip", "link", "set", port, "type", "bridge_slave", "flood", "off"]);
    }
    let mut first = Node::start(&topology, (&topology.edge, "edge"), (EDGE_V4, EDGE_V6), driver, (100, vmac));
    assert!(wait_until(SOON, || first.has_vips()), "{}", first.words());
    let mut second = Node::start(&topology, (&second_ns, "second"), SECOND, driver, (90, vmac));
    let mut traffic = Traffic::start(&topology.client);
    traffic.goes_on("at first");
    nobody_else_answers(&topology.client);

    traffic.moves("the death of the master", MASTER_DOWN, [&mut first, &mut second], |node| node.die());
    first.rise();
    assert!(wait_until(SOON, || first.is_backup()), "{}", first.words());
    traffic.moves("a crash of pointsman", CHECK, [&mut second, &mut first], |node| node.crash());
    second.edge.run();
    assert!(wait_until(SOON, || second.is_backup()), "{}", second.words());
    traffic.moves("a stop of keepalived", MASTER_DOWN, [&mut first, &mut second], |node| node.stop_keepalived());
    let said = [&first, &second].map(Node::said_by_kernel);
    assert_eq!(said, [[0, 0]; 2], "resets, and ICMP errors and echo replies, by the nodes' kernels");

    first.start_keepalived();
    assert!(wait_until(SOON, || first.is_backup()), "{}", first.words());
    // Not as it should be done: until keepalived notices, the VIPs are the kernel's. New connections may fail.
    traffic.end_requests();
    let stop = |node: &mut Node<'_>| assert!(node.edge.stop().success());
    traffic.moves("a stop of pointsman", CHECK, [&mut second, &mut first], stop);
    let resets = [&first, &second].map(|node| node.said_by_kernel()[0]);
    assert_eq!(resets, [0, 0], "keepalived drops what reaches the VIPs in the kernel");
    first.edge.metrics().assert_balanced();
}

/// Client, three endpoints and edge nodes, all neighbours. The VIPs are on the link for the client, and the endpoints,
/// which have them too, keep quiet about that.
fn on_one_link() -> (Topology, Vec<Asked>) {
    let topology = Topology::with_endpoints(1, 3, &VIPS);
    for endpoint in &topology.endpoints {
        // Nor do they say so by asking for the client's address in the VIP's name.
        endpoint.namespace.sysctl("net/ipv4/conf/all/arp_ignore", "1");
        endpoint.namespace.sysctl("net/ipv4/conf/all/arp_announce", "2");
    }
    topology.client.run(&["ip", "route", "replace", "203.0.113.0/24", "dev", "eth0"]);
    topology.client.run(&["ip", "route", "replace", "2001:db8:1::/64", "dev", "eth0"]);
    let servers = topology.endpoints.iter().map(|endpoint| Asked::start(&endpoint.namespace, &endpoint.name));
    let servers = servers.collect();
    (topology, servers)
}

/// An edge node.
struct Node<'a> {
    topology: &'a Topology,
    namespace: &'a Namespace,
    /// Its link's name at the bridge.
    port: &'static str,
    edge: Edge<'a>,
    config: String,
    keepalived: Option<Keepalived>,
    _listener: TcpListener,
}

impl<'a> Node<'a> {
    fn start(
        topology: &'a Topology,
        (namespace, port): (&'a Namespace, &'static str),
        addresses: (Ipv4Addr, Ipv6Addr),
        driver: Driver,
        (priority, vmac): (u8, &str),
    ) -> Self {
        let edge = Edge::builder(namespace, driver).addresses(addresses.0, addresses.1).start();
        let endpoints: Vec<_> = topology.endpoints.iter().map(testkit::Endpoint::over_ipv6).collect();
        let service = |name: &str, vip: IpAddr| json!({ "name": name, "vip": vip, "protocol": "tcp", "ports": [80, 7000], "endpoints": endpoints });
        edge.apply(json!([service("v4", VIPS[0]), service("v6", VIPS[1])]));
        let config = EXAMPLE
            .replace("/usr/local/bin/pointsman", env!("CARGO_BIN_EXE_pointsman"))
            .replace("/run/pointsman/control.sock", &edge.socket())
            // A machine that is busy with other tests may need longer for an answer; a daemon that is dead says so at once.
            .replace("timeout 1\n", "timeout 5\n")
            .replace("priority 100", &format!("priority {priority}"))
            .replace("interface eth0", &format!("interface eth0\n{vmac}"));
        let listener = namespace.inside(|| TcpListener::bind(("::", OTHER_PORT))).expect("the port is free");
        let mut node = Self { topology, namespace, port, edge, config, keepalived: None, _listener: listener };
        node.start_keepalived();
        node
    }

    fn start_keepalived(&mut self) {
        self.keepalived = Some(Keepalived::start(self.namespace, &self.config));
    }

    fn stop_keepalived(&mut self) {
        self.keepalived.take().expect("it runs").stop();
    }

    fn crash(&mut self) {
        assert!(self.edge.kill().code().is_none(), "a signal ended it");
    }

    /// As a machine that loses its power.
    fn die(&mut self) {
        self.topology.fabric().run(&["ip", "link", "set", self.port, "down"]);
        self.keepalived.take().expect("it runs").kill();
        self.edge.kill();
    }

    /// After [`die`](Self::die).
    fn rise(&mut self) {
        for vip in VIPS {
            let _ = self.namespace.try_run(&["ip", "address", "delete", &vip.to_string(), "dev", "eth0"]);
        }
        self.edge.run();
        self.topology.fabric().run(&["ip", "link", "set", self.port, "up"]);
        self.start_keepalived();
    }

    /// Whether the VIPs are addresses of the node.
    fn has_vips(&self) -> bool {
        let addresses = self.namespace.run(&["ip", "address", "show"]);
        let has = VIPS.map(|vip| addresses.contains(&format!(" {vip}/")));
        has == [true, true]
    }

    /// Whether keepalived last said that it is the backup.
    fn is_backup(&self) -> bool {
        let words = self.words();
        let last = words.lines().rfind(|line| line.contains(" STATE"));
        last.is_some_and(|line| line.contains("Entering BACKUP STATE"))
    }

    fn words(&self) -> String {
        let keepalived = self.keepalived.as_ref().map(Keepalived::log).unwrap_or_default();
        format!("{}\n{keepalived}", self.namespace.run(&["ip", "address", "show"]))
    }

    /// What the node's kernel itself has said to anybody: TCP resets, and ICMP errors and echo replies.
    fn said_by_kernel(&self) -> [u64; 2] {
        let lines = self.namespace.run(&["cat", "/proc/net/snmp"]);
        let v4 = |protocol: &str, name: &str| -> u64 {
            let mut lines = lines.lines().filter_map(|line| line.strip_prefix(protocol)).map(str::split_whitespace);
            let (mut names, mut values) = (lines.next().expect("names"), lines.next().expect("values"));
            let value = names.position(|of| of == name).and_then(|place| values.nth(place));
            value.expect("the kernel counts these").parse().expect("a number")
        };
        let lines = self.namespace.run(&["cat", "/proc/net/snmp6"]);
        let v6 = |name: &str| -> u64 {
            let mut words = lines.split_whitespace().skip_while(|word| *word != name);
            words.nth(1).expect("the kernel counts these").parse().expect("a number")
        };
        let errors = [v4("Icmp:", "OutDestUnreachs"), v6("Icmp6OutDestUnreachs")];
        let echoes = [v4("Icmp:", "OutEchoReps"), v6("Icmp6OutEchoReplies")];
        [v4("Tcp:", "OutRsts"), errors.into_iter().chain(echoes).sum()]
    }
}

/// What is not for a service is dropped: the VIPs are a node's addresses, but none of its servers has them.
fn nobody_else_answers(client: &Namespace) {
    for vip in VIPS {
        for port in [OTHER_PORT, OTHER_PORT + 1] {
            let attempt = || TcpStream::connect_timeout(&SocketAddr::new(vip, port), Duration::from_millis(100));
            let error = client.inside(attempt).err().map(|error| error.kind());
            assert_eq!(error, Some(io::ErrorKind::TimedOut), "port {port} of {vip}");
        }
        let words = client.run(&["ping", "-c", "3", "-i", "0.05", "-W", "5", &vip.to_string()]);
        assert!(words.contains(" 0% packet loss") && !words.contains("DUP"), "pointsman answers, alone: {words}");
    }
}

/// What the client has to do with both VIPs.
struct Traffic<'a> {
    client: &'a Namespace,
    /// Connections that stay.
    sessions: [Sessions; 2],
    /// Requests over new ones.
    loads: Vec<Load>,
}

impl<'a> Traffic<'a> {
    fn start(client: &'a Namespace) -> Self {
        let sessions = VIPS.map(|vip| Sessions::start(client, vip, SESSIONS));
        let loads = VIPS.map(|vip| Load::start(client, SocketAddr::new(vip, 80)));
        Self { client, sessions, loads: loads.into() }
    }

    fn goes_on(&self, when: &str) {
        self.sessions.iter().for_each(|sessions| sessions.go_on(when));
        self.loads.iter().for_each(|load| load.run(20));
    }

    /// Does something to the node that has the VIPs, so that the other one gets them, and holds that new connections
    /// fail for no longer than `limit`, and those that stay do not.
    fn moves(&self, what: &str, limit: Duration, [from, to]: [&mut Node<'_>; 2], act: impl FnOnce(&mut Node<'_>)) {
        assert!(from.has_vips() && !to.has_vips(), "before {what}: {}\n{}", from.words(), to.words());
        let probes = VIPS.map(|vip| Load::probe(self.client, SocketAddr::new(vip, 80)));
        probes.iter().for_each(|probe| probe.run(10));
        act(from);
        assert!(wait_until(SOON, || to.has_vips()), "after {what}: {}", to.words());
        probes.iter().for_each(|probe| probe.run(50));
        let outage = probes.map(|probe| probe.report().longest_silence()).into_iter().max().unwrap_or_default();
        println!("{what}: no new connection for {outage:?}");
        assert!(outage < limit + BUSY, "{what}: no new connection for {outage:?}");
        self.goes_on(what);
        nobody_else_answers(self.client);
    }

    /// None of them may have failed.
    fn end_requests(&mut self) {
        let reports: Vec<_> = self.loads.drain(..).map(Load::report).collect();
        let failures: Vec<_> = reports.iter().flat_map(|report| report.failures()).collect();
        let requests: usize = reports.iter().map(|report| report.count()).sum();
        println!("{} connections and {requests} requests: {} failed", 2 * SESSIONS, failures.len());
        assert!(failures.is_empty(), "{failures:?}");
    }
}
