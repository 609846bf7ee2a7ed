//! The counters as one object: the metrics' own names, nested by their labels.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tally::{Tally, Traffic};
use crate::forward::verdict::DropReason;
use crate::io::KernelStatistics;

/// A counter by worker, queue, reason, service, or service and endpoint.
type By<T> = BTreeMap<String, T>;

/// Every counter of section 8 of the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of the contract")]
pub struct Report {
    pub pointsman_received_packets_total: By<u64>,
    pub pointsman_received_bytes_total: By<u64>,
    pub pointsman_sent_packets_total: By<u64>,
    pub pointsman_sent_bytes_total: By<u64>,
    pub pointsman_answered_packets_total: By<u64>,
    pub pointsman_answered_bytes_total: By<u64>,
    /// Frames sent beyond one a packet, where a packet had to be cut into parts: not in the contract, as `sent` counts
    /// packets, so that received = sent + answered + drops.
    pub pointsman_fragments_made_total: By<u64>,
    pub pointsman_drops_total: By<u64>,
    pub pointsman_service_packets_total: By<u64>,
    pub pointsman_service_bytes_total: By<u64>,
    pub pointsman_endpoint_packets_total: By<By<u64>>,
    pub pointsman_endpoint_bytes_total: By<By<u64>>,
    pub pointsman_tracked_flows: By<u64>,
    pub pointsman_handover_open: By<u64>,
    pub pointsman_xsk_rx_dropped_total: By<u64>,
    pub pointsman_xsk_rx_ring_full_total: By<u64>,
    pub pointsman_xsk_rx_fill_ring_empty_total: By<u64>,
    pub pointsman_xsk_rx_invalid_total: By<u64>,
    pub pointsman_xsk_tx_invalid_total: By<u64>,
    pub pointsman_xsk_tx_ring_empty_total: By<u64>,
    pub pointsman_generation: u64,
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

    /// Adds what one service was sent.
    pub fn add_service(&mut self, service: &str, traffic: Traffic) {
        self.pointsman_service_packets_total.insert(service.to_owned(), traffic.packets);
        self.pointsman_service_bytes_total.insert(service.to_owned(), traffic.bytes);
    }

    /// Adds how many flows of a service are tracked, and whether its slots remember anything.
    pub fn add_handover(&mut self, service: &str, tracked_flows: u64, is_open: bool) {
        self.pointsman_tracked_flows.insert(service.to_owned(), tracked_flows);
        self.pointsman_handover_open.insert(service.to_owned(), is_open.into());
    }

    /// Adds what one endpoint was sent.
    pub fn add_endpoint(&mut self, service: &str, endpoint: &str, traffic: Traffic) {
        for (by_service, value) in [
            (&mut self.pointsman_endpoint_packets_total, traffic.packets),
            (&mut self.pointsman_endpoint_bytes_total, traffic.bytes),
        ] {
            by_service.entry(service.to_owned()).or_default().insert(endpoint.to_owned(), value);
        }
    }
}
