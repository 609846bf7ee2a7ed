//! Counters: what came in, what became of it, who got it. A worker writes only its own; the control side reads.
//!
//! Received = sent + answered + the sum of all drops, in every reading.

mod board;
mod cells;
mod report;
mod tally;

pub use board::Board;
pub use cells::{Cells, Counted, Numbers};
pub use report::Report;
pub use tally::{Tally, Traffic};
