//! The control side: what a syncer and an operator talk to.

mod accounts;
mod client;
pub mod event;
mod journal;
mod leaving;
pub mod limits;
pub mod lookup;
pub mod node;
pub mod proposal;
pub mod protocol;
pub mod reach;
mod sealed_file;
pub mod server;
pub mod set;
pub mod settings;
pub mod slot_memories;
pub mod store;
pub mod update;
