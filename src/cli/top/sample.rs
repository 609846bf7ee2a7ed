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
    let traffic = |packets: fn(&Stats) -> &By<u64>, bytes: fn(&Stats) -> &By<u64>| Traffic {
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
    let of_kernel: [(&str, fn(&Stats) -> &By<u64>); 3] = [
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
