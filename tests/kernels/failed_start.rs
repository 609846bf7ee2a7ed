//! A start that fails leaves nothing that it made, and all that an earlier run left; and whose steering program is in the way
//! is said, with a remedy that works. Needs root.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::json;
use testkit::{Driver, Edge, Namespace, Topology, project, skipped};

/// Each with words of what is said.
const WRONG: [(&str, &str); 3] =
    [("cores = [99]", "no core 99"), ("queues = [7]", "no queue 7"), ("zero_copy = \"on\"", "zero")];

#[test]
fn a_start_that_fails_leaves_nothing() {
    if skipped() {
        return;
    }
    let topology = Topology::new(1);
    for driver in [Driver::XdpNative, Driver::XdpGeneric, Driver::Packet] {
        for (key, words) in WRONG {
            if matches!(driver, Driver::Packet) && key != "cores = [99]" {
                continue;
            }
            let mut edge = Edge::builder(&topology.edge, driver).interface(key).prepare();
            let said = edge.run_in_vain();
            assert!(said.contains(words), "{key}: {said}");
            assert_nothing_is_left(&topology.edge, &edge, key);
        }
    }
}

#[test]
fn a_start_that_fails_at_the_socket_leaves_nothing() {
    if skipped() {
        return;
    }
    let topology = Topology::new(1);
    let builder = Edge::builder(&topology.edge, Driver::XdpNative).control("group = \"nobody-has-this-group\"");
    let mut edge = builder.prepare();
    let said = edge.run_in_vain();
    assert!(said.contains("nobody-has-this-group"), "{said}");
    assert_nothing_is_left(&topology.edge, &edge, "group");

    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).interface("cores = [99]").prepare();
    let socket = edge.socket();
    let deeper = socket.replace("control.sock", "one/two/control.sock");
    edge.edit_config(&socket, &deeper);
    edge.run_in_vain();
    assert!(!Path::new(&socket.replace("control.sock", "one")).exists(), "the socket's directories are left");
}

#[test]
fn a_metrics_address_that_is_taken_leaves_nothing() {
    if skipped() {
        return;
    }
    let topology = Topology::new(1);
    let taken = topology.edge.inside(|| std::net::TcpListener::bind("127.0.0.1:9750")).expect("the port is free");
    let mut edge = Edge::builder(&topology.edge, Driver::XdpNative).prepare();
    let said = edge.run_in_vain();
    assert!(said.contains("127.0.0.1:9750 is in use"), "{said}");
    assert_nothing_is_left(&topology.edge, &edge, "metrics.listen");
    drop(taken);
}

#[track_caller]
fn assert_nothing_is_left(namespace: &Namespace, edge: &Edge<'_>, key: &str) {
    let link = namespace.run(&["ip", "link", "show", "eth0"]);
    assert!(!link.contains("xdp"), "{key}: {link}");
    assert_eq!(filters(namespace), "", "{key}");
    assert!(!edge.pins().exists(), "{key}: pins are left");
    assert!(!edge.pins().parent().expect("it is in a directory").exists(), "{key}: the directory for pins is left");
    assert!(!Path::new(&edge.socket()).exists(), "{key}: the socket is left");
    assert_eq!(namespace.run(&["ip", "route", "show", "proto", "112"]), "", "{key}");
}

fn filters(namespace: &Namespace) -> String {
    String::from_utf8_lossy(&namespace.try_run(&["tc", "filter", "show", "dev", "eth0", "ingress"]).stdout).into()
}

/// As after a crash: what dropped the VIPs' packets before drops them still.
#[test]
fn what_an_earlier_run_left_stays() {
    if skipped() {
        return;
    }
    let vip = "203.0.113.10".parse().expect("an address");
    let topology = Topology::with_endpoints(1, 1, &[vip]);
    for driver in [Driver::XdpNative, Driver::Packet] {
        let mut edge = Edge::start(&topology.edge, driver);
        edge.apply(json!([{ "name": "web", "vip": vip, "endpoints": topology.in_states(&["active"]) }]));
        edge.kill();
        let standing = |edge: &Edge<'_>| {
            let program = topology.edge.run(&["ip", "-d", "link", "show", "eth0"]);
            let program = program.lines().find(|line| line.contains("prog/xdp")).map(str::to_owned);
            (program.map(|line| line.contains("xdp")), filters(&topology.edge).is_empty(), names(&edge.pins()))
        };
        let before = standing(&edge);
        edge.edit_config("name = \"eth0\"", "name = \"eth0\"\ncores = [99]");
        edge.run_in_vain();
        assert_eq!(standing(&edge), before, "{driver:?}");
        edge.edit_config("cores = [99]", "");
        edge.run();
        assert!(edge.stop().success());
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

fn cleanup(namespace: &Namespace, config: &Path) -> (bool, String) {
    let program = project::pointsman();
    let words = [&program, Path::new("cleanup"), Path::new("--detach"), Path::new("--config"), config];
    let words: Vec<&str> = words.iter().map(|word| word.to_str().expect("text")).collect();
    let Output { status, stdout, stderr } = namespace.try_run(&words);
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn a_program_under_another_pin_is_known_and_the_remedy_works() {
    if skipped() {
        return;
    }
    let topology = Topology::new(1);
    for driver in [Driver::XdpNative, Driver::XdpGeneric] {
        let mut edge = Edge::start(&topology.edge, driver);
        let (pin, config) = (edge.pins(), Path::new(&edge.socket()).with_file_name("pointsman.toml"));
        let text = fs::read_to_string(&config).expect("the daemon has read it");
        let other = config.with_file_name("other.toml");
        let moved = text.replace("bpf/pointsman", "bpf/other").replace("control.sock", "other.sock");
        fs::write(&other, moved).expect("the directory is the test's own");
        let (ended_well, said) = cleanup(&topology.edge, &other);
        assert!(!ended_well && said.contains("held by process"), "a living daemon's program is left: {said}");

        edge.kill();
        edge.edit_config("bpf/pointsman", "bpf/other");
        let said = edge.run_in_vain();
        assert!(said.contains("pointsman's") && said.contains(&pin.join("link").display().to_string()), "{said}");
        assert!(said.contains("pointsman cleanup --config FILE --detach"), "{said}");
        assert!(pin.join("link").exists(), "the program of the other pin stays");

        let (ended_well, said) = cleanup(&topology.edge, &config);
        assert!(ended_well && said.contains("removed from eth0"), "{said}");
        assert!(!pin.exists(), "its pins are left");
        let (ended_well, said) = cleanup(&topology.edge, &config);
        assert!(ended_well && said.contains("has no steering program"), "{said}");
        edge.run();
        assert!(edge.stop().success());
    }
}
