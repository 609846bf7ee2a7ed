//! Where a worker shows its totals to the control side, whole or not at all.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;
use std::time::Duration;

use super::tally::{Tally, Traffic};
use super::timing::Timing;
use crate::forward::verdict::DropReason;
use crate::io::KernelStatistics;

const TOTALS: usize = 7;
const KERNEL: usize = 6;
const VALUES: usize = TOTALS + KERNEL + DropReason::COUNT;

/// How often a reader that meets a write half done looks again at once: a write takes some hundred nanoseconds.
const SPINS: u32 = 1_000;
/// Up to which look it only lets others run before.
const YIELDS: u32 = 1_100;
/// And how long it sleeps before each look from then on.
const PAUSE: Duration = Duration::from_micros(50);

/// One worker's board, on cache lines of its own. The worker writes once a batch; a reader that meets a write half
/// done looks again, so that what it reads always balances.
#[derive(Debug)]
#[repr(align(128))]
pub struct Board {
    /// Odd while a write is going on.
    version: AtomicU64,
    values: [AtomicU64; VALUES],
    timing: Timing,
}

impl Default for Board {
    fn default() -> Self {
        let values = std::array::from_fn(|_| AtomicU64::new(0));
        Self { version: AtomicU64::new(0), values, timing: Timing::default() }
    }
}

impl Board {
    /// Shows new totals. Only the worker that owns the board calls this.
    pub fn show_tally(&self, tally: &Tally) {
        let Tally { received, sent, answered, parts, drops } = tally;
        let [received, sent, answered] = [received, sent, answered].map(|traffic| [traffic.packets, traffic.bytes]);
        let totals = received.into_iter().chain(sent).chain(answered).chain([*parts]);
        self.write(|| {
            store(&self.values[..TOTALS], totals);
            store(&self.values[TOTALS + KERNEL..], drops.iter().copied());
        });
    }

    /// Shows new totals and what the kernel has counted. Only the worker that owns the board calls this.
    pub fn show(&self, tally: &Tally, kernel: &KernelStatistics) {
        self.show_tally(tally);
        self.write(|| store(&self.values[TOTALS..TOTALS + KERNEL], kernel.to_array()));
    }

    /// Where the worker's timing is handed over.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    fn write(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.version.store(version + 2, Ordering::Release);
    }

    /// Reads the totals of one moment.
    pub fn read(&self) -> (Tally, KernelStatistics) {
        let mut looks = 0_u32;
        loop {
            let before = self.version.load(Ordering::Acquire);
            let values: [u64; VALUES] = std::array::from_fn(|i| self.values[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return split(&values);
            }
            looks = looks.saturating_add(1);
            match looks {
                ..SPINS => std::hint::spin_loop(),
                // A worker that was interrupted on this very core goes on only when this thread lets it.
                ..YIELDS => thread::yield_now(),
                _ => thread::sleep(PAUSE),
            }
        }
    }
}

fn store(places: &[AtomicU64], values: impl IntoIterator<Item = u64>) {
    places.iter().zip(values).for_each(|(place, value)| place.store(value, Ordering::Relaxed));
}

fn split(values: &[u64; VALUES]) -> (Tally, KernelStatistics) {
    let traffic = |i: usize| Traffic { packets: values[i], bytes: values[i + 1] };
    let tally = Tally {
        received: traffic(0),
        sent: traffic(2),
        answered: traffic(4),
        parts: values[6],
        drops: std::array::from_fn(|i| values[TOTALS + KERNEL + i]),
    };
    (tally, KernelStatistics::from_array(std::array::from_fn(|i| values[TOTALS + i])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::verdict::Verdict;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn readers_always_see_a_balance() {
        let (board, stop) = (Board::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut tally = Tally::default();
                for i in 0.. {
                    let reason = DropReason::ALL[i % DropReason::COUNT];
                    tally.count(Verdict::Dropped(reason, None), 60, 0);
                    tally.count(Verdict::Forwarded(0, 0), 60, 104);
                    board.show(&tally, &KernelStatistics::default());
                    // A batch's work lies between two writes.
                    (0..500).for_each(|_| std::hint::spin_loop());
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let mut last = 0;
            for _ in 0..5_000 {
                let (tally, _) = board.read();
                assert!(tally.is_balanced() && tally.received.packets >= last, "{tally:?}");
                last = tally.received.packets;
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    /// As where the kernel has interrupted a worker in the middle of its write: the reader does not keep its core from it.
    #[test]
    fn who_waits_for_the_end_of_a_write_takes_no_core() {
        let (board, half) = (Board::default(), Duration::from_millis(200));
        board.version.store(1, Ordering::Relaxed);
        let took = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                board.read();
                rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)
            });
            thread::sleep(half);
            board.version.store(2, Ordering::Release);
            reader.join().expect("no panic")
        });
        assert!(took.tv_sec == 0 && (took.tv_nsec as u128) < half.as_nanos() / 4, "{took:?} of {half:?}");
    }

    #[test]
    fn what_is_shown_is_read() {
        let board = Board::default();
        let mut tally = Tally::default();
        tally.count(Verdict::Answered(0), 98, 98);
        tally.count(Verdict::Dropped(DropReason::TooBig, None), 1514, 0);
        let kernel = KernelStatistics { rx_dropped: 1, tx_ring_empty: 6, ..KernelStatistics::default() };
        board.show(&tally, &kernel);
        assert_eq!(board.read(), (tally, kernel));
    }
}
