//! pointsman: a layer-4 packet forwarder for edge nodes. ARCHITECTURE.md has the map of these rooms.

pub mod frame;
pub mod io;
pub mod underlay;
pub mod wire;
