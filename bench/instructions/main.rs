//! How many instructions forward() takes for a packet, counted by valgrind: the same in every run, whatever else the machine
//! does. Fails where it is more than what `recorded` says. `bench/README.md` says more.

mod recorded;

use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use clap::Parser;

use pointsman::forward::Flows;
use pointsman::snapshot::Snapshot;
use pointsman::wire::Family::{self, V4, V6};

use recorded::Recorded;
use testkit::scene::batch::{BATCH, Batch, Kind};
use testkit::scene::flows::Order;
use testkit::scene::node::{Endpoints, Node, Services, WINDOW};
use testkit::scene::steps::Steps;

/// Counts the instructions that forward() takes for a packet (by valgrind), and fails where they are more than recorded
#[derive(Debug, Parser)]
struct Arguments {
    /// Records what is counted now
    #[arg(long)]
    record: bool,
    /// What valgrind runs: a case, by number
    #[arg(long, hide = true)]
    run: Option<usize>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// A case's name, its family, and whether its flows are tracked.
const CASES: [(&str, Family, bool); 4] = [
    ("IPv4", V4, false),
    ("IPv6", V6, false),
    ("IPv4, handover open, tracked", V4, true),
    ("IPv6, handover open, tracked", V6, true),
];
const FLOWS: u32 = 4_096;
const BATCHES: usize = 64;

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some((_, family, is_tracked)) = arguments.run.and_then(|case| CASES.get(case)) {
        run(*family, *is_tracked);
        return Ok(ExitCode::SUCCESS);
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        ensure!(
            !testkit::is_ci(),
            "there is no valgrind (`make deps` installs it), and with CI=true this may not be skipped"
        );
        println!("skipped: there is no valgrind (`make deps` installs it)");
        return Ok(ExitCode::SUCCESS);
    }
    let mut counted = Vec::new();
    for (case, (name, ..)) in CASES.iter().enumerate() {
        counted.push(((*name).to_owned(), count(case)? as f64 / (BATCHES * BATCH) as f64));
    }
    if arguments.record {
        Recorded::write(&counted)?;
    }
    Ok(if Recorded::read()?.holds(&counted) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Has valgrind count what [`counted_batch`] does, and all that it calls.
fn count(case: usize) -> anyhow::Result<u64> {
    let directory = tempfile::tempdir()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_batch*"])
        .arg(format!("--callgrind-out-file={}", directory.path().join("out").display()))
        .arg(std::env::current_exe()?)
        .arg(format!("--run={case}"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).context("valgrind counted nothing")?;
    Ok(collected.1.trim().parse()?)
}

/// What is counted in: always the same packets.
fn run(family: Family, is_tracked: bool) {
    let matching = r#","protocol":"tcp","ports":[80]"#;
    let mut node = Node::new(Services { family, count: 6, endpoints: 100, table_size: None, matching });
    if is_tracked {
        node.apply(Endpoints::Replaced, 0);
    }
    let snapshot = node.snapshot();
    let (mut batch, mut flows) = (Batch::new(family, Kind::Segment, 6), Flows::new(4 * FLOWS as usize, WINDOW));
    let mut steps = Steps::default();
    // Once without counting: from then on each flow is tracked, if any is.
    for first in (0..FLOWS).step_by(BATCH) {
        (0..BATCH).for_each(|at| batch.fill(at, first + at as u32));
        steps.forward(&mut batch, &snapshot, &mut flows);
    }
    assert_eq!(flows.tracked().is_empty(), !is_tracked);
    let mut order = Order::random(FLOWS);
    for _ in 0..BATCHES {
        (0..BATCH).for_each(|at| batch.fill(at, order.pick()));
        counted_batch(&mut steps, &mut batch, &snapshot, &mut flows);
    }
}

#[inline(never)]
fn counted_batch(steps: &mut Steps, batch: &mut Batch, snapshot: &Snapshot, flows: &mut Flows) {
    steps.forward(batch, snapshot, flows);
}
