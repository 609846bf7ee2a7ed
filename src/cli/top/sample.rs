//! Two readings → what happens in a second. A counter that fell, or came, has no rate yet: never a wrong one.

use std::time::{Duration, Instant};

use super::picture::{Drop, Endpoint, Endpoints, Picture, Service, Totals, Traffic, Worker};
use super::reading::{self, By, Reading, Stats};
use crate::cli::words::number;

/// Bits of a byte.
const BITS: f64 = 8.0;

/// Makes pictures of one reading after another.
#[derive(Debug)]
pub struct Sampler {
    /// The shortest time that a rate is told for.
    shortest: Duration,
    last: Option<Reading>,
    before_last: Option<Reading>,
    endpoints: Option<reading::Endpoints>,
}

impl Sampler {
    /// One for readings that come this often; those that come sooner are compared with an earlier one.
    pub fn new(interval: Duration) -> Self {
        Self { shortest: interval / 2, last: None, before_last: None, endpoints: None }
    }

    /// The picture of a reading, and whether its rates belong into a history of rates.
    pub fn take(&mut self, now: Reading) -> (Picture, bool) {
        let is_due = |earlier: &Reading| is_due(now.at, earlier.at, self.shortest);
        let is_step = self.last.as_ref().is_none_or(is_due);
        let earlier = if is_step { &self.last } else { &self.before_last };
        let endpoints = self.endpoints.as_ref();
        let picture = picture(earlier.as_ref(), endpoints, &now, self.shortest);
        let is_other = |new: &reading::Endpoints| endpoints.is_none_or(|old| old.service != new.service);
        if is_step || now.endpoints.as_ref().is_some_and(is_other) {
            self.endpoints.clone_from(&now.endpoints);
        }
        if is_step {
            self.before_last = self.last.replace(now);
        }
        (picture, is_step)
    }
}

fn is_due(now: Instant, earlier: Instant, shortest: Duration) -> bool {
    now.saturating_duration_since(earlier) >= shortest
}

fn picture(
    earlier: Option<&Reading>,
    endpoints: Option<&reading::Endpoints>,
    now: &Reading,
    shortest: Duration,
) -> Picture {
    let earlier = earlier.filter(|earlier| is_same_daemon(earlier, now));
    let pace = Pace::of(earlier, now);
    let known = endpoints.filter(|old| {
        earlier.is_some()
            && now.endpoints.as_ref().is_some_and(|new| new.service == old.service && is_due(new.at, old.at, shortest))
    });
    Picture {
        node: now.node.clone(),
        problems: now.problems.clone(),
        totals: totals(&pace),
        drops: drops(&pace),
        workers: workers(&pace, &now.node),
        services: now.services.iter().map(|service| of_service(&pace, service)).collect(),
        endpoints: now.endpoints.as_ref().map(|now| of_endpoints(known, now)),
    }
}

/// Whether both count from the same beginning.
fn is_same_daemon(earlier: &Reading, now: &Reading) -> bool {
    let uptime = |reading: &Reading| number(&reading.node["uptime"]);
    earlier.connection == now.connection && uptime(earlier) <= uptime(now)
}

/// How much more there is, in a second.
fn rate(earlier: Option<u64>, now: u64, seconds: f64) -> Option<f64> {
    let more = now.checked_sub(earlier?)?;
    (seconds > 0.0).then(|| more as f64 / seconds)
}

/// One counter of all.
type Counter = fn(&Stats) -> &By<u64>;

/// Counters then and now, and the time between.
struct Pace<'a> {
    then: Option<&'a Stats>,
    now: &'a Stats,
    seconds: f64,
}

impl<'a> Pace<'a> {
    fn of(earlier: Option<&'a Reading>, now: &'a Reading) -> Self {
        let seconds = earlier.map_or(0.0, |earlier| now.at.saturating_duration_since(earlier.at).as_secs_f64());
        Self { then: earlier.map(|earlier| &earlier.stats), now: &now.stats, seconds }
    }

    /// Of one value of a label.
    fn by(&self, label: &str, counter: impl Fn(&Stats) -> &By<u64>) -> Option<f64> {
        let then = self.then.and_then(|then| counter(then).get(label).copied());
        rate(then, *counter(self.now).get(label)?, self.seconds)
    }

    /// Of all together.
    fn sum(&self, counter: impl Fn(&Stats) -> &By<u64>) -> Option<f64> {
        let sum = |stats: &Stats| counter(stats).values().sum::<u64>();
        rate(self.then.map(sum), sum(self.now), self.seconds)
    }
}

fn totals(pace: &Pace<'_>) -> Totals {
    let traffic = |packets: Counter, bytes: Counter| Traffic {
        packets: pace.sum(packets),
        bits: pace.sum(bytes).map(|bytes| bytes * BITS),
    };
    Totals {
        received: traffic(|stats| &stats.received_packets, |stats| &stats.received_bytes),
        sent: traffic(|stats| &stats.sent_packets, |stats| &stats.sent_bytes),
        answered: traffic(|stats| &stats.answered_packets, |stats| &stats.answered_bytes),
        dropped: pace.sum(|stats| &stats.drops),
    }
}

/// By reason, then what the kernel dropped before a worker saw it.
fn drops(pace: &Pace<'_>) -> Vec<Drop> {
    let own = pace.now.drops.iter().map(|(reason, total)| Drop {
        reason: reason.clone(),
        total: *total,
        rate: pace.by(reason, |stats| &stats.drops),
    });
    let of_kernel: [(&str, Counter); 3] = [
        ("kernel: rx_dropped", |stats| &stats.rx_dropped),
        ("kernel: rx_ring_full", |stats| &stats.rx_ring_full),
        ("kernel: fill_ring_empty", |stats| &stats.rx_fill_ring_empty),
    ];
    let of_kernel = of_kernel.into_iter().map(|(reason, counter)| Drop {
        reason: reason.to_owned(),
        total: counter(pace.now).values().sum(),
        rate: pace.sum(counter),
    });
    own.chain(of_kernel).filter(|drop| drop.total > 0).collect()
}

fn workers(pace: &Pace<'_>, node: &serde_json::Value) -> Vec<Worker> {
    let known = node["workers"].as_array().into_iter().flatten();
    let worker = |worker: &serde_json::Value| {
        let label = worker["worker"].to_string();
        let latency = |quantile: &str| *pace.now.latency.get(&label)?.get(quantile)?;
        Worker {
            queue: worker["queue"].clone(),
            core: worker["core"].clone(),
            received: pace.by(&label, |stats| &stats.received_packets),
            sent: pace.by(&label, |stats| &stats.sent_packets),
            busy: pace.now.busy.get(&label).copied(),
            median: latency("0.5"),
            slow: latency("0.99"),
            slowest: latency("1"),
            number: number(&worker["worker"]),
        }
    };
    known.map(worker).collect()
}

fn of_service(pace: &Pace<'_>, service: &reading::Service) -> Service {
    let name = service.name.as_str();
    let gauge = |values: &By<u64>| values.get(name).copied().unwrap_or(0);
    Service {
        name: name.to_owned(),
        vip: service.vip.clone(),
        protocol: service.protocol.clone(),
        ports: service.ports.clone(),
        states: service.endpoints,
        packets: pace.by(name, |stats| &stats.service_packets),
        bits: pace.by(name, |stats| &stats.service_bytes).map(|bytes| bytes * BITS),
        new_flows: pace.by(name, |stats| &stats.service_new_flows),
        tracked: gauge(&pace.now.tracked_flows),
        is_handover_open: gauge(&pace.now.handover_open) > 0,
        remembering: service.handover.map_or(0, |handover| handover.slots),
    }
}

fn of_endpoints(earlier: Option<&reading::Endpoints>, now: &reading::Endpoints) -> Endpoints {
    let seconds = earlier.map_or(0.0, |earlier| now.at.saturating_duration_since(earlier.at).as_secs_f64());
    let weights: u64 =
        now.all.iter().filter(|endpoint| endpoint.state == "active").map(|endpoint| endpoint.weight).sum();
    let then: By<&reading::Endpoint> = earlier
        .into_iter()
        .flat_map(|earlier| &earlier.all)
        .map(|endpoint| (endpoint.name.clone(), endpoint))
        .collect();
    let endpoint = |endpoint: &reading::Endpoint| {
        let then = then.get(&endpoint.name);
        Endpoint {
            packets: rate(then.map(|then| then.packets), endpoint.packets, seconds),
            bits: rate(then.map(|then| then.bytes), endpoint.bytes, seconds).map(|bytes| bytes * BITS),
            weights: if endpoint.state == "active" { weights } else { 0 },
            is: endpoint.clone(),
        }
    };
    Endpoints { service: now.service.clone(), all: now.all.iter().map(endpoint).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::top::fixtures::reading;

    fn stats(packets: u64, drops: u64) -> serde_json::Value {
        json!({
            "pointsman_received_packets_total": { "0": packets },
            "pointsman_received_bytes_total": { "0": packets * 100 },
            "pointsman_service_packets_total": { "web": packets },
            "pointsman_drops_total": { "no_service": drops, "parse_error": 0 },
            "pointsman_xsk_rx_ring_full_total": { "0": 5, "1": 5 },
            "pointsman_latency_seconds": { "0": { "0.5": 1e-6, "0.99": null, "count": 3, "sum": 3e-6 } },
            "pointsman_worker_busy_ratio": { "0": 0.5 },
            "pointsman_of_a_later_version": { "0": {} },
        })
    }

    fn taken(sampler: &mut Sampler, begun: Instant, after: u64, connection: u64, packets: u64) -> (Picture, bool) {
        sampler.take(reading(begun, after, connection, stats(packets, packets / 10)))
    }

    #[test]
    fn two_readings_make_rates() {
        let (begun, mut sampler) = (Instant::now(), Sampler::new(Duration::from_secs(1)));
        let (first, is_step) = taken(&mut sampler, begun, 0, 1, 1_000);
        assert_eq!((first.totals, is_step), (Totals::default(), true), "nothing is known of the time before");
        let (second, _) = taken(&mut sampler, begun, 2_000, 1, 1_500);
        let received = Traffic { packets: Some(250.0), bits: Some(200_000.0) };
        assert_eq!((second.totals.received, second.totals.dropped), (received, Some(25.0)));
        assert_eq!((second.services[0].packets, second.workers[0].received), (Some(250.0), Some(250.0)));
        assert_eq!(
            (second.workers[0].median, second.workers[0].slow, second.workers[0].busy),
            (Some(1e-6), None, Some(0.5))
        );
        let reasons: Vec<_> = second.drops.iter().map(|drop| (drop.reason.as_str(), drop.total, drop.rate)).collect();
        let of_kernel = ("kernel: rx_ring_full", 10, Some(0.0));
        assert_eq!(reasons, [("no_service", 150, Some(25.0)), of_kernel], "none that never happened");
    }

    #[test]
    fn a_counter_that_fell_is_a_new_beginning() {
        let (begun, mut sampler) = (Instant::now(), Sampler::new(Duration::from_secs(1)));
        taken(&mut sampler, begun, 0, 1, 1_000);
        let (fallen, _) = taken(&mut sampler, begun, 1_000, 1, 10);
        assert_eq!((fallen.totals.received.packets, fallen.services[0].packets), (None, None));
        let (next, _) = taken(&mut sampler, begun, 2_000, 1, 40);
        assert_eq!(next.totals.received.packets, Some(30.0));
        let (other, _) = taken(&mut sampler, begun, 3_000, 2, 1_000_000);
        assert_eq!(other.totals, Totals::default(), "another daemon's counters may be larger, too");
        let mut again = reading(begun, 4_000, 2, stats(2_000_000, 0));
        again.node["uptime"] = json!(0);
        assert_eq!(sampler.take(again).0.totals.received.packets, None, "it has started anew");
    }

    #[test]
    fn a_reading_that_comes_too_soon_is_compared_with_one_before_and_no_step() {
        let (begun, mut sampler) = (Instant::now(), Sampler::new(Duration::from_secs(1)));
        taken(&mut sampler, begun, 0, 1, 0);
        taken(&mut sampler, begun, 1_000, 1, 100);
        let (soon, is_step) = taken(&mut sampler, begun, 1_001, 1, 150);
        assert!(!is_step && soon.totals.received.packets.is_some_and(|rate| rate < 151.0), "{:?}", soon.totals);
        let (next, is_step) = taken(&mut sampler, begun, 2_000, 1, 200);
        assert_eq!((next.totals.received.packets, is_step), (Some(100.0), true));
    }

    #[test]
    fn endpoints_have_rates_from_the_second_reading_of_their_service_on() {
        let (begun, mut sampler) = (Instant::now(), Sampler::new(Duration::from_secs(1)));
        let mut take = |after: u64, service: &str, packets: u64| {
            let mut now = reading(begun, after, 1, stats(0, 0));
            let endpoint = |name: &str, weight, state: &str| reading::Endpoint {
                name: name.to_owned(),
                state: state.to_owned(),
                weight,
                packets,
                ..Default::default()
            };
            let all = vec![endpoint("a", 3, "active"), endpoint("b", 1, "active"), endpoint("c", 9, "down")];
            now.endpoints = Some(reading::Endpoints { at: now.at, service: service.to_owned(), all });
            sampler.take(now).0.endpoints.expect("asked for").all
        };
        assert_eq!(take(0, "web", 100)[0].packets, None);
        let web = take(1_000, "web", 150);
        assert_eq!(web[0].packets, Some(50.0));
        assert_eq!(web.iter().map(Endpoint::due).collect::<Vec<_>>(), [0.75, 0.25, 0.0], "what is down gets none");
        assert_eq!(take(1_100, "dns", 7_000)[0].packets, None, "they are others");
        assert_eq!(take(2_100, "dns", 7_010)[0].packets, Some(10.0));
    }
}
