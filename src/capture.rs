//! Packets shown to an operator: which ones, and how copies of them get from a worker to the control side.
//!
//! A worker that is given a [`Tap`] copies each packet that may be wanted into one of a few samples, which were made
//! before; where all of them wait to be fetched, the packet is not shown, and counted. So it never waits, allocates or
//! sends more than somebody fetches.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use ipnet::IpNet;

use crate::forward::parse::Addressed;
use crate::forward::verdict::{DropReason, Verdict};
use crate::moment::Moment;
use crate::snapshot::{Cell, Snapshot};

/// The most bytes of a packet that are shown: what a frame of AF_XDP can hold.
pub const MOST_BYTES: usize = 4096;
/// The samples of a worker: what it can show between two fetches.
const SAMPLES: usize = 64;

/// What became of a packet that was a node's to deal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sent to an endpoint.
    Forwarded,
    /// Answered by the node.
    Answered,
    /// Dropped, for this reason.
    Dropped(DropReason),
}

impl Fate {
    /// Its name, as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Dropped(_) => "dropped",
        }
    }
}

/// Which packets are wanted; all conditions that are there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// With a fate of this name.
    pub verdict: Option<&'static str>,
    /// Of the service that counts here.
    pub service: Option<Cell>,
    /// Sent to the endpoint that counts here.
    pub endpoint: Option<Cell>,
    /// Sent by one of these addresses.
    pub client: Option<IpNet>,
}

/// As much as is shown of a packet.
#[derive(Debug)]
pub struct Excerpt {
    len: usize,
    kept: usize,
    bytes: Box<[u8]>,
}

impl Excerpt {
    fn new(most: usize) -> Self {
        Self { len: 0, kept: 0, bytes: vec![0; most].into() }
    }

    fn take(&mut self, packet: &[u8]) {
        self.len = packet.len();
        self.kept = packet.len().min(self.bytes.len());
        self.bytes[..self.kept].copy_from_slice(&packet[..self.kept]);
    }

    /// Its first bytes, from the Ethernet header on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.kept]
    }

    /// How many bytes it had.
    pub fn packet_len(&self) -> usize {
        self.len
    }
}

/// A packet that was dealt with.
#[derive(Debug)]
pub struct Sample {
    /// By the monotonic clock.
    pub at: Moment,
    /// What became of it.
    pub fate: Fate,
    /// Where its service counts, where it got as far as one.
    pub service: Option<Cell>,
    /// Where its endpoint counts, if it was sent to one.
    pub endpoint: Option<Cell>,
    /// As it came.
    pub came: Excerpt,
    /// As it left; of one that was cut, the first part. Empty where it was dropped.
    pub left: Excerpt,
}

impl Sample {
    fn new(most: usize) -> Self {
        let (came, left) = (Excerpt::new(most), Excerpt::new(most));
        Self { at: Moment::default(), fate: Fate::Answered, service: None, endpoint: None, came, left }
    }
}

/// Shows one worker's packets.
#[derive(Debug)]
pub struct Tap {
    filter: Filter,
    /// One packet in so many is shown.
    every: u32,
    /// Wanted packets until the next that is shown.
    ahead: AtomicU32,
    missed: AtomicU64,
    blank: ArrayQueue<Box<Sample>>,
    taken: ArrayQueue<Box<Sample>>,
}

impl Tap {
    /// Shows one in `every` packets that are wanted, at most `most` bytes of each.
    pub fn new(filter: Filter, every: u32, most: usize) -> Self {
        let (blank, taken) = (ArrayQueue::new(SAMPLES), ArrayQueue::new(SAMPLES));
        (0..SAMPLES).for_each(|_| _ = blank.push(Box::new(Sample::new(most.min(MOST_BYTES)))));
        Self { filter, every: every.max(1), ahead: AtomicU32::new(0), missed: AtomicU64::new(0), blank, taken }
    }

    /// The samples there are, in order; each goes back when it has been shown. For the control side.
    pub fn fetch(&self, mut show: impl FnMut(&Sample)) {
        for _ in 0..SAMPLES {
            let Some(sample) = self.taken.pop() else { return };
            show(&sample);
            _ = self.blank.push(sample);
        }
    }

    /// Packets that would have been shown, and for which there was no sample.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Whether a packet may be wanted, as far as it shows by itself.
    fn may_want(&self, frame: &[u8]) -> bool {
        let Some(client) = &self.filter.client else { return true };
        let Ok(Some(Addressed { ethernet, family, .. })) = Addressed::read(frame) else { return false };
        let source = frame.get(ethernet.header_len()..).and_then(|packet| family.source(packet));
        source.is_some_and(|source| client.contains(&source))
    }

    fn wants(&self, fate: Fate, service: Option<Cell>, endpoint: Option<Cell>) -> bool {
        let Filter { verdict, service: of, endpoint: to, client: _ } = &self.filter;
        verdict.is_none_or(|name| name == fate.name())
            && of.is_none_or(|cell| service == Some(cell))
            && to.is_none_or(|cell| endpoint == Some(cell))
    }

    /// Whether it is the turn of the next wanted packet. Only one worker counts here.
    fn is_due(&self) -> bool {
        let ahead = self.ahead.load(Ordering::Relaxed);
        self.ahead.store(ahead.checked_sub(1).unwrap_or(self.every - 1), Ordering::Relaxed);
        ahead == 0
    }
}

/// A worker's side of a tap: sees one packet after the other, as it comes and as it goes.
#[derive(Debug)]
pub struct Sampling<'a> {
    tap: &'a Tap,
    /// Of the packet that is being dealt with; none: it is not wanted, or there was no sample.
    sample: Option<Box<Sample>>,
    /// Whether it may be wanted.
    may_want: bool,
}

impl<'a> Sampling<'a> {
    /// Sees packets for a tap.
    pub fn new(tap: &'a Tap) -> Self {
        Self { tap, sample: None, may_want: false }
    }

    /// A packet has come.
    pub fn came(&mut self, frame: &[u8], at: Moment) {
        self.may_want = self.tap.may_want(frame);
        if !self.may_want {
            return;
        }
        self.sample = self.tap.blank.pop();
        if let Some(sample) = &mut self.sample {
            sample.at = at;
            sample.came.take(frame);
        }
    }

    /// That is what became of it; `left` is the packet that leaves, if one does.
    pub fn went(&mut self, verdict: Verdict, snapshot: &Snapshot, left: &[u8]) {
        let (may_want, sample) = (std::mem::take(&mut self.may_want), self.sample.take());
        let wanted = fate_of(verdict, snapshot).filter(|(fate, service, endpoint)| {
            may_want && self.tap.wants(*fate, *service, *endpoint) && self.tap.is_due()
        });
        match (wanted, sample) {
            (Some((fate, service, endpoint)), Some(mut sample)) => {
                (sample.fate, sample.service, sample.endpoint) = (fate, service, endpoint);
                sample.left.take(if matches!(fate, Fate::Dropped(_)) { &[] } else { left });
                // There are no more samples than places.
                _ = self.tap.taken.push(sample);
            }
            (Some(_), None) => _ = self.tap.missed.fetch_add(1, Ordering::Relaxed),
            (None, Some(sample)) => _ = self.tap.blank.push(sample),
            (None, None) => {}
        }
    }
}

/// What became of a packet, with the cells of its service and endpoint; none where it was the kernel's.
fn fate_of(verdict: Verdict, snapshot: &Snapshot) -> Option<(Fate, Option<Cell>, Option<Cell>)> {
    let (fate, service, endpoint) = match verdict {
        Verdict::Forwarded(service, endpoint) => (Fate::Forwarded, Some(service), Some(endpoint)),
        Verdict::Answered(service) => (Fate::Answered, Some(service), None),
        Verdict::Dropped(reason, service) => (Fate::Dropped(reason), service, None),
        Verdict::Passed => return None,
    };
    let entry = service.and_then(|service| snapshot.services.get(service as usize));
    let to = endpoint.and_then(|endpoint| entry?.endpoints.get(usize::from(endpoint)));
    Some((fate, entry.map(|entry| entry.cell), to.map(|endpoint| endpoint.cell)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Seed;
    use crate::forward::encap::Sources;
    use crate::snapshot::{Dscp, Settings};
    use crate::wire::ethernet::MacAddress;

    fn nothing() -> Snapshot {
        let (seed, sources) = (Seed([0; 16]), Sources::default());
        Snapshot::empty(Settings {
            seed,
            dscp: Dscp::Copy,
            underlay_mtu: 1500,
            hop_limit: 64,
            mac: MacAddress::default(),
            sources,
        })
    }

    fn shown(tap: &Tap) -> Vec<(Fate, Vec<u8>, Vec<u8>)> {
        let mut shown = Vec::new();
        tap.fetch(|sample| shown.push((sample.fate, sample.came.bytes().to_vec(), sample.left.bytes().to_vec())));
        shown
    }

    fn pass(tap: &Tap, number: u8, verdict: Verdict) {
        let mut sampling = Sampling::new(tap);
        sampling.came(&[number; 100], Moment(number.into()));
        sampling.went(verdict, &nothing(), &[number; 150]);
    }

    const DROPPED: Verdict = Verdict::Dropped(DropReason::NoService, None);

    #[test]
    fn what_came_and_what_left_is_shown_cut_to_length() {
        let tap = Tap::new(Filter::default(), 1, 120);
        pass(&tap, 1, Verdict::Answered(0));
        pass(&tap, 2, DROPPED);
        pass(&tap, 3, Verdict::Passed);
        let dropped = Fate::Dropped(DropReason::NoService);
        assert_eq!(shown(&tap), [(Fate::Answered, vec![1; 100], vec![1; 120]), (dropped, vec![2; 100], vec![])]);
        assert!(shown(&tap).is_empty(), "each once");
    }

    #[test]
    fn what_cannot_be_shown_is_counted_and_samples_come_back() {
        let tap = Tap::new(Filter { verdict: Some("dropped"), ..Filter::default() }, 1, 64);
        for round in 1..4u64 {
            for number in 0..100 {
                pass(&tap, number, DROPPED);
                pass(&tap, number, Verdict::Answered(0));
            }
            assert_eq!((shown(&tap).len(), tap.missed()), (SAMPLES, round * (100 - SAMPLES as u64)));
        }
    }

    #[test]
    fn one_in_so_many_is_shown() {
        let tap = Tap::new(Filter::default(), 10, 64);
        (0..100).for_each(|number| pass(&tap, number, DROPPED));
        let numbers: Vec<u8> = shown(&tap).iter().map(|(_, came, _)| came[0]).collect();
        assert_eq!(numbers, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    }

    #[test]
    fn a_client_is_known_by_its_address() {
        let filter = Filter { client: Some("198.51.100.0/24".parse().expect("a prefix")), ..Filter::default() };
        let tap = Tap::new(filter, 1, 64);
        let mut frame = [0u8; 34];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14..34].copy_from_slice(&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 198, 51, 100, 7, 203, 0, 113, 1]);
        // Also of a packet that contradicts itself: its total length is more than there is.
        for (last, total_len, expected) in [(100, 20, 1), (101, 20, 0), (100, 99, 1)] {
            (frame[28], frame[17]) = (last, total_len);
            let mut sampling = Sampling::new(&tap);
            sampling.came(&frame, Moment(0));
            sampling.went(DROPPED, &nothing(), &[]);
            assert_eq!(shown(&tap).len(), expected, "198.51.{last}.7");
        }
        assert_eq!(tap.missed(), 0);
    }
}
