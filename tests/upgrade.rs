//! A daemon hands over to another process, many times in a row, under load: no packet is lost, none comes twice, and none out
//! of its flow's order. Needs root.

mod netns;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netns::{Driver, Edge, Stream, Topology};
use serde_json::{Value, json};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// Flows of the stream, over all queues.
const FLOWS: u32 = 16;
const PAUSE: Duration = Duration::from_millis(4);

#[test]
fn no_packet_is_lost_af_xdp_native() {
    no_packet_is_lost(Driver::XdpNative, 25);
}

#[test]
fn no_packet_is_lost_af_xdp_generic() {
    no_packet_is_lost(Driver::XdpGeneric, 25);
}

#[test]
fn no_packet_is_lost_af_packet() {
    no_packet_is_lost(Driver::Packet, 10);
}

fn no_packet_is_lost(driver: Driver, upgrades: usize) {
    if netns::skipped() {
        return;
    }
    let topology = endpoints(2, 2);
    let mut edge = Edge::start(&topology.edge, driver);
    edge.apply(set(&topology));
    let stream = start(&topology);
    stream.run(50);
    let (mut pauses, mut received) = (Vec::new(), 0);
    for _ in 0..upgrades {
        let answer = edge.upgrade();
        pauses.push(answer["longest_pause"].as_f64().expect("a number") * 1e3);
        let metrics = edge.metrics();
        metrics.assert_balanced();
        let now = metrics.sum("pointsman_received_packets_total");
        assert!(now >= received, "{now} packets were received after {received}");
        received = now;
        stream.run(10);
    }
    let (sent, heard) = stream.finish();
    pauses.sort_by(f64::total_cmp);
    println!(
        "{driver:?}: {upgrades} upgrades, {sent} packets sent, {} came; pauses of a worker: median {:.2} ms, longest {:.2} ms; longest silence {:?}",
        heard.count,
        pauses[pauses.len() / 2],
        pauses[pauses.len() - 1],
        heard.silence
    );
    assert_eq!((heard.count, heard.lost, heard.late), (sent, 0, 0), "{}", edge.json("stats"));
    let metrics = edge.metrics();
    metrics.assert_balanced();
    assert!(metrics.sum("pointsman_service_packets_total") >= sent, "counters go on");
    assert!(edge.stop().success());
}

fn start(topology: &Topology) -> Stream {
    let endpoints: Vec<_> = topology.endpoints.iter().map(|endpoint| &endpoint.namespace).collect();
    Stream::start(&topology.client, VIP, &endpoints, FLOWS, PAUSE)
}

fn endpoints(queues: u32, count: usize) -> Topology {
    let mut topology = Topology::new(queues);
    (0..count).for_each(|_| topology.add_endpoint(&[VIP]));
    topology
}

fn set(topology: &Topology) -> Value {
    let endpoints: Vec<Value> = topology.endpoints.iter().map(|endpoint| endpoint.over_ipv6()).collect();
    json!([{ "name": "web", "vip": VIP, "endpoints": endpoints }])
}
