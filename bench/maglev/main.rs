//! How long a Maglev table takes to build. `bench/README.md` says how to read it.

use std::hint::black_box;
use std::process::ExitCode;

use clap::Parser;

use pointsman::maglev::{Candidate, build};
use testkit::measure::targets::Targets;
use testkit::measure::{Sample, Subject, measure, use_one_core};

/// Milliseconds that a Maglev table takes to build, from the endpoints' names and weights
#[derive(Debug, Parser)]
struct Arguments {
    /// Builds of each table
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Slots, endpoints, whether these have weights (1 to 10), and the most milliseconds it may take.
const CASES: [(u32, usize, bool, f64); 4] = [
    (65_537, 1_000, false, 0.9),
    (65_537, 1_000, true, 1.1),
    (655_373, 10_000, false, 16.0),
    (655_373, 10_000, true, 19.0),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    use_one_core();
    let names: Vec<String> = (0..10_000).map(|number| format!("endpoint-{number}")).collect();
    let weight = |number: usize, is_weighted| if is_weighted { (number % 10 + 1) as u16 } else { 1 };
    let candidates = |count: usize, is_weighted| {
        let names = names.iter().take(count).enumerate();
        names.map(move |(number, name)| Candidate { name, weight: weight(number, is_weighted) }).collect()
    };
    let subjects = CASES.into_iter().map(|(size, count, is_weighted, _)| {
        let candidates: Vec<Candidate<'_>> = candidates(count, is_weighted);
        let sample = move || Sample::of(1, || _ = black_box(build(black_box(&candidates), size)));
        (name(size, count, is_weighted), Box::new(sample) as Box<dyn Subject>)
    });
    let figures = measure(subjects.collect(), arguments.rounds);
    let mut targets = Targets::default();
    println!("{:36} {:>8} {:>17} {:>8}", "", "ms", "middle half", "target");
    for (size, count, is_weighted, most) in CASES {
        let name = name(size, count, is_weighted);
        let Some(time) = figures.time(&name) else { continue };
        let [lower, median, upper] = [time.lower, time.median, time.upper].map(|nanoseconds| nanoseconds / 1e6);
        let missed = targets.check(median <= most);
        println!("{name:36} {median:8.3} {lower:7.3} ..{upper:7.3} {most:8.1}{missed}");
    }
    println!("samples taken again because the core was taken away: {}", figures.disturbed);
    targets.exit_code()
}

fn name(size: u32, count: usize, is_weighted: bool) -> String {
    format!("{size} slots, {count} endpoints{}", if is_weighted { ", weighted" } else { "" })
}
