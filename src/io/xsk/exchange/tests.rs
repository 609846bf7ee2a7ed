use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::plain::Plain;
use super::super::ring::{Entry, Layout};
use super::*;

const CHUNK: u32 = 2048;
/// Where XDP puts a packet in its chunk.
const START: u64 = 256;

type Shared = Arc<Plain>;

/// The other side of the four rings. Like the real one, it may sit on frames it has taken.
struct Kernel {
    fill: Consumer<u64, Shared>,
    rx: Producer<XdpDesc, Shared>,
    tx: Consumer<XdpDesc, Shared>,
    completion: Producer<u64, Shared>,
    to_receive: VecDeque<u64>,
    sending: VecDeque<XdpDesc>,
}

impl Kernel {
    /// Receives up to `most` packets of `len` bytes; answers how many found room.
    fn receive(&mut self, most: u32, len: u32) -> u32 {
        self.fill.take(most, |chunk| self.to_receive.push_back(chunk));
        let mut count = 0;
        while count < most && self.rx.room() > 0 {
            let Some(chunk) = self.to_receive.pop_front() else { break };
            assert!(self.rx.push(XdpDesc { addr: chunk + START, len, options: XdpDescOptions::empty() }));
            count += 1;
        }
        self.rx.publish();
        count
    }

    /// Takes up to `most` packets to send.
    fn take(&mut self, most: u32) {
        self.tx.take(most, |descriptor| self.sending.push_back(descriptor));
    }

    /// Is done with up to `most` packets that it has taken.
    fn complete(&mut self, most: u32) {
        for _ in 0..most {
            let Some(descriptor) = self.sending.pop_front() else { break };
            assert!(self.completion.push(descriptor.addr), "the completion ring never overflows");
        }
        self.completion.publish();
    }
}

fn ends<T: Entry>(size: u32) -> (Producer<T, Shared>, Consumer<T, Shared>) {
    let memory = Arc::new(Plain::new(Layout::plain().bytes::<T>(size)));
    // SAFETY: these are the only two ends.
    unsafe { (Producer::new(memory.clone(), Layout::plain(), size), Consumer::new(memory, Layout::plain(), size)) }
}

fn exchange(frames: u32) -> (Exchange<Shared>, Kernel) {
    let sizes = Sizes::new(frames).expect("a power of two");
    let umem = Umem::new(Arc::new(Plain::new((CHUNK * frames) as usize)), CHUNK, frames);
    let (fill, kernel_fill) = ends(sizes.lend);
    let (kernel_completion, completion) = ends(sizes.lend);
    let (kernel_rx, rx) = ends(sizes.packets);
    let (tx, kernel_tx) = ends(sizes.packets);
    let free = umem.chunks().collect();
    let kernel = Kernel {
        fill: kernel_fill,
        rx: kernel_rx,
        tx: kernel_tx,
        completion: kernel_completion,
        to_receive: VecDeque::new(),
        sending: VecDeque::new(),
    };
    // SAFETY: all are free, as the rings are new.
    (unsafe { Exchange::new(umem, Rings { fill, rx, tx, completion }, free) }, kernel)
}

fn receive(exchange: &mut Exchange<Shared>, most: usize) -> Vec<Held> {
    let mut batch = Vec::new();
    exchange.receive(&mut batch, most);
    batch
}

#[test]
fn sizes_are_powers_of_two() {
    assert_eq!(Sizes::new(4096), Some(Sizes { lend: 4096, packets: 2048 }));
    assert_eq!([0, 1, 3, 4095].map(Sizes::new), [None; 4]);
}

#[test]
fn a_packet_goes_out_with_a_header_in_front() {
    let (mut exchange, mut kernel) = exchange(8);
    exchange.recycle();
    assert_eq!(kernel.receive(1, 60), 1);
    let held = receive(&mut exchange, 64).pop().expect("one packet");
    let mut frame = exchange.frame(&held);
    assert_eq!(frame.span(), Span { start: 256, len: 60 });
    assert!(frame.replace_front(0, &[7; 44]));
    let span = frame.span();
    exchange.send(held.moved_to(span));
    kernel.take(8);
    assert!(kernel.sending.is_empty(), "not before it is published");
    exchange.publish();
    kernel.take(8);
    let sent = kernel.sending.front().expect("sent");
    assert_eq!((sent.addr % u64::from(CHUNK), sent.len), (212, 104));
    kernel.complete(8);
    exchange.recycle();
    assert_eq!(exchange.audit(), Audit { free: 0, fill: 8, rx: 0, held: 0, tx: 0, completion: 0 });
}

#[test]
fn receives_no_more_than_it_could_send() {
    let (mut exchange, mut kernel) = exchange(8);
    exchange.recycle();
    assert_eq!(kernel.receive(8, 60), 4, "as the RX ring has 4 slots");
    let first = receive(&mut exchange, 3);
    assert_eq!(kernel.receive(3, 60), 3);
    let second = receive(&mut exchange, 64);
    assert_eq!((first.len(), second.len()), (3, 1), "4 slots to send from, 3 of them spoken for");
    first.into_iter().chain(second).for_each(|held| exchange.send(held));
    assert!(receive(&mut exchange, 64).is_empty(), "while the kernel sends nothing");
    exchange.publish();
    kernel.take(2);
    assert_eq!(exchange.unsent(), 2);
    for held in receive(&mut exchange, 64) {
        exchange.release(held);
    }
    assert_eq!((kernel.to_receive.len(), kernel.sending.len()), (1, 2));
    assert_eq!(exchange.audit(), Audit { free: 2, fill: 0, rx: 1, held: 0, tx: 2, completion: 0 });
}

#[test]
fn an_empty_packet_is_given_back_as_the_kernel_would_keep_it() {
    let (mut exchange, mut kernel) = exchange(8);
    exchange.recycle();
    assert_eq!(kernel.receive(1, 60), 1);
    let held = receive(&mut exchange, 1).pop().expect("one packet");
    exchange.send(held.moved_to(Span { start: 256, len: 0 }));
    assert_eq!(exchange.audit(), Audit { free: 1, fill: 7, rx: 0, held: 0, tx: 0, completion: 0 });
}

#[test]
fn the_frames_of_another_packet_memory_are_refused() {
    let (mut one, mut kernel) = exchange(8);
    let (mut other, _kernel) = exchange(8);
    one.recycle();
    assert_eq!(kernel.receive(3, 60), 3);
    let before = other.audit();
    let mut is_refused = |work: &mut dyn FnMut(&mut Exchange<Shared>)| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut other))).is_err()
    };
    let mut batch = receive(&mut one, 3);
    assert!(is_refused(&mut |other| _ = other.frame(&batch[0])));
    let mut next = || batch.pop().expect("three packets");
    assert!(is_refused(&mut |other| other.send(next())));
    assert!(is_refused(&mut |other| other.release(next())));
    assert_eq!(other.audit(), before);
}

#[derive(Clone, Debug)]
enum Step {
    KernelReceives(u32),
    KernelTakes(u32),
    KernelCompletes(u32),
    Receive(usize),
    Send(usize),
    Release(usize),
    Publish,
    Recycle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u32..20).prop_map(Step::KernelReceives),
        (0u32..20).prop_map(Step::KernelTakes),
        (0u32..20).prop_map(Step::KernelCompletes),
        (0usize..20).prop_map(Step::Receive),
        (0usize..20).prop_map(Step::Send),
        (0usize..20).prop_map(Step::Release),
        Just(Step::Publish),
        Just(Step::Recycle),
    ]
}

fn run(step: Step, exchange: &mut Exchange<Shared>, kernel: &mut Kernel, held: &mut VecDeque<Held>) {
    match step {
        Step::KernelReceives(most) => drop(kernel.receive(most, 60)),
        Step::KernelTakes(most) => kernel.take(most),
        Step::KernelCompletes(most) => kernel.complete(most),
        Step::Receive(most) => held.extend(receive(exchange, most)),
        Step::Send(most) => held.drain(..most.min(held.len())).for_each(|frame| exchange.send(frame)),
        Step::Release(most) => held.drain(..most.min(held.len())).for_each(|frame| exchange.release(frame)),
        Step::Publish => exchange.publish(),
        Step::Recycle => exchange.recycle(),
    }
}

/// Empties every place and answers with the chunks that were there.
fn empty(mut exchange: Exchange<Shared>, mut kernel: Kernel, held: VecDeque<Held>) -> Vec<u64> {
    let mut chunks = std::mem::take(&mut exchange.free);
    chunks.extend(held.into_iter().map(|held| exchange.umem.give_back(held)));
    exchange.publish();
    exchange.rings.rx.take(u32::MAX, |descriptor| chunks.push(descriptor.addr - START));
    exchange.rings.completion.take(u32::MAX, |address| chunks.push(address - START));
    kernel.fill.take(u32::MAX, |chunk| chunks.push(chunk));
    kernel.tx.take(u32::MAX, |descriptor| chunks.push(descriptor.addr - START));
    chunks.extend(kernel.to_receive);
    chunks.extend(kernel.sending.into_iter().map(|descriptor| descriptor.addr - START));
    chunks.sort_unstable();
    chunks
}

proptest! {
    /// Whatever happens in whatever order, every frame is in exactly one place.
    #[test]
    fn no_frame_is_lost_or_doubled(steps in prop::collection::vec(step(), 1..300)) {
        let (mut exchange, mut kernel) = exchange(16);
        let all = exchange.umem.chunks().collect::<Vec<_>>();
        let mut held = VecDeque::new();
        for step in steps {
            run(step, &mut exchange, &mut kernel, &mut held);
            let audit = exchange.audit();
            let inside = (kernel.to_receive.len() + kernel.sending.len()) as u32;
            prop_assert_eq!(audit.total() + inside, 16, "{:?}", audit);
            prop_assert_eq!(audit.held as usize, held.len());
            prop_assert!(audit.held + audit.tx <= 8, "what is held can be sent: {:?}", audit);
        }
        prop_assert_eq!(empty(exchange, kernel, held), all);
    }
}

/// All frames sent and none collected: no packet can come, so nothing but a short sleep helps.
#[test]
fn is_short_while_the_kernel_has_nothing_to_receive_into() {
    let (mut exchange, mut kernel) = exchange(8);
    assert!(exchange.is_short());
    exchange.recycle();
    assert!(!exchange.is_short());
    for _ in 0..2 {
        assert_eq!(kernel.receive(4, 60), 4);
        receive(&mut exchange, 4).into_iter().for_each(|held| exchange.send(held));
        exchange.publish();
        assert!(exchange.is_short(), "unsent");
        kernel.take(8);
    }
    assert!(exchange.is_short(), "nothing unsent, but nothing to receive into");
    kernel.complete(8);
    exchange.recycle();
    assert!(!exchange.is_short());
}

/// The same rings and packet memory, as another process maps them.
fn successor(exchange: Exchange<Shared>) -> (Exchange<Shared>, Vec<u64>) {
    let free = exchange.free.clone();
    let Exchange { umem, rings, .. } = exchange;
    (Exchange::inherited(umem, rings), free)
}

// SAFETY, for all three: there is no other process in these tests, and nobody uses what a successor was made of.

fn take_over(exchange: &mut Exchange<Shared>, free: Vec<u64>) -> bool {
    // SAFETY: see above.
    unsafe { exchange.take_over(free) }
}

fn recover(exchange: &mut Exchange<Shared>) -> bool {
    // SAFETY: see above.
    unsafe { exchange.recover() }
}

fn recover_most(exchange: &mut Exchange<Shared>) -> Option<u32> {
    // SAFETY: see above.
    unsafe { exchange.recover_most() }
}

/// Neither before a process has taken over nor after it has left does anything move, whatever it is asked.
#[test]
fn nothing_moves_while_it_is_another_process_s_turn() {
    let (mut exchange, mut kernel) = exchange(64);
    exchange.recycle();
    kernel.receive(9, 60);
    let stands_still = |exchange: &mut Exchange<Shared>| {
        let before = exchange.audit();
        assert!(receive(exchange, 64).is_empty() && exchange.allocate(60).is_none());
        exchange.publish();
        exchange.recycle();
        assert_eq!(exchange.audit(), before);
    };
    exchange.leave();
    stands_still(&mut exchange);
    let (mut next, free) = successor(exchange);
    stands_still(&mut next);
    assert!(take_over(&mut next, free));
    let mut batch = receive(&mut next, 64);
    assert_eq!(batch.len(), 9);
    let last = batch.pop().expect("nine");
    batch.into_iter().for_each(|held| next.release(held));
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| next.leave().len()));
    assert!(left.is_err(), "a frame is held");
    next.release(last);
    next.leave();
    stands_still(&mut next);
    assert!(recover(&mut next));
    assert_eq!(next.allocate(60).map(|held| next.release(held)), Some(()));
}

#[test]
fn a_successor_goes_on_with_every_frame_where_it_is() {
    let (mut exchange, mut kernel) = exchange(64);
    exchange.recycle();
    assert_eq!(kernel.receive(9, 60), 9);
    for held in receive(&mut exchange, 5) {
        exchange.send(held);
    }
    exchange.publish();
    kernel.take(2);
    kernel.complete(1);
    let before = exchange.audit();
    let (mut next, free) = successor(exchange);
    assert!(take_over(&mut next, free));
    assert_eq!(next.audit(), before);
    assert_eq!(receive(&mut next, 64).len(), 4, "what came meanwhile is there");
}

#[test]
fn a_list_of_free_frames_that_cannot_be_is_refused() {
    let (mut exchange, mut kernel) = exchange(64);
    exchange.recycle();
    kernel.receive(3, 60);
    let (mut next, free) = successor(exchange);
    let in_fill = {
        let mut first = None;
        next.rings.fill.look(|chunk| first = first.or(Some(chunk)));
        first.expect("frames are lent")
    };
    let chunk = u64::from(CHUNK);
    for wrong in [vec![in_fill], vec![free[0], free[0]], vec![free[0] + 1], vec![64 * chunk], vec![u64::MAX]] {
        assert!(!take_over(&mut next, wrong.clone()), "{wrong:?}");
    }
    assert!(take_over(&mut next, free));
}

#[test]
fn after_a_death_the_frames_that_are_nowhere_are_free() {
    let (mut exchange, mut kernel) = exchange(64);
    exchange.recycle();
    kernel.receive(10, 60);
    let mut batch = receive(&mut exchange, 6);
    // Two are queued, four are in hand: that process dies.
    exchange.send(batch.pop().expect("six"));
    exchange.send(batch.pop().expect("five"));
    exchange.publish();
    let (mut next, _) = successor(exchange);
    let frames_in = |audit: Audit| (audit.rx, audit.tx, audit.fill + audit.free);
    let Kernel { fill, rx, to_receive, .. } = &mut kernel;
    fill.take(1, |chunk| to_receive.push_back(chunk));
    assert!(!recover(&mut next), "the kernel has a frame in its own hands");
    let addr = to_receive.pop_front().expect("it was lent") + START;
    assert!(rx.push(XdpDesc { addr, len: 60, options: XdpDescOptions::empty() }));
    rx.publish();
    kernel.take(1);
    assert!(!recover(&mut next), "one is being sent");
    kernel.complete(1);
    assert!(recover(&mut next));
    assert_eq!(next.audit().total(), 64);
    assert_eq!(frames_in(next.audit()), (5, 1, 57));
}

/// A driver that does not copy always has frames in its own hands. A successor that fails before its first batch has
/// touched nothing, so what was free is still known.
#[test]
fn after_a_successor_that_touched_no_ring_the_same_frames_are_free() {
    let (mut exchange, mut kernel) = exchange(64);
    exchange.recycle();
    kernel.receive(3, 60);
    kernel.fill.take(20, |chunk| kernel.to_receive.push_back(chunk));
    let (before, free) = (exchange.audit(), exchange.leave().to_vec());
    kernel.receive(2, 60);
    assert!(recover(&mut exchange), "the kernel goes on, but no other process has");
    assert_eq!((exchange.free.clone(), exchange.audit().rx), (free, before.rx + 2));
    exchange.rings.rx.take(1, |_| ());
    assert!(!recover(&mut exchange), "somebody has a frame that is free or held");
}

/// Those that the driver keeps come back by the rings; those that the dead process had are lost, and none is ever twice.
#[test]
fn after_a_death_all_but_the_dead_process_s_own_frames_go_on() {
    let (mut exchange, mut kernel) = exchange(64);
    exchange.recycle();
    kernel.receive(9, 60);
    kernel.fill.take(20, |chunk| kernel.to_receive.push_back(chunk));
    let left = exchange.leave().to_vec();
    exchange.turn = Turn::Own;
    // The other process, which has died, took six, sent two of them and one that was free, and held four.
    let mut taken = receive(&mut exchange, 6);
    taken.drain(..2).for_each(|held| exchange.send(held));
    let own = exchange.allocate(60).expect("one is free");
    exchange.send(own);
    exchange.publish();
    kernel.take(1);
    let given_up = left.len() as u32 - 1 + 4;
    let (mut next, _) = successor(exchange);
    next.free = left;
    assert!(!recover(&mut next));
    assert_eq!(recover_most(&mut next), Some(given_up));
    kernel.receive(20, 60);
    receive(&mut next, 64).into_iter().for_each(|held| next.release(held));
    kernel.complete(9);
    next.recycle();
    let mut chunks = empty(next, kernel, VecDeque::new());
    let count = chunks.len();
    chunks.dedup();
    assert_eq!((chunks.len(), count as u32), (count, 64 - given_up));
}

#[test]
fn too_few_frames_to_go_on_with_are_none() {
    let (mut exchange, mut kernel) = exchange(64);
    exchange.recycle();
    kernel.receive(32, 60);
    let taken = receive(&mut exchange, 32);
    assert_eq!(taken.len(), 32);
    let before = exchange.audit();
    assert_eq!((recover_most(&mut exchange), exchange.audit()), (None, before));
}
