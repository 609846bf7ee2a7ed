//! Several edge nodes that announce the same VIPs to a router by BGP: real BIRD at all of them, as shipped in
//! `conf/bird.conf.example`. Needs root, and BIRD.

mod prediction;
mod story;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use prediction::Broken;
use serde_json::json;
use story::{Disk, Event, STORY, Syncer};
use testkit::bird::Bird;
use testkit::ecmp::{DETECTION, Ecmp, Node, VIPS};
use testkit::{Asked, Load, SOON, Sessions, wait_until};

/// Connections to each VIP that stay open all the time.
const SESSIONS: usize = 1_000;
/// Connections to each VIP that begin at some moment of an update.
const LATE: usize = 60;
/// So many new connections, one after the other, do not all go to the other node by chance.
const IN_A_ROW: usize = 20;
/// What a machine that is busy with other tests may add to any time here.
const BUSY: Duration = Duration::from_secs(1);

#[test]
fn the_example_for_bird_is_valid() {
    if Bird::is_missing() {
        return;
    }
    let output = Command::new("bird").args(["-p", "-c", "conf/bird.conf.example"]).output().expect("it is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn traffic_leaves_a_node_that_drains_or_dies_and_no_connection_breaks() {
    if testkit::skipped() || Bird::is_missing() {
        return;
    }
    let ecmp = Ecmp::new(3);
    let [mut first, mut second] = ecmp.nodes();
    let endpoints: Vec<_> = ecmp.topology.endpoints.iter().map(testkit::Endpoint::over_ipv6).collect();
    let service = |name: &str, vip| json!({ "name": name, "vip": vip, "endpoints": endpoints });
    let set = json!([service("v4", VIPS[0]), service("v6", VIPS[1])]);
    [&first, &second].iter().for_each(|node| node.edge.apply(set.clone()));
    let tables = [&first, &second].map(|node| node.edge.json("status")["services"].clone());
    assert_eq!(tables[0], tables[1], "every node makes the same choice");
    ecmp.wait_for_ways(2);

    let servers = ecmp.topology.endpoints.iter().map(|endpoint| Asked::start(&endpoint.namespace, &endpoint.name));
    let _servers: Vec<Asked> = servers.collect();
    let client = &ecmp.topology.client;
    let sessions = VIPS.map(|vip| Sessions::start(client, vip, SESSIONS));
    for of_family in &sessions {
        assert_eq!(of_family.names().len(), 3, "every endpoint has some: {:?}", of_family.names());
    }
    let go_on = |when| sessions.iter().for_each(|of_family| of_family.go_on(when));
    let loads = VIPS.map(|vip| Load::start(client, SocketAddr::new(vip, 80)));
    let run = |count| loads.iter().for_each(|load| load.run(count));
    let (before_first, before_second) = (first.received(), second.received());
    run(50);
    go_on("while both nodes forward");
    assert!(first.received() > before_first && second.received() > before_second, "both nodes get traffic");

    first.edge.ask("drain");
    ecmp.wait_for_ways(1);
    go_on("after one node drained");
    let still = first.settled();
    run(100);
    go_on("while one node drains");
    assert_eq!(first.received(), still, "nothing comes to the drained node");

    first.edge.ask("resume");
    ecmp.wait_for_ways(2);
    go_on("after it has resumed");
    run(50);
    assert!(first.received() > still, "the node gets traffic again");

    let probes = VIPS.map(|vip| Load::probe(client, SocketAddr::new(vip, 80)));
    probes.iter().for_each(|probe| probe.run(10));
    let died = second.die();
    assert!(wait_until(SOON, || ecmp.ways() == [1, 1]), "the router takes the other way");
    let took = died.elapsed();
    go_on("after one node died");
    run(100);
    let said = ecmp.ask("show protocols all second4");
    assert!(said.contains("BFD"), "{said}");
    probes.iter().for_each(|probe| probe.run(2 * IN_A_ROW as u64));
    println!("the router took the other way {took:?} after the death");
    assert_failed_no_longer_than_bfd_takes(probes, died);

    // The set it had is on its disk.
    second.rise(None);
    ecmp.wait_for_ways(2);
    go_on("after the dead node has come back");
    let before = second.received();
    run(50);
    assert!(second.received() > before, "the node gets traffic again");
    first.edge.ask("drain");
    ecmp.wait_for_ways(1);
    go_on("at the node that was dead");

    let results: Vec<_> = loads.into_iter().flat_map(Load::finish).collect();
    let failed: Vec<_> = results.iter().filter(|result| result.is_err()).collect();
    assert!(failed.is_empty(), "{} of {} requests failed: {failed:?}", failed.len(), results.len());
    println!("{} connections and {} requests: none failed", sessions.len() * SESSIONS, results.len());
    drop(sessions);
    for node in [&first, &second] {
        node.edge.metrics().assert_balanced();
    }
    assert!(first.edge.stop().success());
}

/// Of these, those that go the way to the dead node fail until the router has found out. Without BFD that would take
/// BGP's hold time, four minutes.
fn assert_failed_no_longer_than_bfd_takes(probes: [Load; 2], died: Instant) {
    let reports = probes.map(Load::report);
    let failed: usize = reports.iter().map(|report| report.failures().len()).sum();
    let all: usize = reports.iter().map(|report| report.count()).sum();
    let outage = reports.iter().map(|report| report.failing_since(died, IN_A_ROW)).max().unwrap_or_default();
    println!("{failed} of {all} new connections failed, the last one {outage:?} after the death");
    assert!(failed > 0, "the node had no part of the new connections");
    assert!(outage < DETECTION + BUSY, "the last new connection failed {outage:?} after the death");
}

#[test]
fn connections_go_on_while_all_endpoints_are_replaced_and_nodes_die() {
    if testkit::skipped() || Bird::is_missing() {
        return;
    }
    let ecmp = Ecmp::new(2 * story::ENDPOINTS);
    let mut update = Update::start(&ecmp);
    for (event, predicted) in STORY.into_iter().zip(prediction::predict()) {
        update.happen(event);
        update.check(event, predicted);
    }
}

/// The story, as it happens to real nodes.
struct Update<'a> {
    /// Connections that begin before it.
    older: [Sessions; 2],
    /// Those that begin in the middle of it.
    late: Vec<Sessions>,
    ecmp: &'a Ecmp,
    syncer: Syncer<'a>,
    nodes: [Node<'a>; 2],
    _servers: Vec<Asked>,
}

impl<'a> Update<'a> {
    fn start(ecmp: &'a Ecmp) -> Self {
        let servers = ecmp.topology.endpoints.iter().map(|endpoint| Asked::start(&endpoint.namespace, &endpoint.name));
        let (servers, syncer, nodes) = (servers.collect(), Syncer::new(&ecmp.topology), ecmp.nodes());
        nodes.iter().for_each(|node| node.edge.apply(syncer.services()));
        ecmp.wait_for_ways(2);
        let older = VIPS.map(|vip| Sessions::start(&ecmp.topology.client, vip, SESSIONS));
        Self { ecmp, syncer, nodes, older, late: Vec::new(), _servers: servers }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Replace(number) => {
                self.syncer.replace(number);
                let alive = self.nodes.iter().filter(|node| node.lives());
                alive.for_each(|node| node.edge.apply(self.syncer.services()));
            }
            Event::Begin => self.late.extend(VIPS.map(|vip| Sessions::start(&self.ecmp.topology.client, vip, LATE))),
            Event::Die(number) => self.die(number),
            Event::Rise(number, disk) => {
                if let Disk::Lost = disk {
                    self.nodes[number].edge.lose_state();
                }
                self.nodes[number].rise(Some(self.syncer.services()));
                self.ecmp.wait_for_ways(2);
            }
            Event::Drain(number) => {
                self.nodes[number].edge.ask("drain");
                self.ecmp.wait_for_ways(1);
            }
        }
    }

    /// New connections are not to fail for longer than BFD takes.
    fn die(&mut self, number: usize) {
        let probes = VIPS.map(|vip| Load::probe(&self.ecmp.topology.client, SocketAddr::new(vip, 80)));
        probes.iter().for_each(|probe| probe.run(10));
        let died = self.nodes[number].die();
        self.ecmp.wait_for_ways(1);
        probes.iter().for_each(|probe| probe.run(2 * IN_A_ROW as u64));
        assert_failed_no_longer_than_bfd_takes(probes, died);
    }

    /// Counts what has broken until now.
    fn check(&self, event: Event, predicted: Broken) {
        let when = format!("{event:?}");
        let older: usize = self.older.iter().map(|sessions| sessions.broken(&when)).sum();
        let late: usize = self.late.iter().map(|sessions| sessions.broken(&when)).sum();
        let (of_older, of_late) = (2 * SESSIONS, self.late.len() * LATE);
        let expected = predicted.late * of_late as f64;
        // Four times the standard deviation of so many throws of a coin that falls so.
        let most = expected + 4.0 * (expected * (1.0 - predicted.late)).sqrt();
        println!("{when}: broken {older} of {of_older} older connections, predicted {:.0};", predicted.older);
        println!("    {late} of {of_late} that began in the middle of it, predicted {expected:.0}, {most:.0} at most");
        assert_eq!((older, predicted.older), (0, 0.0), "older connections are broken: {when}");
        assert!(late as f64 <= most, "{late} of {of_late} connections are broken, more than {most:.0}: {when}");
    }
}
