//! Which cores are the workers'; whatever else the daemon does leaves them alone where there are others. Building the tables
//! of a large set takes a second, and the kernel would let a worker wait for milliseconds of it.

use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::DaemonError;
use crate::config::Config;

/// Cores by number.
pub struct Cores {
    /// Those that this process may use, as it was started.
    there: Vec<usize>,
    /// Those of workers.
    taken: Vec<usize>,
}

impl Cores {
    /// Those of the calling thread, none of which a worker has.
    pub fn of_this_thread() -> Self {
        let there = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        Self { there, taken: Vec::new() }
    }

    /// One core a queue: as configured, or the last ones first, since the first usually serves interrupts.
    pub fn choose(&self, config: &Config, queues: usize) -> Result<Vec<usize>, DaemonError> {
        if self.there.is_empty() {
            return Err(io::Error::other("the kernel does not say which cores this process may use").into());
        }
        let Some(wanted) = &config.interface.cores else {
            return Ok(self.there.iter().rev().copied().cycle().take(queues).collect());
        };
        if wanted.len() != queues {
            return Err(DaemonError::CoresForQueues { cores: wanted.len(), queues });
        }
        if let Some(core) = wanted.iter().find(|core| !self.there.contains(core)) {
            let there = self.there.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            return Err(DaemonError::NoCore { core: *core, there });
        }
        Ok(wanted.clone())
    }

    /// From now on the calling thread, and what it starts, runs on cores that no worker has. Where there are none, it shares
    /// them.
    pub fn leave_to(&mut self, workers: &[usize]) {
        self.taken = workers.to_vec();
        self.step_aside();
    }

    /// Starts another program, on all of them: it has workers of its own, and chooses for itself.
    pub fn handed_on<T>(&self, start: impl FnOnce() -> T) -> T {
        if let Err(error) = run_on(self.there.iter()) {
            tracing::warn!("the new process may not have the workers' cores: {error}");
        }
        let result = start();
        self.step_aside();
        result
    }

    fn step_aside(&self) {
        let others = self.there.iter().filter(|core| !self.taken.contains(core));
        if let Err(error) = run_on(others).or_else(|_| run_on(self.there.iter())) {
            tracing::warn!("the control thread may get into the workers' way; it cannot leave their cores: {error}");
        }
    }
}

/// Has the calling thread run on these cores.
///
/// # Errors
/// There are none, or the kernel will not have it.
fn run_on<'a>(cores: impl Iterator<Item = &'a usize>) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.filter(|core| **core < CpuSet::MAX_CPU).for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}
