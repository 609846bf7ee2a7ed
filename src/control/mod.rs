//! The control side: what a syncer and an operator talk to.

pub mod set;
pub mod update;
