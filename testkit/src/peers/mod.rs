//! Other people's programs beside pointsman.

pub mod bird;
pub mod ecmp;
pub mod keepalived;
