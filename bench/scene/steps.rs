//! A batch's way through forward(), as a worker takes it.

use std::hint::black_box;

use pointsman::forward::{Flows, forward};
use pointsman::moment::Moment;
use pointsman::snapshot::Snapshot;

use super::batch::Batch;

/// When everything happens, as forward() sees it.
pub const NOW: Moment = Moment(0);

/// Forwards all frames of a batch.
#[inline]
pub fn forward_all(batch: &mut Batch, snapshot: &Snapshot, flows: &mut Flows) {
    batch.each(|mut frame| {
        black_box(forward(&mut frame, snapshot, flows, NOW));
    });
}
