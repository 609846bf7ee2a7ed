//! What is forwarded, and by what: nodes as the daemon builds them, and batches of frames.

pub mod batch;
pub mod flows;
pub mod node;
pub mod steps;
