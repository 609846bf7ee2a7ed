//! Whoever sends the frames back.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use rustix::process::Signal;
use serde_json::json;

use crate::pair::{ENDPOINT, LINK, PORT, Pair, VIP};
use testkit::{Driver, Edge, Process, wait_until};

/// DPDK's forwarder; Debian has it in the package `dpdk-dev`.
pub const TESTPMD: &str = "dpdk-testpmd";
/// How long one may take to get ready.
const START: Duration = Duration::from_secs(20);
/// Starts before it is given up, and the pause between two.
const MOST_TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contestant {
    /// The daemon: looks up the VIP, chooses an endpoint, puts GRE over IPv6 in front
    Pointsman,
    /// testpmd, which sends frames back as they are
    TestpmdIo,
    /// testpmd, which exchanges the two MAC addresses
    TestpmdMacswap,
    /// This project's `io/xsk` alone; exchanges the MAC addresses
    IoXsk,
    /// The crate afxdp; exchanges the MAC addresses
    #[cfg(feature = "yardsticks")]
    Afxdp,
}

impl Contestant {
    /// Its name as the command line has it.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it is DPDK's.
    pub fn is_testpmd(self) -> bool {
        matches!(self, Self::TestpmdIo | Self::TestpmdMacswap)
    }

    /// Starts it at the node's end of the pair, on one core.
    pub fn start<'a>(self, pair: &'a Pair, options: &Options) -> anyhow::Result<Running<'a>> {
        let mut tries = MOST_TRIES;
        loop {
            pair.tidy();
            match self.try_start(pair, options) {
                // The queue may still be its last owner's, which has ended.
                Err(_) if tries > 1 => tries -= 1,
                started => return started,
            }
            thread::sleep(PAUSE);
        }
    }

    fn try_start<'a>(self, pair: &'a Pair, options: &Options) -> anyhow::Result<Running<'a>> {
        let process = match self {
            Self::Pointsman => return Ok(Running::Daemon(daemon(pair, options))),
            Self::TestpmdIo => testpmd(pair, options, "io")?,
            Self::TestpmdMacswap => testpmd(pair, options, "macswap")?,
            _ => reflector(pair, options, &self.name())?,
        };
        Ok(Running::Process(process))
    }
}

/// How they are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The forwarder's core.
    pub core: usize,
    /// Another one, for threads that do not forward.
    pub other_core: usize,
    /// The most frames testpmd takes at once.
    pub testpmd_burst: u32,
    /// More keys of pointsman's section `[interface]`.
    pub interface: String,
    /// More arguments of testpmd's device.
    pub testpmd_device: String,
}

/// One that runs; it ends when dropped.
pub enum Running<'a> {
    Daemon(Edge<'a>),
    Process(Process),
}

impl Running<'_> {
    fn pid(&self) -> i32 {
        match self {
            Self::Daemon(edge) => edge.pid(),
            Self::Process(process) => process.pid().as_raw_nonzero().get(),
        }
    }

    /// How often the kernel has taken the core from its threads that are bound to it, until now.
    pub fn involuntary_switches(&self, core: usize) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let statuses = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
        let value = |status: &str, key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
        };
        statuses
            .filter(|status| value(status, "Cpus_allowed_list:") == Some(core.to_string()))
            .filter_map(|status| value(&status, "nonvoluntary_ctxt_switches:")?.parse::<u64>().ok())
            .sum()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        match self {
            Self::Daemon(edge) => edge.signal(signal),
            Self::Process(process) => process.signal(signal),
        }
    }

    /// Lets it end in peace, so that it takes its XDP program along.
    pub fn stop(self) {
        match self {
            Self::Daemon(mut edge) => drop(edge.stop()),
            Self::Process(process) => {
                process.signal(Signal::TERM);
                wait_until(START, || process.ended().is_some());
            }
        }
    }
}

fn daemon<'a>(pair: &'a Pair, options: &Options) -> Edge<'a> {
    let interface = format!("cores = [{}]\n{}", options.core, options.interface);
    let edge = Edge::builder(&pair.node, Driver::XdpNative).interface(&interface).start();
    edge.apply(json!([{
        "name": "bench", "vip": VIP.to_string(), "protocol": "udp", "ports": [PORT],
        "endpoints": [{ "name": "only", "address": ENDPOINT.to_string() }]
    }]));
    edge
}

fn testpmd(pair: &Pair, options: &Options, mode: &str) -> anyhow::Result<Process> {
    let cores = format!("{},{}", options.other_core, options.core);
    let main = options.other_core.to_string();
    let device = format!("net_af_xdp0,iface={LINK},start_queue=0,queue_count=1{}", options.testpmd_device);
    let (forward, burst) = (format!("--forward-mode={mode}"), format!("--burst={}", options.testpmd_burst));
    // Another one on this machine is none of its business, though it would think so.
    let prefix = format!("--file-prefix={}", pair.node.name());
    // Into a file it would keep its words to itself.
    let process = pair.node.spawn(&[
        "stdbuf",
        "-oL",
        TESTPMD,
        "-l",
        &cores,
        "--main-lcore",
        &main,
        &prefix,
        "--no-huge",
        "-m",
        "256",
        "--no-pci",
        "--no-telemetry",
        "--vdev",
        &device,
        "--",
        &forward,
        &burst,
        "--port-topology=loop",
        "--nb-cores=1",
        "--rxq=1",
        "--txq=1",
        "--rxd=2048",
        "--txd=2048",
        "--total-num-mbufs=16384",
    ]);
    until_it_says(&process, "Press enter to exit")?;
    Ok(process)
}

fn reflector(pair: &Pair, options: &Options, name: &str) -> anyhow::Result<Process> {
    let own: PathBuf = std::env::current_exe()?;
    let (own, core) = (own.to_str().context("this program's path is no text")?, options.core.to_string());
    let process = pair.node.spawn(&[own, "--reflect", name, "--core", &core]);
    until_it_says(&process, "ready")?;
    Ok(process)
}

fn until_it_says(process: &Process, words: &str) -> anyhow::Result<()> {
    let said = wait_until(START, || process.log().contains(words) || process.ended().is_some());
    ensure!(said, "it did not get ready within {START:?}:\n{}", process.log());
    if process.ended().is_some() {
        bail!("it has ended:\n{}", process.log());
    }
    Ok(())
}
