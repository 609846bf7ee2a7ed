//! Timing on a machine that others use, too: all subjects take turns in one run, so that what slows the machine down
//! slows all of them down; a sample in which the kernel gave the core to somebody else is taken again; figures are
//! medians, and what is compared is compared within a round.

pub mod figures;
mod switches;
pub mod targets;
pub mod yardstick;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use figures::Figures;

/// How often a sample that was disturbed is taken again before it counts as it is.
const MOST_TRIES: usize = 10;

/// One thing that is timed.
pub trait Subject {
    /// Brings the caches to what they are while nothing else runs.
    fn warm_up(&mut self) {}

    /// Takes a sample: some tenths of a millisecond, so that most are not disturbed.
    fn sample(&mut self) -> Sample;
}

/// What one sample took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// All of it.
    pub elapsed: Duration,
    /// By so many packets, or whatever is counted.
    pub count: usize,
}

impl Sample {
    /// Times all of `work`, which does something `count` times.
    pub fn of(count: usize, work: impl FnOnce()) -> Self {
        let start = Instant::now();
        work();
        Self { elapsed: start.elapsed(), count }
    }

    fn nanoseconds(self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.count as f64
    }
}

impl<T: FnMut() -> Sample> Subject for T {
    fn sample(&mut self) -> Sample {
        self()
    }
}

/// Takes one sample of each subject in each round, and shows how far it is.
pub fn measure(mut subjects: Vec<(String, Box<dyn Subject + '_>)>, rounds: usize) -> Figures {
    let mut figures = Figures::new(subjects.iter().map(|(name, _)| name.clone()));
    let (start, mut said) = (Instant::now(), Instant::now());
    for round in 0..rounds {
        // Each has each other before it equally often, as far as that goes: what one leaves in the caches hits no other alone.
        let count = subjects.len();
        for at in 0..count {
            let at = if round % 2 == 0 { (round + at) % count } else { (round + count - at) % count };
            let sample = undisturbed(&mut *subjects[at].1, &mut figures.disturbed);
            figures.add(at, sample.nanoseconds());
        }
        if said.elapsed() > Duration::from_secs(2) {
            said = Instant::now();
            eprintln!("round {} of {rounds}, {:.0} s", round + 1, start.elapsed().as_secs_f64());
        }
    }
    figures
}

fn undisturbed(subject: &mut dyn Subject, disturbed: &mut usize) -> Sample {
    subject.warm_up();
    for _ in 1..MOST_TRIES {
        let before = switches::involuntary();
        let sample = subject.sample();
        if switches::involuntary() == before {
            return sample;
        }
        *disturbed += 1;
    }
    subject.sample()
}

/// Begins anew with malloc asking for huge pages, as the daemon's unit has it, unless the environment says something else.
pub fn use_huge_pages() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if std::env::var_os(TUNABLES).is_none()
        && let Ok(own) = std::env::current_exe()
    {
        let error = Command::new(own).args(std::env::args_os().skip(1)).env(TUNABLES, "glibc.malloc.hugetlb=1").exec();
        eprintln!("without huge pages: {error}");
    }
}

/// Stays on one core from now on: the last, which has the fewest interrupts.
pub fn use_one_core() {
    if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.last().copied()) {
        core_affinity::set_for_current(core);
    }
}
