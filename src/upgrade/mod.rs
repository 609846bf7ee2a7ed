//! What one process says to another to hand over a running daemon, as plain messages: no sockets here.
//!
//! ```text
//!  the old process                                    the new process, which it has started
//!  Begin    versions, config, what the node is    ─►
//!  Queue    a worker's socket, for each           ─►  builds all it can; nobody has noticed anything yet
//!                                                 ◄─  Prepared, or Failed
//!  Worker   is asked to stop                      ─►
//!     it tells its successor what it had          ═►     which goes on with it
//!                                                 ◄─  Taken, and the next worker's turn comes
//!  Client   of the control socket, for each       ─►
//!  Finish   counters, measurements                ─►  takes over the gate, the routes, the clients
//!                                                 ◄─  Done; the old process ends
//! ```
//!
//! Until the first `Worker` the old process goes on as if nothing had been, whatever happens. After it, it takes the
//! workers back where there is no `Done`.

mod facts;
mod message;
mod worker;

pub use facts::{differences, facts};
pub use message::{Asked, Begin, Client, Message, Queue, Unreadable};
pub use worker::{Told, ToldFlows, Worker};

/// The number of this form of the messages. One that changes the meaning of any of them has another.
pub const FORMAT: u32 = 1;

/// Tells a process that it is to succeed another, to which its standard input is connected.
pub const VARIABLE: &str = "POINTSMAN_UPGRADE";
