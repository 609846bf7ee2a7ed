//! A smaller MTU on the way to an endpoint: a router that cannot send an outer packet on tells its sender by ICMP
//! "fragmentation needed" or ICMPv6 Packet Too Big (RFC 1191, RFC 8201).
//!
//! [`read`] reads such a message, [`PathMtus`] remembers for ten minutes what it said, and [`IcmpSocket`] takes the
//! messages from the kernel, to whom they go: they are addressed to the node, not to a VIP.

mod message;
mod remembered;
mod socket;

pub use message::{Lowered, read, read_frame};
pub use remembered::{LIFETIME, MOST_ENDPOINTS, PathMtus};
pub use socket::{IcmpSocket, IcmpSocketError};
