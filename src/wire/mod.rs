//! Headers over bytes, one protocol a file.

pub mod ethernet;
