//! pointsman: a layer-4 packet forwarder for edge nodes. ARCHITECTURE.md has the map of these rooms.

pub mod capture;
pub mod config;
pub mod control;
pub mod daemon;
pub mod document;
pub mod endpoint;
pub mod endpoint_set;
pub mod flow;
pub mod forward;
pub mod frame;
pub mod handover;
pub mod io;
pub mod maglev;
pub mod metrics;
pub mod model;
pub mod moment;
pub mod prefetch;
pub mod publish;
pub mod snapshot;
pub mod stats;
pub mod steer;
pub mod underlay;
pub mod upgrade;
pub mod vip_map;
pub mod wire;
pub mod worker;
