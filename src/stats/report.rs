//! The counters as one object: the metrics' own names, nested by their labels.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::cells::Count;
use super::tally::{Tally, Traffic};
use super::timing::{Measured, QUANTILES, Summary};
use crate::forward::verdict::DropReason;
use crate::io::KernelStatistics;

/// By the value of a label.
pub type By<T> = BTreeMap<String, T>;

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Quantiles, sum and count.
    Summary,
}

/// One metric.
#[derive(Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it counts, in a sentence.
    pub help: &'static str,
    /// What it is to Prometheus.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its values in a report.
    pub samples: fn(&Report) -> Samples<'_>,
}

/// The values of one metric, by its labels.
pub type Samples<'a> = Vec<(Vec<&'a str>, Value)>;

/// One value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A counter's, or a gauge's.
    Number(f64),
    /// A summary's.
    Summary(Summary),
}

/// Something whose values have labels.
trait Labelled {
    fn samples<'a>(&'a self, labels: &[&'a str], into: &mut Samples<'a>);
}

impl Labelled for u64 {
    fn samples<'a>(&'a self, labels: &[&'a str], into: &mut Samples<'a>) {
        into.push((labels.to_vec(), Value::Number(*self as f64)));
    }
}

impl Labelled for f64 {
    fn samples<'a>(&'a self, labels: &[&'a str], into: &mut Samples<'a>) {
        into.push((labels.to_vec(), Value::Number(*self)));
    }
}

impl Labelled for Summary {
    fn samples<'a>(&'a self, labels: &[&'a str], into: &mut Samples<'a>) {
        into.push((labels.to_vec(), Value::Summary(*self)));
    }
}

impl<T: Labelled> Labelled for By<T> {
    fn samples<'a>(&'a self, labels: &[&'a str], into: &mut Samples<'a>) {
        for (label, value) in self {
            value.samples(&[labels, &[label]].concat(), into);
        }
    }
}

/// A member for each quantile, and `sum` and `count`.
impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(QUANTILES.len() + 2))?;
        for (i, quantile) in QUANTILES.iter().enumerate() {
            map.serialize_entry(&quantile.to_string(), &self.quantiles.map(|values| values[i]))?;
        }
        map.serialize_entry("sum", &self.sum)?;
        map.serialize_entry("count", &self.count)?;
        map.end()
    }
}

macro_rules! report {
    ($(#[doc = $help:literal] $kind:ident $name:ident: $type:ty [$($label:literal),*],)+) => {
        /// Every counter of section 8 of the contract.
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        pub struct Report { $(#[doc = $help] pub $name: $type,)+ }

        /// Every metric there is, in the order in which they are told.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: stringify!($name),
            help: $help.trim_ascii(),
            kind: Kind::$kind,
            labels: &[$($label),*],
            samples: |report| {
                let mut samples = Vec::new();
                report.$name.samples(&[], &mut samples);
                samples
            },
        },)+];
    };
}

report! {
    /// Frames taken in.
    Counter pointsman_received_packets_total: By<u64> ["worker"],
    /// Bytes of frames taken in.
    Counter pointsman_received_bytes_total: By<u64> ["worker"],
    /// Packets sent to endpoints; one that was cut into parts counts once.
    Counter pointsman_sent_packets_total: By<u64> ["worker"],
    /// Bytes of frames sent to endpoints, outer headers included.
    Counter pointsman_sent_bytes_total: By<u64> ["worker"],
    /// Packets answered by the node itself.
    Counter pointsman_answered_packets_total: By<u64> ["worker"],
    /// Bytes of frames that were such answers.
    Counter pointsman_answered_bytes_total: By<u64> ["worker"],
    /// Frames sent beyond one a packet, where packets had to be cut into parts.
    Counter pointsman_fragments_made_total: By<u64> ["worker"],
    /// Packets dropped; received = sent + answered + all of these.
    Counter pointsman_drops_total: By<u64> ["reason"],
    /// Packets sent to a service's endpoints; (gone): to those of services that have gone.
    Counter pointsman_service_packets_total: By<u64> ["service"],
    /// Bytes of frames sent to a service's endpoints, outer headers included.
    Counter pointsman_service_bytes_total: By<u64> ["service"],
    /// Packets sent that open a flow: TCP SYNs and QUIC Initials.
    Counter pointsman_service_new_flows_total: By<u64> ["service"],
    /// Packets sent to an endpoint; (gone): to those that have gone.
    Counter pointsman_endpoint_packets_total: By<By<u64>> ["service", "endpoint"],
    /// Bytes of frames sent to an endpoint, outer headers included.
    Counter pointsman_endpoint_bytes_total: By<By<u64>> ["service", "endpoint"],
    /// Flows that keep their endpoint through a change of endpoints.
    Gauge pointsman_tracked_flows: By<u64> ["service"],
    /// 1 while some slot of the service remembers the endpoint it had.
    Gauge pointsman_handover_open: By<u64> ["service"],
    /// Always 1; nodes with the same fingerprint have the same tables and hash seed, and so make the same choices.
    Gauge pointsman_table_info: By<By<u64>> ["service", "fingerprint"],
    /// The number of the newest snapshot.
    Gauge pointsman_generation: u64 [],
    /// Frames that the kernel dropped for other reasons than those below, such as one larger than a chunk.
    Counter pointsman_xsk_rx_dropped_total: By<u64> ["queue"],
    /// Frames that the kernel dropped because the RX ring, or the socket's receive buffer, was full.
    Counter pointsman_xsk_rx_ring_full_total: By<u64> ["queue"],
    /// Frames that the kernel dropped because the fill ring was empty.
    Counter pointsman_xsk_rx_fill_ring_empty_total: By<u64> ["queue"],
    /// Fill descriptors that the kernel refused.
    Counter pointsman_xsk_rx_invalid_total: By<u64> ["queue"],
    /// TX descriptors that the kernel refused.
    Counter pointsman_xsk_tx_invalid_total: By<u64> ["queue"],
    /// Times the kernel found the TX ring empty.
    Counter pointsman_xsk_tx_ring_empty_total: By<u64> ["queue"],
    /// Time of a packet from the RX ring to the TX ring; quantiles of the last minute.
    Summary pointsman_latency_seconds: By<Summary> ["worker"],
    /// Time between two looks into the RX ring, of which the second found frames; quantiles of the last minute.
    Summary pointsman_poll_gap_seconds: By<Summary> ["worker"],
    /// Packets of a batch; quantiles of the last minute.
    Summary pointsman_batch_packets: By<Summary> ["worker"],
    /// The part of the last minute, 0 to 1, in which the worker had frames in hand.
    Gauge pointsman_worker_busy_ratio: By<f64> ["worker"],
}

impl Report {
    /// Adds one worker's totals. Every drop reason is there, also those that never happened.
    pub fn add_worker(&mut self, worker: usize, tally: &Tally) {
        let worker = worker.to_string();
        let put = |packets: &mut By<u64>, bytes: &mut By<u64>, traffic: Traffic| {
            packets.insert(worker.clone(), traffic.packets);
            bytes.insert(worker.clone(), traffic.bytes);
        };
        put(&mut self.pointsman_received_packets_total, &mut self.pointsman_received_bytes_total, tally.received);
        put(&mut self.pointsman_sent_packets_total, &mut self.pointsman_sent_bytes_total, tally.sent);
        put(&mut self.pointsman_answered_packets_total, &mut self.pointsman_answered_bytes_total, tally.answered);
        self.pointsman_fragments_made_total.insert(worker.clone(), tally.parts);
        for (reason, count) in DropReason::ALL.iter().zip(tally.drops) {
            *self.pointsman_drops_total.entry(reason.name().to_owned()).or_default() += count;
        }
    }

    /// Adds what the kernel says of one queue's socket.
    pub fn add_kernel(&mut self, queue: u32, kernel: &KernelStatistics) {
        for (by_queue, value) in [
            (&mut self.pointsman_xsk_rx_dropped_total, kernel.rx_dropped),
            (&mut self.pointsman_xsk_rx_ring_full_total, kernel.rx_ring_full),
            (&mut self.pointsman_xsk_rx_fill_ring_empty_total, kernel.rx_fill_ring_empty),
            (&mut self.pointsman_xsk_rx_invalid_total, kernel.rx_invalid),
            (&mut self.pointsman_xsk_tx_invalid_total, kernel.tx_invalid),
            (&mut self.pointsman_xsk_tx_ring_empty_total, kernel.tx_ring_empty),
        ] {
            by_queue.insert(queue.to_string(), value);
        }
    }

    /// Adds what one worker has measured.
    pub fn add_timing(&mut self, worker: usize, measured: &Measured) {
        let worker = worker.to_string();
        for (by_worker, summary) in [
            (&mut self.pointsman_latency_seconds, measured.latency),
            (&mut self.pointsman_poll_gap_seconds, measured.gaps),
            (&mut self.pointsman_batch_packets, measured.batches),
        ] {
            by_worker.insert(worker.clone(), summary);
        }
        self.pointsman_worker_busy_ratio.insert(worker, measured.busy_ratio);
    }

    /// Adds what one service was sent.
    pub fn add_service(&mut self, service: &str, count: Count) {
        for (by_service, value) in [
            (&mut self.pointsman_service_packets_total, count.traffic.packets),
            (&mut self.pointsman_service_bytes_total, count.traffic.bytes),
            (&mut self.pointsman_service_new_flows_total, count.new_flows),
        ] {
            *by_service.entry(service.to_owned()).or_default() += value;
        }
    }

    /// Adds the fingerprint of a service's table.
    pub fn add_table(&mut self, service: &str, fingerprint: &str) {
        let table = By::from([(fingerprint.to_owned(), 1)]);
        self.pointsman_table_info.insert(service.to_owned(), table);
    }

    /// Adds how many flows of a service are tracked, and whether its slots remember anything.
    pub fn add_handover(&mut self, service: &str, tracked_flows: u64, is_open: bool) {
        self.pointsman_tracked_flows.insert(service.to_owned(), tracked_flows);
        self.pointsman_handover_open.insert(service.to_owned(), is_open.into());
    }

    /// Adds what one endpoint was sent.
    pub fn add_endpoint(&mut self, service: &str, endpoint: &str, count: Count) {
        for (by_service, value) in [
            (&mut self.pointsman_endpoint_packets_total, count.traffic.packets),
            (&mut self.pointsman_endpoint_bytes_total, count.traffic.bytes),
        ] {
            *by_service.entry(service.to_owned()).or_default().entry(endpoint.to_owned()).or_default() += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_a_metric_with_all_its_labels() {
        let mut report = Report::default();
        report.add_worker(0, &Tally::default());
        report.add_kernel(0, &KernelStatistics::default());
        report.add_timing(0, &Measured::default());
        report.add_service("web", Count::default());
        report.add_table("web", "0123");
        report.add_handover("web", 0, true);
        report.add_endpoint("web", "a", Count::default());
        let json = serde_json::to_value(&report).expect("numbers and names");
        let members: Vec<&String> = json.as_object().expect("an object").keys().collect();
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        assert_eq!(members, names);
        for metric in METRICS {
            let samples = (metric.samples)(&report);
            assert!(!samples.is_empty(), "{}", metric.name);
            for (labels, value) in samples {
                assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
                assert_eq!(matches!(value, Value::Summary(_)), metric.kind == Kind::Summary, "{}", metric.name);
            }
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        }
    }
}
