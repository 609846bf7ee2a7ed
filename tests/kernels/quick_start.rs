//! The README's "Run it", typed as it stands: with conf/minimal.toml and conf/set.json, and the pods' lines in a pod. Needs root.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use testkit::{SOON, Topology, project, skipped, wait_until};

/// What the machine that the README speaks of has and a namespace has not: the build, systemd, and directories of its own.
const MACHINE: &str = r#"
set -e
keep=$(mktemp -d); cp /etc/passwd /etc/group /etc/nsswitch.conf "$keep"
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /etc
cp "$keep"/* /etc; rm -r "$keep"
mount -t tmpfs tmpfs /run
sudo() { "$@"; }
make() { :; }
systemd-sysusers() { :; }
systemctl() {
    pointsman run --config /etc/pointsman/pointsman.toml &
    for _ in {1..600}; do pointsman status >/dev/null 2>&1 && return; sleep 0.05; done
    return 1
}
"#;

/// The lines of the block of code behind these words.
fn block(readme: &str, words: &str) -> String {
    let (_, rest) = readme.split_once(words).expect("the README has these words");
    let (_, rest) = rest.split_once("```sh\n").expect("a block of code follows");
    rest.split_once("```").expect("the block ends").0.to_owned()
}

#[test]
fn a_packet_gets_through_by_the_quick_start() {
    if skipped() {
        return;
    }
    let topology = Topology::new(1);
    let readme = fs::read_to_string(project::file("README.md")).expect("it is shipped");
    let pod = |number: u8, name: &str, endpoints: &[&str]| {
        let addresses =
            (Ipv4Addr::new(192, 0, 2, number), Ipv6Addr::new(0x2001, 0xdb8, 0x51b, 0, 0, 0, 0, number.into()));
        let pod = topology.add_neighbour(name, addresses);
        pod.add_addresses("eth0", &endpoints.iter().map(|end| format!("2001:db8:10::{end}/64")).collect::<Vec<_>>());
        pod
    };
    let pods = [pod(12, "web", &["a", "b"]), pod(13, "dns", &["53"])];
    topology.edge.run(&["ip", "route", "add", "2001:db8:10::/64", "dev", "eth0"]);

    let program = project::pointsman();
    let directory = program.parent().expect("it is in a directory").display().to_string();
    let path = format!("export PATH={directory}:$PATH\n");
    let server = project::file("demo/server.py").display().to_string();
    let lines = block(&readme, "In each pod");
    let mut servers = Vec::new();
    for (pod, line) in pods.iter().zip(lines.lines()) {
        pod.run(&["bash", "-ec", &format!("{path}{line}")]);
        servers.push(pod.spawn(&["python3", &server, "pod"]));
    }
    assert_eq!(lines.lines().count(), pods.len(), "a line for each pod");

    let typed = format!("{MACHINE}{path}{}\npointsman status --json\necho typed\nwait", block(&readme, "## Run it"));
    let edge = topology.edge.spawn(&["unshare", "--mount", "bash", "-c", &typed]);
    let is_typed = wait_until(2 * SOON, || edge.log().lines().any(|line| line == "typed") || edge.ended().is_some());
    assert!(is_typed && edge.ended().is_none(), "{}", edge.log());

    let ask =
        |url| topology.client.try_run(&["curl", "--silent", "--noproxy", "*", "--globoff", "--max-time", "2", url]);
    for url in ["http://203.0.113.10/", "http://[2001:db8:1::53]/"] {
        let answered = || String::from_utf8_lossy(&ask(url).stdout).starts_with("pod answers");
        assert!(wait_until(SOON + Duration::from_secs(5), answered), "{url}: {}", edge.log());
    }

    // What the pods announce leaves the room that the tunnels take.
    let log = edge.log();
    let status = log
        .split_once("\n{")
        .and_then(|(_, status)| status.split_once("\n}"))
        .map(|(status, _)| format!("{{{status}}}"));
    let status: serde_json::Value = serde_json::from_str(&status.expect("status says it")).expect("JSON");
    let routes = pods[0].run(&["ip", "route", "show", "table", "all"]);
    let web = &status["services"][1];
    assert_eq!(web["name"], "default/web");
    let mss = web["mss"].as_u64().expect("status says it");
    assert!(routes.contains(&format!("advmss {mss}")), "{mss}: {routes}");
    edge.kill_group();
}
