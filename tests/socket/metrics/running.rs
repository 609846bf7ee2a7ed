//! A running daemon under traffic, scraped by hand and by a real Prometheus. Needs root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use pointsman::stats::{Kind, METRICS};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use serde_json::{Value, json};

use super::prometheus::{self, Prometheus, promtool, shipped};
use testkit::{self, Driver, Edge, Load, SOON, Topology, wait_until};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

/// The VIP of a service without an endpoint.
const EMPTY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 40));

fn topology() -> Topology {
    Topology::with_endpoints(2, 2, &[VIP])
}

fn services(topology: &Topology, names: &[&str]) -> Value {
    let endpoints = topology.endpoints.iter().zip(names);
    let endpoints: Vec<Value> =
        endpoints.map(|(endpoint, name)| json!({ "name": name, "address": endpoint.addresses.1 })).collect();
    json!([
        { "name": "web", "vip": VIP, "endpoints": endpoints, "echo": "reply" },
        { "name": "empty", "vip": EMPTY, "endpoints": [] },
    ])
}

fn scrape(edge: &Topology) -> String {
    edge.edge.run(&["curl", "--silent", "--show-error", "--fail", "http://127.0.0.1:9750/metrics"])
}

/// Every sample of a page, by what stands before its value.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name, value.parse().expect("a number")))
        .collect()
}

/// What `stats` says, as the page names it.
fn flattened(stats: &Value) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for metric in METRICS {
        flatten(metric.name, metric.labels, &mut Vec::new(), &stats[metric.name], metric.kind, &mut samples);
    }
    samples
}

fn flatten(
    name: &str,
    labels: &[&str],
    pairs: &mut Vec<String>,
    value: &Value,
    kind: Kind,
    into: &mut BTreeMap<String, f64>,
) {
    if let Some((label, labels)) = labels.split_first() {
        for (text, value) in value.as_object().into_iter().flatten() {
            pairs.push(format!("{label}=\"{text}\""));
            flatten(name, labels, pairs, value, kind, into);
            pairs.pop();
        }
        return;
    }
    let sample = |suffix: &str, pairs: &[String]| match pairs.join(",") {
        none if none.is_empty() => format!("{name}{suffix}"),
        pairs => format!("{name}{suffix}{{{pairs}}}"),
    };
    for (member, value) in value.as_object().into_iter().flatten() {
        let (suffix, more) = match member.as_str() {
            "sum" | "count" => (format!("_{member}"), None),
            quantile => (String::new(), Some(format!("quantile=\"{quantile}\""))),
        };
        let pairs: Vec<String> = pairs.iter().cloned().chain(more).collect();
        into.insert(sample(&suffix, &pairs), value.as_f64().unwrap_or(f64::NAN));
    }
    if kind != Kind::Summary {
        into.insert(sample("", pairs), value.as_f64().expect("a number"));
    }
}

/// Metrics that only grow by what a healthy kernel does not do, or a test cannot make it do.
const KERNEL_FAULTS: [&str; 4] = [
    "pointsman_xsk_rx_dropped_total",
    "pointsman_xsk_rx_fill_ring_empty_total",
    "pointsman_xsk_rx_invalid_total",
    "pointsman_xsk_tx_invalid_total",
];

#[test]
fn a_running_daemon_shows_everything() {
    if testkit::skipped() || prometheus::is_missing() {
        return;
    }
    let topology = topology();
    let edge = Edge::start(&topology.edge, Driver::XdpGeneric);
    edge.apply(services(&topology, &["a", "b"]));
    // Clients that ask for nothing whole disturb nobody, neither here nor at the control socket.
    let idle: Vec<TcpStream> = topology.edge.inside(|| {
        let mut idle: Vec<TcpStream> =
            (0..100).map(|_| TcpStream::connect("127.0.0.1:9750").expect("it listens")).collect();
        idle.iter_mut().for_each(|stream| _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n"));
        idle
    });
    let moved = move_everything(&topology, &edge);
    let page = scrape(&topology);
    promtool(&["check", "metrics"], &page).unwrap_or_else(|fault| panic!("promtool: {fault}\n{page}"));

    let (mut page, mut stats) = (BTreeMap::new(), BTreeMap::new());
    // Nothing moves any more but times, and those not for long.
    let same = wait_until(SOON, || {
        stats = flattened(&edge.json("stats"));
        page = samples(&scrape(&topology)).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let busy = |name: &str| name.starts_with("pointsman_worker_busy_ratio");
        let of = |samples: &BTreeMap<String, f64>| -> Vec<String> {
            samples.iter().filter(|(name, _)| !busy(name)).map(|(name, value)| format!("{name} {value}")).collect()
        };
        of(&page) == of(&stats)
    });
    assert!(same, "the page has {page:#?}\nstats has {stats:#?}");
    let unmoved: Vec<&str> = METRICS.iter().map(|metric| metric.name).filter(|name| !moved.contains(*name)).collect();
    assert_eq!(unmoved, KERNEL_FAULTS, "not moved in a run of the daemon");
    drop(idle);
}

/// Has the daemon do everything that it can be seen to do; answers the metrics that were above 0 at some time.
fn move_everything(topology: &Topology, edge: &Edge<'_>) -> BTreeSet<String> {
    let mut moved = BTreeSet::new();
    let mut look = || {
        for (name, value) in flattened(&edge.json("stats")) {
            if value > 0.0 {
                let name = name.split('{').next().unwrap_or_default();
                moved.insert(name.trim_end_matches("_count").trim_end_matches("_sum").to_owned());
            }
        }
    };
    let load = Load::start(&topology.client, SocketAddr::new(VIP, 80));
    load.run(20);
    topology.client.run(&["ping", "-c", "2", "-i", "0.05", "-W", "2", &VIP.to_string()]);
    // Without DF, so that they must be cut; to a port where nobody listens, and to nobody.
    topology.client.inside(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT).expect("a socket option");
        (0..10).for_each(|_| _ = socket.send_to(&[0; 1_470], (VIP, 9)));
        _ = socket.send_to(&[0; 64], (EMPTY, 9));
    });
    look();
    // Every flow that goes on is older than this change; and `b` goes.
    edge.apply(services(topology, &["a", "c"]));
    load.run(20);
    look();
    drop(load);
    // More than the RX ring holds.
    edge.frozen(|| {
        topology.client.inside(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
            (0..4_000).for_each(|_| _ = socket.send_to(&[0; 64], (VIP, 9)));
        });
    });
    let full = || edge.metrics().sum("pointsman_xsk_rx_ring_full_total") > 0;
    assert!(wait_until(SOON, full), "4,000 frames fit into a ring of 2,048");
    // What workers have measured is gathered once a second.
    let timed = |(name, value): (String, f64)| name.starts_with("pointsman_latency_seconds_count") && value > 0.0;
    assert!(wait_until(SOON, || flattened(&edge.json("stats")).into_iter().any(timed)), "nothing was timed");
    look();
    moved
}

/// Said before anything of the interface is touched.
#[test]
fn a_daemon_whose_port_is_taken_says_so() {
    if testkit::skipped() {
        return;
    }
    let namespace = testkit::Namespace::new("taken");
    let other = namespace.inside(|| std::net::TcpListener::bind("127.0.0.1:9750")).expect("a new namespace");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let config = directory.path().join("pointsman.toml");
    let text = format!(
        "[interface]\nname = \"lo\"\n[control]\nsocket = \"{}/s\"\ngroup = \"root\"\n",
        directory.path().display()
    );
    fs::write(&config, text).expect("the directory is the test's own");
    let words = [env!("CARGO_BIN_EXE_pointsman"), "run", "--config", config.to_str().expect("text")];
    let output = namespace.try_run(&words);
    let expected = "metrics.listen: 127.0.0.1:9750 is in use by another program; stop it, or choose another port";
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(expected), "{said}");
    drop(other);
}

#[test]
fn rules_are_valid_and_fire_when_they_should() {
    if prometheus::is_missing() {
        return;
    }
    let rules = shipped("prometheus-rules.yml");
    promtool(&["check", "rules", &rules], "").unwrap_or_else(|fault| panic!("{fault}"));
    let tests = include_str!("prometheus-rules-test.yml");
    for alert in alerts() {
        assert_eq!(tests.matches(&format!("alertname: {alert} ")).count(), 1, "{alert} is shown to be quiet");
        assert_eq!(tests.matches(&format!("alertname: {alert}\n")).count(), 1, "{alert} is shown to fire");
    }
    let file = tempfile::NamedTempFile::with_suffix(".yml").expect("a temporary file can be made");
    fs::write(file.path(), tests.replace("RULES", &rules)).expect("the file was just made");
    promtool(&["test", "rules", &file.path().display().to_string()], "").unwrap_or_else(|fault| panic!("{fault}"));
}

fn alerts() -> Vec<String> {
    let rules = fs::read_to_string(shipped("prometheus-rules.yml")).expect("it is shipped");
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(!names.is_empty());
    names
}

#[test]
fn every_query_of_dashboard_and_alerts_finds_something() {
    if testkit::skipped() || prometheus::is_missing() {
        return;
    }
    let topology = topology();
    let edge = Edge::start(&topology.edge, Driver::XdpGeneric);
    edge.apply(services(&topology, &["a", "b"]));
    let _load = Load::start(&topology.client, SocketAddr::new(VIP, 80));
    let prometheus = Prometheus::start(&topology.edge);
    let rules = prometheus.get(&[], "rules").expect("rules are loaded");
    let rules: Vec<Value> = rules["groups"][0]["rules"].as_array().expect("a list").clone();
    assert_eq!(rules.len(), alerts().len());
    let conditions = rules.iter().map(|rule| {
        let query = rule["query"].as_str().expect("a query");
        // What the threshold is held against must be there, or the alert could never fire.
        query
            .rsplit_once([' ', '='])
            .map(|(rest, _)| rest.trim_end_matches(['>', '=', ' ']))
            .expect("a threshold")
            .to_owned()
    });
    let panels = panel_queries();
    assert!(panels.len() >= 20, "{panels:?}");
    for query in panels.into_iter().chain(conditions) {
        let mut found = Ok(Vec::new());
        let came = wait_until(SOON, || {
            found = prometheus.query(&query);
            found.as_ref().is_ok_and(|series| series.iter().any(is_number)) || found.is_err()
        });
        assert!(came && found.is_ok(), "{query}\nfinds {found:?}");
    }
    let healthy = wait_until(SOON, || {
        let rules = prometheus.get(&[], "rules").unwrap_or_default();
        rules["groups"][0]["rules"].as_array().is_some_and(|rules| rules.iter().all(|rule| rule["health"] == "ok"))
    });
    assert!(healthy, "{:?}", prometheus.get(&[], "rules"));
}

fn is_number(series: &Value) -> bool {
    series["value"][1].as_str().and_then(|value| value.parse::<f64>().ok()).is_some_and(f64::is_finite)
}

/// The queries of all panels, with the dashboard's variables filled in as Grafana does.
fn panel_queries() -> Vec<String> {
    let text = fs::read_to_string(shipped("grafana-dashboard.json")).expect("it is shipped");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("a list").clone());
    let queries = targets.map(|target| target["expr"].as_str().expect("a query").to_owned());
    let filled = queries.map(|query| query.replace("$instance", ".*").replace("$__rate_interval", "5s"));
    let filled: Vec<String> = filled.collect();
    assert!(filled.iter().all(|query| !query.contains('$')), "a variable that nobody fills in: {filled:?}");
    filled
}

#[test]
fn the_dashboard_shows_every_metric() {
    let queries = panel_queries().join("\n");
    let unseen: Vec<&str> = METRICS.iter().map(|metric| metric.name).filter(|name| !queries.contains(name)).collect();
    assert!(unseen.is_empty(), "no panel shows {unseen:?}");
}
