//! Where the frames come from and go to: XDP programs (`testkit/src/traffic/generator.bpf.c`). No socket is in the way, so that
//! one core can offer more than any forwarder takes.
#![allow(unsafe_code, reason = "pthread_kill(3) has no safe wrapper")]

use std::io::ErrorKind;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp, xdp::XdpMode};
use core_affinity::CoreId;
use signal_hook::consts::SIGUSR1;
use testkit::traffic::GENERATOR;

/// Flows that the frames belong to, as the program has them, too.
pub const FLOWS: u32 = 4096;

/// Frames that the kernel has the generator look at before it passes on those that left.
const LOOKED_AT_ONCE: u32 = 64;
/// More looks than any time allows. A second call would cost 10 ms in which nothing leaves; so one is made, and interrupted.
const LOOKS: u32 = u32::MAX / 2;
/// Between two tries to interrupt it: the first may come before there is a call to interrupt.
const AGAIN: Duration = Duration::from_millis(1);
/// Nothing more comes back when nothing has for so long.
const SILENCE: Duration = Duration::from_millis(20);
/// Fields of `struct pace`.
const FIELDS: usize = 8;
const SENT: usize = 6;
const LATEST: usize = 7;

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Frames a second.
    pub rate: f64,
    /// So many leave together.
    pub burst: u64,
    /// How long.
    pub duration: Duration,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Frames sent.
    pub sent: u64,
    /// Frames that came back.
    pub returned: u64,
    /// Those of them that were back when the last left; what waited in queues then is not among them.
    pub in_time: u64,
    /// Frames sent a second; fewer than asked for where the generator lost its core or could do no more.
    pub rate: f64,
}

impl Outcome {
    /// The share that did not come back.
    pub fn loss(&self) -> f64 {
        1.0 - self.returned as f64 / self.sent.max(1) as f64
    }

    /// Frames a second that came back while frames were sent.
    pub fn throughput(&self) -> f64 {
        self.rate * self.in_time as f64 / self.sent.max(1) as f64
    }
}

/// The generator, and the sink at the same interface.
pub struct Traffic {
    loaded: Ebpf,
    interface_index: u32,
    core: usize,
    frame: Vec<u8>,
}

impl Traffic {
    /// Attaches the sink to an interface of this thread's network namespace, by which the frame will leave from `core`.
    pub fn open(interface: &str, interface_index: u32, core: usize, frame: Vec<u8>) -> anyhow::Result<Self> {
        // All it has to do is to interrupt a system call.
        signal_hook::flag::register(SIGUSR1, Arc::new(AtomicBool::new(false)))?;
        let mut loaded = Ebpf::load(GENERATOR)?;
        program(&mut loaded, "generate")?.load()?;
        let sink = program(&mut loaded, "sink")?;
        sink.load()?;
        sink.attach(interface, XdpMode::Driver).context("the sink cannot be attached")?;
        Ok(Self { loaded, interface_index, core, frame })
    }

    /// Sends, and waits for what comes back. This thread has to be in the network namespace of [`open`](Self::open).
    pub fn offer(&mut self, load: &Load) -> anyhow::Result<Outcome> {
        let interval = 1e9 * 1024.0 * load.burst as f64 / load.rate;
        let mut pace: Array<&mut MapData, [u64; FIELDS]> = self.loaded.map_mut("pace").context("a map")?.try_into()?;
        pace.set(0, [self.interface_index.into(), load.burst, interval as u64, 0, 0, 0, 0, 0], 0)?;
        let before = self.returned()?;
        let in_time = self.generate(load.duration)? - before;
        let pace: Array<&MapData, [u64; FIELDS]> = self.loaded.map("pace").context("a map")?.try_into()?;
        let (pace, in_seconds) = (pace.get(&0, 0)?, |time: f64| time / 1024.0 / 1e9);
        let sent = pace[SENT];
        let elapsed = in_seconds(pace[LATEST] as f64 + interval);
        let returned = self.wait_for(before + sent)? - before;
        Ok(Outcome { sent, returned, in_time, rate: sent as f64 / elapsed })
    }

    /// Has frames made on this thread, until the time is over; answers how many had come back by then.
    fn generate(&self, duration: Duration) -> anyhow::Result<u64> {
        core_affinity::set_for_current(CoreId { id: self.core });
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            repeat: LOOKS,
            attrs: TestRunAttrs::new().xdp_live_frames(LOOKED_AT_ONCE),
            ..TestRunOptions::new()
        };
        let generator: &Xdp = self.loaded.program("generate").context("the program is there")?.try_into()?;
        let over = AtomicBool::new(false);
        // SAFETY: it asks nothing of its caller.
        let own = unsafe { libc::pthread_self() };
        let (ended, returned) = thread::scope(|scope| {
            let interrupting = scope.spawn(|| {
                thread::sleep(duration);
                // Not after the call: it takes so long to end that the queues are empty then.
                let returned = self.returned();
                while !over.load(Ordering::Relaxed) {
                    // SAFETY: the thread lives, since it waits for this one before it leaves the scope.
                    unsafe { libc::pthread_kill(own, SIGUSR1) };
                    thread::sleep(AGAIN);
                }
                returned
            });
            let ended = generator.test_run(options);
            over.store(true, Ordering::Relaxed);
            (ended, interrupting.join())
        });
        let returned = returned.unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        match ended {
            Err(ProgramError::SyscallError(error)) if error.io_error.kind() == ErrorKind::Interrupted => returned,
            ended => ended.context("the kernel cannot make frames").and(returned),
        }
    }

    fn returned(&self) -> anyhow::Result<u64> {
        let returned: PerCpuArray<&MapData, u64> = self.loaded.map("returned").context("a map")?.try_into()?;
        Ok(returned.get(&0, 0)?.iter().sum())
    }

    /// Waits until all have come back, or no more come.
    fn wait_for(&self, all: u64) -> anyhow::Result<u64> {
        let mut last = (self.returned()?, Instant::now());
        while last.0 < all && last.1.elapsed() < SILENCE {
            thread::sleep(Duration::from_millis(1));
            let now = self.returned()?;
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        Ok(last.0)
    }
}

fn program<'a>(loaded: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    Ok(loaded.program_mut(name).context("the program is there")?.try_into()?)
}
