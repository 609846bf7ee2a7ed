//! What is forwarded, and by what: nodes as the daemon builds them, and batches of frames.
#![allow(dead_code, reason = "no bench needs all of it")]

pub mod batch;
pub mod flows;
pub mod node;
pub mod steps;
