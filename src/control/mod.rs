//! The control side: what a syncer and an operator talk to.

mod accounts;
mod breaks;
mod client;
pub mod clock;
pub mod disk;
pub mod event;
mod journal;
mod leaving;
pub mod lookup;
pub mod node;
pub mod proposal;
pub mod protocol;
pub mod reach;
pub mod renames;
mod sealed_file;
pub mod server;
pub mod set;
pub mod settings;
pub mod slot_memories;
pub mod state_lock;
pub mod store;
pub mod update;
