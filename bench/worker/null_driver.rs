//! What the target is measured by: DPDK's testpmd, which receives from one null device, swaps the MAC addresses, and sends to
//! another.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Debian has it in the package `dpdk-dev`.
const TESTPMD: &str = "dpdk-testpmd";
/// What it prints once it forwards, and the row that has all packets that it has received.
const FORWARDS: &str = "Press enter to exit";
const ALL: &str = "Accumulated forward statistics";
/// How long it may take to start, and how long it works.
const START: Duration = Duration::from_secs(20);
const WORK: Duration = Duration::from_secs(1);

/// Nanoseconds a packet, by the time that its thread was on its core; as many samples as that. Empty where there is no testpmd.
///
/// # Errors
/// It does not do what it should; with its words.
pub fn nanoseconds(samples: usize) -> Result<Vec<f64>, String> {
    let cores: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let ([other, .., core], Ok(_)) = (&cores[..], Command::new(TESTPMD).arg("--version").output()) else {
        eprintln!("skipped: testpmd, which needs Debian's dpdk-dev and two cores");
        return Ok(Vec::new());
    };
    (0..samples).map(|_| sample(*core, *other)).collect()
}

fn sample(core: usize, other: usize) -> Result<f64, String> {
    let words = |error: std::io::Error| format!("{TESTPMD}: {error}");
    let log = tempfile::NamedTempFile::new().map_err(words)?;
    let mut testpmd = start(core, other, log.path()).map_err(words)?;
    let spent = until_it_says(&mut testpmd, log.path(), FORWARDS).and_then(|()| {
        thread::sleep(WORK);
        time_on_core(testpmd.id(), core)
    });
    if let Some(id) = Pid::from_raw(testpmd.id() as i32) {
        _ = kill_process(id, Signal::INT);
    }
    let log = testpmd.wait().map(|_| fs::read_to_string(log.path()).unwrap_or_default()).map_err(words)?;
    let packets = log.split_once(ALL).and_then(|(_, rows)| received(rows)).filter(|packets| *packets > 0.0);
    match (spent, packets) {
        (Some(spent), Some(packets)) => Ok(spent as f64 / packets),
        _ => Err(format!("{TESTPMD} has not forwarded:\n{log}")),
    }
}

fn start(core: usize, other: usize, log: &Path) -> std::io::Result<Child> {
    let log = fs::File::create(log)?;
    let mut testpmd = Command::new("stdbuf");
    testpmd.args(["-oL", TESTPMD, "-l", &format!("{other},{core}"), "--main-lcore", &other.to_string()]);
    testpmd.args(["--no-huge", "-m", "512", "--no-pci", "--no-telemetry"]);
    testpmd.args(["--file-prefix", &format!("pointsman-{}", std::process::id())]);
    testpmd.args(["--vdev", "net_null0,size=128", "--vdev", "net_null1,size=128", "--"]);
    testpmd.args(["--forward-mode=macswap", "--burst=64", "--nb-cores=1", "--total-num-mbufs=16384"]);
    // It ends when it can read no more, so it gets something that says nothing.
    testpmd.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn()
}

fn until_it_says(testpmd: &mut Child, log: &Path, words: &str) -> Option<()> {
    let end = Instant::now() + START;
    while Instant::now() < end && testpmd.try_wait().is_ok_and(|ended| ended.is_none()) {
        let mut said = String::new();
        fs::File::open(log).and_then(|mut log| log.read_to_string(&mut said)).ok()?;
        if said.contains(words) {
            return Some(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Nanoseconds for which the thread that forwards was on its core until now.
fn time_on_core(process: u32, core: usize) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten().map(|thread| thread.path());
    let forwards = |thread: &PathBuf| {
        let name = fs::read_to_string(thread.join("comm")).unwrap_or_default();
        name.trim().ends_with(&format!("worker-{core}"))
    };
    let spent = fs::read_to_string(threads.into_iter().find(forwards)?.join("schedstat")).ok()?;
    spent.split_whitespace().next()?.parse().ok()
}

fn received(rows: &str) -> Option<f64> {
    rows.split_once("RX-packets:")?.1.split_whitespace().next()?.parse().ok()
}
