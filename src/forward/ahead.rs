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
            self.0.extend((0..count).map(|at| look_at(frames.packet(at), snapshot)));
            return;
        }
        if is_large {
            let destinations = (0..count).filter_map(|at| plain::destination(frames.packet(at)));
            destinations.for_each(|destination| snapshot.vips.approach(destination));
        }
        self.0.extend((0..count).map(|at| Plain::read(frames.packet(at), snapshot)));
        for (slot, at) in self.0.iter_mut().zip(0..) {
            if !slot.as_mut().is_some_and(|plain| plain.admit(|| frames.packet(at), snapshot)) {
                *slot = None;
            }
        }
        self.0.iter_mut().flatten().for_each(|plain| plain.look_up(snapshot));
        self.find(tracked);
        if is_large {
            self.approach(snapshot);
        }
    }

    /// Finds the flows that are tracked, first all of their memory and then them.
    fn find(&mut self, tracked: &Tracked) {
        if tracked.is_empty() {
            return;
        }
        for plain in self.0.iter_mut().flatten() {
            plain.place().into_iter().for_each(|(hash, _)| tracked.approach(hash));
        }
        for plain in self.0.iter_mut().flatten() {
            plain.place().into_iter().for_each(|(hash, place)| *place = tracked.place(hash));
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
pub fn look_at(packet: &[u8], snapshot: &Snapshot) -> Option<Plain> {
    let mut plain = Plain::read(packet, snapshot)?;
    if !plain.admit(|| packet, snapshot) {
        return None;
    }
    plain.look_up(snapshot);
    Some(plain)
}
