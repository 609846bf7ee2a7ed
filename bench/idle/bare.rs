//! How soon this machine wakes a thread that does nothing but sleep: what no worker can be faster than.

use std::io::{PipeReader, Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Nanoseconds from a write to a pipe on the first core until its reader runs on the last one, which has had nothing to do for
/// `pause`; so many times, in order of size. The calling thread goes back to where it was.
pub fn wakes(count: usize, pause: Duration) -> Vec<u64> {
    let before = sched_getaffinity(None).expect("of this thread");
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)).collect();
    let (reader, mut writer) = pipe().expect("a pipe");
    let sleeper = {
        let core = cores[cores.len() - 1];
        thread::spawn(move || run_on(core, || heard(reader)))
    };
    let told: Vec<Instant> = run_on(cores[0], || {
        let tell = |_| {
            thread::sleep(pause);
            let now = Instant::now();
            writer.write_all(&[0]).expect("somebody reads");
            now
        };
        (0..count).map(tell).collect()
    });
    drop(writer);
    sched_setaffinity(None, &before).expect("as before");
    let heard = sleeper.join().expect("it has read all");
    let mut wakes: Vec<u64> = told.iter().zip(heard).map(|(told, heard)| (heard - *told).as_nanos() as u64).collect();
    wakes.sort_unstable();
    wakes
}

fn run_on<T>(core: usize, work: impl FnOnce() -> T) -> T {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("it is one of ours");
    work()
}

/// When each byte came.
fn heard(mut reader: PipeReader) -> Vec<Instant> {
    std::iter::from_fn(|| (reader.read(&mut [0]).expect("a pipe") > 0).then(Instant::now)).collect()
}
