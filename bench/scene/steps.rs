//! A batch's way through forward(), in the steps in which a worker takes it.

use std::hint::black_box;

use pointsman::forward::plain::Plain;
use pointsman::forward::{Flows, forward_ahead};
use pointsman::moment::Moment;
use pointsman::snapshot::Snapshot;

use super::batch::{BATCH, Batch};

/// When everything happens, as forward() sees it.
pub const NOW: Moment = Moment(0);

/// What is known of each frame of a batch.
#[derive(Debug)]
pub struct Steps(Vec<Option<Plain>>);

impl Default for Steps {
    fn default() -> Self {
        Self(Vec::with_capacity(BATCH))
    }
}

impl Steps {
    /// Forwards all frames of a batch.
    #[inline]
    pub fn forward(&mut self, batch: &mut Batch, snapshot: &Snapshot, flows: &mut Flows) {
        let Self(plain) = self;
        plain.clear();
        batch.each(|frame| plain.push(Plain::read(frame.bytes(), snapshot)));
        let mut next = plain.iter_mut();
        batch.each(|frame| {
            if let Some(plain) = next.next() {
                *plain = plain.and_then(|plain| plain.look_up(|| frame.into_bytes(), snapshot, flows.tracked()));
            }
        });
        plain.iter_mut().flatten().for_each(|plain| plain.approach(snapshot));
        let mut next = plain.iter();
        batch.each(|mut frame| {
            let plain = next.next().and_then(Option::as_ref);
            black_box(forward_ahead(&mut frame, plain, snapshot, (flows, NOW)));
        });
    }
}
