//! Counters: what came in, what became of it, who got it, how long it took. A worker writes only its own; the control side
//! and the metrics' thread read.
//!
//! Received = sent + answered + the sum of all drops, in every reading.

mod board;
mod cells;
mod counters;
mod report;
mod scene;
mod tally;
mod timing;

pub use board::Board;
pub use cells::{Cells, Count, Counted, Numbers, StoredNumbers};
pub use counters::Counters;
pub use report::{By, Kind, METRICS, Metric, Report, Samples, Value};
pub use scene::{GONE, Gone, Scene};
pub use tally::{Tally, Traffic};
pub use timing::{Measured, QUANTILES, Recorder, StoredTiming, Summary, Timing};
