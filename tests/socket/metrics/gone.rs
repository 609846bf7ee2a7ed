//! Counters never fall, and there are not more and more of them, however often endpoints come and go.

use std::sync::atomic::{AtomicBool, Ordering};

use pointsman::stats::{METRICS, Report};
use serde_json::json;

use super::memory_node::MemoryNode;

/// A SYN from a port to 203.0.113.1:80.
fn syn(port: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 7, 203, 0, 113, 1]);
    pointsman::wire::ipv4::set_checksum(&mut frame[14..]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

fn set(services: &[(&str, u8, u32)]) -> String {
    let service = |(name, vip, endpoint): &(&str, u8, u32)| {
        json!({ "name": name, "vip": format!("203.0.113.{vip}"),
            "endpoints": [{ "name": format!("e{endpoint}"), "address": format!("2001:db8:10::{endpoint:x}") }] })
    };
    json!({ "services": services.iter().map(service).collect::<Vec<_>>() }).to_string()
}

fn by_endpoint(report: &Report) -> u64 {
    report.pointsman_endpoint_packets_total.values().flat_map(|of| of.values()).sum()
}

fn series(report: &Report) -> usize {
    METRICS.iter().map(|metric| (metric.samples)(report).len()).sum()
}

#[test]
fn sums_never_fall_while_endpoints_come_and_go() {
    let mut node = MemoryNode::new();
    let (mut sent, mut most) = (0, 0);
    for round in 1..=100u16 {
        node.apply(&set(&[("web", 1, round.into())]));
        let before = node.counters.report();
        assert_eq!(
            (by_endpoint(&before), before.pointsman_service_packets_total["web"]),
            (sent, sent),
            "round {round}"
        );
        node.forward(&(0..10).map(|i| syn(round * 100 + i)).collect::<Vec<_>>());
        sent += 10;
        let report = node.counters.report();
        assert_eq!((by_endpoint(&report), report.pointsman_service_packets_total["web"]), (sent, sent));
        assert_eq!(report.pointsman_service_new_flows_total["web"], sent, "each was a SYN");
        assert_eq!(report.pointsman_endpoint_packets_total["web"][&format!("e{round}")], 10);
        if round == 2 {
            most = series(&report);
        }
        assert!(round < 3 || series(&report) <= most, "round {round}: more and more series");
    }
}

#[test]
fn services_that_go_leave_one_row_together() {
    let mut node = MemoryNode::new();
    let mut most = 0;
    for round in 0..40u64 {
        let name = format!("service-{round}");
        // In between: a service that takes another's place at once goes on with its counts.
        node.apply(&set(&[("stays", 2, 1)]));
        node.apply(&set(&[("stays", 2, 1), (&name, 1, 7)]));
        node.forward(&[syn(1), syn(2)]);
        let report = node.counters.report();
        let sum: u64 = report.pointsman_service_packets_total.values().sum();
        assert_eq!((sum, by_endpoint(&report)), (2 * (round + 1), 2 * (round + 1)), "round {round}");
        assert_eq!(report.pointsman_service_packets_total[&name], 2);
        if round == 2 {
            most = series(&report);
        }
        assert!(round < 3 || series(&report) <= most, "round {round}: more and more series");
    }
}

/// The metrics' thread reads whenever it likes, also while numbers of what has gone are given out again.
#[test]
fn no_reading_ever_shows_less_than_the_one_before() {
    let mut node = MemoryNode::new();
    node.apply(&set(&[("web", 1, 1)]));
    let (counters, stop) = (node.counters.clone(), AtomicBool::new(false));
    let readings = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, mut readings) = (0, 0u64);
            while !stop.load(Ordering::Relaxed) {
                let sum = by_endpoint(&counters.report());
                assert!(sum >= last, "{sum} after {last}");
                (last, readings) = (sum, readings + 1);
            }
            readings
        });
        for round in 0..2_000u32 {
            node.apply(&set(&[("web", 1, round % 5 + 1), ("other", 2, round % 3 + 1)]));
            node.forward(&[syn(1), syn(2), syn(3)]);
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().expect("no sum fell")
    });
    assert!(readings > 10, "only {readings} readings");
    assert_eq!(by_endpoint(&node.counters.report()), 6_000);
}
