//! Nanoseconds a packet that forward() takes, beside a minimal XDP program that does the same on the same core, in turns.
//! `bench/README.md` says how to read it.

mod cases;
mod report;
mod subject;

use std::process::ExitCode;

use clap::Parser;

use cases::Case;
use subject::Ready;
use testkit::measure::yardstick::Yardstick;
use testkit::measure::{Subject, measure, use_huge_pages, use_one_core};
use testkit::scene::batch::{Batch, Kind};

/// Nanoseconds a packet that forward() takes, in batches of 64 frames of 128 bytes over GRE/IPv6, beside a minimal XDP
/// program (the yardstick; needs root) that the kernel runs on the same core in turns with it
#[derive(Debug, Parser)]
struct Arguments {
    /// Samples of each case
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Flows of the cases with many
    #[arg(long, default_value_t = 1_000_000)]
    flows: u32,
    /// Only cases whose name contains this; may be given more than once
    #[arg(long)]
    case: Vec<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    use_huge_pages();
    use_one_core();
    let wanted = |case: &Case| arguments.case.is_empty() || arguments.case.iter().any(|part| case.name.contains(part));
    let cases: Vec<Case> = cases::all(arguments.flows).into_iter().filter(wanted).collect();
    if cases.is_empty() {
        eprintln!("no case has such a name");
        return ExitCode::from(2);
    }
    let yardsticks = load_yardsticks();
    let mut subjects: Vec<(String, Box<dyn Subject + '_>)> = Vec::new();
    for (name, yardstick, frame) in &yardsticks {
        let sample = || yardstick.sample(frame).expect("it has run before");
        subjects.push(((*name).to_owned(), Box::new(sample)));
    }
    for case in &cases {
        eprintln!("building: {}", case.name);
        subjects.push((case.name.clone(), Box::new(Ready::new(case, arguments.flows))));
    }
    let figures = measure(subjects, arguments.rounds);
    report::print(&cases, figures)
}

/// The yardstick for both families, and what it costs to run nothing; empty, with a word why, where it cannot be loaded.
fn load_yardsticks() -> Vec<(&'static str, Yardstick, Vec<u8>)> {
    let load = |(name, task, family)| {
        let mut batch = Batch::new(family, Kind::Segment, 6);
        batch.fill(0, 0);
        let frame = batch.bytes(0).to_vec();
        testkit::measure::yardstick::check(family, &frame)?;
        Ok((name, Yardstick::load(task, family, &frame)?, frame))
    };
    let all: anyhow::Result<Vec<_>> = report::YARDSTICKS.into_iter().map(load).collect();
    all.unwrap_or_else(|error| {
        let text = format!("{error:#}");
        eprintln!("skipped: the yardstick, which needs root: {}", text.lines().next().unwrap_or_default());
        Vec::new()
    })
}
