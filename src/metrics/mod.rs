//! `/metrics` for Prometheus: a thread of its own that answers HTTP and only reads. Nothing that a client does there, or
//! fails to do, is felt by the control side or by workers.

mod connection;
mod page;
mod server;

pub use page::text;
pub use server::{ListenError, Server, listen};
