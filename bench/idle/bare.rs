//! How soon this machine wakes a thread that does nothing but sleep: what no worker can be faster than.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

/// Nanoseconds from a write to a pipe on the first core until its reader runs on the last one, which has had nothing to do for
/// `pause`; so many times, in order of size.
pub fn wakes(count: usize, pause: Duration) -> Vec<u64> {
    let cores = core_affinity::get_core_ids().expect("the kernel says which");
    let (first, last) = (cores[0], cores[cores.len() - 1]);
    let (reader, writer) = pipe().expect("a pipe");
    let (told, heard) = thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            core_affinity::set_for_current(last);
            heard(reader)
        });
        let teller = scope.spawn(move || {
            core_affinity::set_for_current(first);
            tell(writer, count, pause)
        });
        (teller.join().expect("somebody reads"), sleeper.join().expect("it has read all"))
    });
    let mut wakes: Vec<u64> = told.iter().zip(heard).map(|(told, heard)| (heard - *told).as_nanos() as u64).collect();
    wakes.sort_unstable();
    wakes
}

/// Writes a byte after each pause, and answers when.
fn tell(mut writer: PipeWriter, count: usize, pause: Duration) -> Vec<Instant> {
    let tell = |_| {
        thread::sleep(pause);
        let now = Instant::now();
        writer.write_all(&[0]).expect("somebody reads");
        now
    };
    (0..count).map(tell).collect()
}

/// When each byte came.
fn heard(mut reader: PipeReader) -> Vec<Instant> {
    std::iter::from_fn(|| (reader.read(&mut [0]).expect("a pipe") > 0).then(Instant::now)).collect()
}
