//! A minimal XDP program that forwards by Maglev (`yardstick.bpf.c`), run by the kernel over one frame again and again.
#![allow(unsafe_code, reason = "bpf(2) has no safe wrapper for BPF_PROG_TEST_RUN")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::{Context, ensure};
use aya::maps::{Array, HashMap, MapData};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};

use pointsman::maglev::{Candidate, build};
use pointsman::wire::Family;

use crate::measure::Sample;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/yardstick.bpf.o"));
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const XDP_TX: u32 = 3;

/// As the program has them, too.
const SERVICES: u32 = 6;
const ENDPOINTS: u32 = 100;
const TABLE_SIZE: u32 = 65_537;
/// What is put in front: IPv6 and GRE, in bytes.
const OUTER: usize = 44;
/// Runs of a sample.
const RUNS: u32 = 20_000;

/// What a run of the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Task {
    /// Forwards.
    Show = 0,
    /// Forwards, and takes the outer headers off again, so that the next run finds the frame as it was.
    Repeat = 1,
    /// Moves the frame's start back and forth.
    Bare = 2,
    /// Nothing.
    Nothing = 3,
}

/// The program, loaded for one task.
pub struct Yardstick {
    loaded: Ebpf,
}

impl Yardstick {
    /// Loads the program, with a VIP for each service: that of `frame` is the first one's.
    pub fn load(task: Task, family: Family, frame: &[u8]) -> anyhow::Result<Self> {
        let mut loaded = EbpfLoader::new().override_global("task", &(task as u32), true).load(OBJECT)?;
        if matches!(task, Task::Show | Task::Repeat) {
            fill_vips(&mut loaded, family, frame)?;
            fill_slots(&mut loaded)?;
            fill_endpoints(&mut loaded)?;
        }
        let program: &mut Xdp = loaded.program_mut("yardstick").context("the program is there")?.try_into()?;
        program.load()?;
        Ok(Self { loaded })
    }

    /// Runs it once over a frame, and answers what leaves.
    pub fn forward(&self, frame: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut out = vec![0; frame.len() + OUTER];
        let len = self.run(frame, &mut out, 1)?.out_len;
        out.truncate(len as usize);
        Ok(out)
    }

    /// Runs it many times over a frame.
    pub fn sample(&self, frame: &[u8]) -> anyhow::Result<Sample> {
        let request = self.run(frame, &mut [], RUNS)?;
        Ok(Sample {
            elapsed: Duration::from_nanos(u64::from(request.duration) * u64::from(RUNS)),
            count: RUNS as usize,
        })
    }

    fn run(&self, frame: &[u8], out: &mut [u8], repeat: u32) -> anyhow::Result<TestRun> {
        let program: &Xdp = self.loaded.program("yardstick").context("the program is there")?.try_into()?;
        let mut request = TestRun {
            program: program.fd()?.as_fd().as_raw_fd().unsigned_abs(),
            verdict: 0,
            in_len: frame.len() as u32,
            out_len: out.len() as u32,
            input: frame.as_ptr() as u64,
            output: if out.is_empty() { 0 } else { out.as_mut_ptr() as u64 },
            repeat,
            duration: 0,
        };
        // SAFETY: TestRun is laid out as the head of `union bpf_attr` for this command; both buffers outlive the call and
        // are as long as it says.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, std::ptr::from_mut(&mut request), size_of::<TestRun>())
        };
        ensure!(result == 0, "the kernel did not run the yardstick: {}", io::Error::last_os_error());
        ensure!(request.verdict == XDP_TX, "the yardstick did not forward its packet (verdict {})", request.verdict);
        Ok(request)
    }
}

/// The head of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
struct TestRun {
    program: u32,
    verdict: u32,
    in_len: u32,
    out_len: u32,
    input: u64,
    output: u64,
    repeat: u32,
    /// Nanoseconds a run, without the time that others had the core.
    duration: u32,
}

/// Address, port, protocol and family, as `struct vip` has them.
fn fill_vips(loaded: &mut Ebpf, family: Family, frame: &[u8]) -> anyhow::Result<()> {
    let map = loaded.map_mut("vips").context("the map is there")?;
    let mut vips: HashMap<&mut MapData, [u8; 20], u32> = map.try_into()?;
    for service in 0..SERVICES {
        let mut key = [0; 20];
        let (address, port) = match family {
            Family::V4 => (&frame[30..34], &frame[36..38]),
            Family::V6 => (&frame[38..54], &frame[56..58]),
        };
        key[..address.len()].copy_from_slice(address);
        key[address.len() - 1] += service as u8;
        key[16..18].copy_from_slice(port);
        key[18] = 6;
        key[19] = if family == Family::V4 { 4 } else { 6 };
        vips.insert(key, service, 0)?;
    }
    Ok(())
}

fn fill_slots(loaded: &mut Ebpf) -> anyhow::Result<()> {
    let map = loaded.map_mut("slots").context("the map is there")?;
    let mut slots: Array<&mut MapData, u32> = map.try_into()?;
    let names: Vec<String> = (0..ENDPOINTS).map(|number| format!("endpoint-{number}")).collect();
    let candidates: Vec<Candidate<'_>> = names.iter().map(|name| Candidate { name, weight: 1 }).collect();
    let table = build(&candidates, TABLE_SIZE);
    // Those of the first service: its VIP alone gets packets.
    for (slot, index) in (0..).zip(&table) {
        slots.set(slot, u32::from(*index), 0)?;
    }
    Ok(())
}

fn fill_endpoints(loaded: &mut Ebpf) -> anyhow::Result<()> {
    let map = loaded.map_mut("endpoints").context("the map is there")?;
    let mut endpoints: Array<&mut MapData, [u8; 16]> = map.try_into()?;
    for number in 0..SERVICES * ENDPOINTS {
        let address = (0x2001_0db8_0010_u128 << 80) | u128::from(number);
        endpoints.set(number, address.to_be_bytes(), 0)?;
    }
    Ok(())
}

/// Sees that the program makes of this frame what it should: outer headers, and the packet behind them unchanged.
pub fn check(family: Family, frame: &[u8]) -> anyhow::Result<()> {
    let out = Yardstick::load(Task::Show, family, frame)?.forward(frame)?;
    ensure!(out[12..14] == [0x86, 0xdd] && out[14 + 6] == 47, "the yardstick puts no GRE over IPv6 in front");
    ensure!(out[14 + 40..][..4] == [0, 0, frame[12], frame[13]], "the yardstick's GRE header is wrong");
    ensure!(out[14 + OUTER..] == frame[14..], "the yardstick changes the packet");
    Ok(())
}
