//! The short way's steps but for the last, taken for a whole batch before the first of its frames is decided on.

use super::plain::{self, Plain};
use super::track::Tracked;
use crate::flow::{Affinity, FlowHash, LANES, Lanes};
use crate::prefetch::prefetch;
use crate::snapshot::{EndpointEntry, Snapshot};

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
        let has_few = snapshot.services.len() <= FEW;
        if !has_few {
            let destinations = (0..frames.count()).filter_map(|at| plain::destination(frames.packet(at)));
            destinations.for_each(|destination| snapshot.vips.approach(destination));
        }
        self.read(frames, snapshot);
        if !has_few {
            self.plain().filter_map(|plain| plain.entry(snapshot)).for_each(prefetch);
        }
        for (slot, at) in self.0.iter_mut().zip(0..) {
            let Some(plain) = slot else { continue };
            if !plain.admit(|| frames.packet(at), snapshot) {
                *slot = None;
            } else if has_few {
                plain.look_up(snapshot);
                plain.endpoint(snapshot).into_iter().for_each(prefetch);
            }
        }
        if !has_few {
            self.plain().for_each(|plain| plain.approach_slot(snapshot));
            self.0.iter_mut().flatten().for_each(|plain| plain.look_up(snapshot));
            self.approach_endpoints(snapshot);
        }
        if !tracked.is_empty() {
            self.find(tracked);
        }
    }

    /// Reads all frames, and hashes the flows of some at a time.
    fn read(&mut self, frames: &mut impl Frames, snapshot: &Snapshot) {
        let mut flows = Lanes::default();
        for first in (0..frames.count()).step_by(LANES) {
            for (lane, at) in (first..frames.count().min(first + LANES)).enumerate() {
                self.0.push(Plain::read(frames.packet(at), snapshot, |flow| {
                    flows.set(lane, flow);
                    FlowHash(0)
                }));
            }
            for (slot, hash) in self.0.iter_mut().skip(first).zip(flows.hash(&snapshot.settings.seed)) {
                slot.iter_mut().for_each(|plain| plain.set_hash(hash));
            }
        }
    }

    /// Has the memory of the endpoints, and then of the ways to them, come near: the last step finds it in the caches.
    fn approach_endpoints(&self, snapshot: &Snapshot) {
        self.endpoints(snapshot).for_each(prefetch);
        self.endpoints(snapshot).for_each(|endpoint| snapshot.paths.approach(endpoint.path));
    }

    /// The endpoints of the plain packets' slots.
    #[inline]
    pub fn endpoints<'a>(&self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a EndpointEntry> {
        self.plain().filter_map(|plain| plain.endpoint(snapshot))
    }

    /// What is known of the plain packets.
    fn plain(&self) -> impl Iterator<Item = &Plain> {
        self.0.iter().flatten()
    }

    /// Finds the flows that are tracked, first all of their memory and then them.
    fn find(&mut self, tracked: &Tracked) {
        for plain in self.0.iter_mut().flatten() {
            plain.place().into_iter().for_each(|(hash, _)| tracked.approach(hash));
        }
        for plain in self.0.iter_mut().flatten() {
            plain.place().into_iter().for_each(|(hash, place)| *place = tracked.place(hash));
        }
    }
}

/// All steps but the last for one packet.
pub fn look_at(packet: &[u8], snapshot: &Snapshot) -> Option<Plain> {
    let mut plain = Plain::read(packet, snapshot, |flow| snapshot.settings.seed.hash(flow, Affinity::Flow))?;
    if !plain.admit(|| packet, snapshot) {
        return None;
    }
    plain.look_up(snapshot);
    Some(plain)
}
