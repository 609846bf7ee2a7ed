//! Clients and servers, and what they see.

pub mod echo;
mod heartbeat;
pub mod http;
mod load;
mod pauses;
mod pings;
mod sessions;
mod stream;
pub mod udp;

pub use heartbeat::Heartbeat;
pub use load::{Load, Report};
pub use pauses::Pauses;
pub use pings::Pings;
pub use sessions::{Asked, Sessions};
pub use stream::{Heard as StreamHeard, Stream};

/// The programs of `generator.bpf.c`, which send frames by XDP as fast as the kernel can, and count what comes back.
pub const GENERATOR: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/generator.bpf.o"));
