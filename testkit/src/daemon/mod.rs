//! The daemon in an edge node's namespace, and the endpoints that it forwards to.

mod edge;
mod edge_builder;
mod endpoint;
mod every_driver;
mod metrics;
mod notify;
mod store;

pub use edge::{Driver, Edge};
pub use edge_builder::EdgeBuilder;
pub use endpoint::Endpoint;
pub use metrics::Metrics;
pub use store::Store;
