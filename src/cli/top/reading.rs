//! What the daemon answers, as far as the screen shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

/// By the value of a label.
pub type By<T> = BTreeMap<String, T>;

/// All that was answered at one time.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When the counters were read.
    pub at: Instant,
    /// The number of the connection. Counters of two connections may be those of two daemons.
    pub connection: u64,
    /// `status` without its services.
    pub node: Value,
    /// What somebody has to mend, a sentence each.
    pub problems: Vec<String>,
    /// `stats` without endpoints.
    pub stats: Stats,
    /// The services of `status`.
    pub services: Arc<[Service]>,
    /// The endpoints of the one service that was asked for.
    pub endpoints: Option<Endpoints>,
}

/// The counters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// By worker, as the next five and those about time are.
    #[serde(rename = "pointsman_received_packets_total")]
    pub received_packets: By<u64>,
    #[serde(rename = "pointsman_received_bytes_total")]
    pub received_bytes: By<u64>,
    #[serde(rename = "pointsman_sent_packets_total")]
    pub sent_packets: By<u64>,
    #[serde(rename = "pointsman_sent_bytes_total")]
    pub sent_bytes: By<u64>,
    #[serde(rename = "pointsman_answered_packets_total")]
    pub answered_packets: By<u64>,
    #[serde(rename = "pointsman_answered_bytes_total")]
    pub answered_bytes: By<u64>,
    /// By reason.
    #[serde(rename = "pointsman_drops_total")]
    pub drops: By<u64>,
    /// By queue, as the next two are.
    #[serde(rename = "pointsman_xsk_rx_dropped_total")]
    pub rx_dropped: By<u64>,
    #[serde(rename = "pointsman_xsk_rx_ring_full_total")]
    pub rx_ring_full: By<u64>,
    #[serde(rename = "pointsman_xsk_rx_fill_ring_empty_total")]
    pub rx_fill_ring_empty: By<u64>,
    /// By service, as all that follow are.
    #[serde(rename = "pointsman_service_packets_total")]
    pub service_packets: By<u64>,
    #[serde(rename = "pointsman_service_bytes_total")]
    pub service_bytes: By<u64>,
    #[serde(rename = "pointsman_service_new_flows_total")]
    pub service_new_flows: By<u64>,
    #[serde(rename = "pointsman_tracked_flows")]
    pub tracked_flows: By<u64>,
    #[serde(rename = "pointsman_handover_open")]
    pub handover_open: By<u64>,
    /// Seconds, by quantile; none while nothing was measured.
    #[serde(rename = "pointsman_latency_seconds")]
    pub latency: By<By<Option<f64>>>,
    /// 0 to 1.
    #[serde(rename = "pointsman_worker_busy_ratio")]
    pub busy: By<f64>,
}

/// One service of `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub name: String,
    pub vip: String,
    pub protocol: Value,
    pub ports: Value,
    pub endpoints: States,
    pub handover: Option<Handover>,
}

/// Endpoints by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct States {
    pub active: u64,
    pub draining: u64,
    pub down: u64,
}

/// What is left of a service's handovers.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Handover {
    /// Slots that remember.
    pub slots: u64,
}

/// The endpoints of one service.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// When their counters were read.
    pub at: Instant,
    /// The service's name.
    pub service: String,
    /// In the order of names.
    pub all: Vec<Endpoint>,
}

/// One of `endpoints`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    #[serde(rename = "endpoint")]
    pub name: String,
    pub address: String,
    pub state: String,
    pub weight: u64,
    pub slots: u64,
    pub table_size: u64,
    pub remembered_slots: u64,
    pub tracked_flows: u64,
    pub packets: u64,
    pub bytes: u64,
    pub unreachable: Option<String>,
}
