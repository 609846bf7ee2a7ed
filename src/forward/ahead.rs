//! The short way's steps but for the last, taken for a whole batch before the first of its frames is decided on.

use std::hint::black_box;

use super::plain::{self, Plain};
use super::track::Tracked;
use crate::snapshot::Snapshot;

/// So many services are few: what packets ask of them lies in a core's own caches, mostly. Then the steps, taken apart,
/// would cost more than the waiting that they spare.
const FEW: usize = 64;

/// The frames of a batch.
pub trait Frames {
    /// How many there are.
    fn count(&self) -> usize;

    /// The packet in one of them.
    fn packet(&mut self, at: usize) -> &[u8];
}

/// What is known of each frame of a batch, where it holds a plain packet.
#[derive(Debug)]
pub struct Ahead(Vec<Option<Plain>>);

impl Ahead {
    /// Memory for batches of so many frames.
    pub fn new(batch: usize) -> Self {
        Self(Vec::with_capacity(batch))
    }

    /// What is known, in the order of the frames.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Option<&Plain>> {
        self.0.iter().map(Option::as_ref)
    }

    /// Looks at the frames of a batch.
    pub fn look(&mut self, frames: &mut impl Frames, snapshot: &Snapshot, tracked: &Tracked) {
        self.0.clear();
        let (count, is_large) = (frames.count(), snapshot.services.len() > FEW);
        if !is_large && tracked.is_empty() {
            self.0.extend((0..count).map(|at| look_at(frames.packet(at), snapshot, tracked)));
            return;
        }
        if is_large {
            let destinations = (0..count).filter_map(|at| plain::destination(frames.packet(at)));
            destinations.for_each(|destination| snapshot.vips.approach(destination));
        }
        self.0.extend((0..count).map(|at| Plain::read(frames.packet(at), snapshot)));
        for (plain, at) in self.0.iter_mut().zip(0..) {
            let frames = &mut *frames;
            *plain = plain.and_then(move |plain| plain.admit(move || frames.packet(at), snapshot));
        }
        self.0.iter_mut().flatten().for_each(|plain| plain.look_up(snapshot, tracked));
        if is_large {
            self.approach(snapshot);
        }
    }

    /// Has the memory of the endpoints, and then of the ways to them, come near. Nothing of it is kept: the last step finds
    /// it in the caches.
    fn approach(&self, snapshot: &Snapshot) {
        for endpoint in self.0.iter().flatten().filter_map(|plain| plain.endpoint(snapshot)) {
            black_box(endpoint.path);
        }
        for endpoint in self.0.iter().flatten().filter_map(|plain| plain.endpoint(snapshot)) {
            black_box(snapshot.paths.get(endpoint.path as usize).map(|path| path.mtu));
        }
    }
}

/// All steps but the last for one packet.
#[inline(always)]
pub fn look_at(packet: &[u8], snapshot: &Snapshot, tracked: &Tracked) -> Option<Plain> {
    let mut plain = Plain::read(packet, snapshot)?.admit(|| packet, snapshot)?;
    plain.look_up(snapshot, tracked);
    Some(plain)
}
