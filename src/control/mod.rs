//! The control side: what a syncer and an operator talk to.

mod accounts;
pub mod lookup;
pub mod node;
pub mod protocol;
pub mod reach;
mod sealed_file;
pub mod server;
pub mod set;
pub mod slot_memories;
pub mod store;
pub mod update;
