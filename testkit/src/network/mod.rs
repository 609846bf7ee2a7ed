//! Network namespaces and the links between them.

mod namespace;
mod narrow_way;
mod tap;
mod topology;

pub use namespace::{Namespace, veth};
pub use narrow_way::NarrowWay;
pub use tap::Tap;
pub use topology::{CLIENT_V4, CLIENT_V6, EDGE_V4, EDGE_V6, Topology};
