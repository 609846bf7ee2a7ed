//! The control side: what a syncer and an operator talk to.

pub mod update;
