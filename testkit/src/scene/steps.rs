//! A batch's way through forward(), in the steps in which a worker takes it.

use std::hint::black_box;

use pointsman::forward::ahead::Ahead;
use pointsman::forward::{Flows, forward_ahead};
use pointsman::moment::Moment;
use pointsman::snapshot::Snapshot;

use super::batch::{BATCH, Batch};

/// When everything happens, as forward() sees it.
pub const NOW: Moment = Moment(0);

/// What is known of each frame of a batch.
#[derive(Debug)]
pub struct Steps(Ahead);

impl Default for Steps {
    fn default() -> Self {
        Self(Ahead::new(BATCH))
    }
}

impl Steps {
    /// Forwards all frames of a batch.
    #[inline]
    pub fn forward(&mut self, batch: &mut Batch, snapshot: &Snapshot, flows: &mut Flows) {
        self.0.look(batch, snapshot, flows.tracked());
        let mut ahead = self.0.iter();
        batch.each(|mut frame| {
            let plain = ahead.next().flatten();
            black_box(forward_ahead(&mut frame, plain, snapshot, (flows, NOW)));
        });
    }
}
