//! Hands a running daemon over to another process, without losing a packet: `predecessor` is the side of the process that
//! runs, `successor` that of the one it starts.

mod channel;
mod fault;
mod predecessor;
pub mod queue;
pub mod relay;
mod successor;

pub use predecessor::hand_over;
pub use successor::{inherited, succeed};

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a new process may take until it is ready to take the first worker; the old one forwards meanwhile.
const PREPARE_LIMIT: Duration = Duration::from_secs(20);
/// How long a step may take by which no worker stands still.
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// How long a worker may take to go on in the new process, when it has been told all. Packets wait in its ring meanwhile, and
/// the ring does not hold for long: 20 ms at 100,000 packets a second. A worker takes a few milliseconds; a machine so busy
/// that it takes a hundred times as long is left room for, and a process that stands still costs no more than this.
const TAKE_LIMIT: Duration = Duration::from_secs(1);
/// How long the new process may take from the last worker until it is the daemon. It loads the steering program and lists
/// routes meanwhile, while its workers forward.
const DONE_LIMIT: Duration = Duration::from_secs(1);

/// The path at which this process's program stood, or stands: what is found there later is the next version.
pub fn own_binary() -> std::io::Result<PathBuf> {
    Ok(without_mark(&std::env::current_exe()?))
}

/// The kernel marks the path of a program that was replaced before it was asked.
fn without_mark(path: &Path) -> PathBuf {
    let name = path.to_string_lossy();
    match name.strip_suffix(" (deleted)") {
        Some(plain) if !path.exists() => PathBuf::from(plain),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_found_where_it_stood() {
        assert_eq!(without_mark(Path::new("/usr/bin/pointsman (deleted)")), Path::new("/usr/bin/pointsman"));
        assert_eq!(without_mark(Path::new("/usr/bin/pointsman")), Path::new("/usr/bin/pointsman"));
    }
}
