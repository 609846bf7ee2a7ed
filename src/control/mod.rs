//! The control side: what a syncer and an operator talk to.

mod accounts;
pub mod lookup;
pub mod node;
pub mod protocol;
pub mod reach;
pub mod server;
pub mod set;
pub mod store;
pub mod update;
