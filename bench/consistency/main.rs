//! How many flows a change of endpoints breaks: pointsman, Maglev alone and full connection tracking side by side, with
//! the same flows in the same run. `bench/README.md` says how to read it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;

use testkit::simulator::report::describe;
use testkit::simulator::run::{Outcome, run};
use testkit::simulator::scenarios::{Scenario, all};

#[derive(Debug, Parser)]
#[command(about = "How many flows a change of endpoints breaks")]
struct Arguments {
    /// Flows at any time
    #[arg(long, default_value_t = 1_000_000)]
    flows: usize,
    /// Only this scenario; may be given more than once
    #[arg(long)]
    scenario: Vec<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let known = all();
    if let Some(unknown) = arguments.scenario.iter().find(|name| !known.iter().any(|known| known.name == **name)) {
        let names: Vec<&str> = known.iter().map(|scenario| scenario.name).collect();
        eprintln!("there is no scenario \"{unknown}\"; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    let is_wanted = |scenario: &Scenario| {
        arguments.scenario.is_empty() || arguments.scenario.iter().any(|name| name == scenario.name)
    };
    let wanted: Vec<Scenario> = known.into_iter().filter(is_wanted).collect();
    let outcomes = run_all(&wanted, arguments.flows);
    let mut missed = 0;
    for (scenario, outcome) in wanted.iter().zip(&outcomes) {
        println!("\n{}", describe(scenario, outcome));
        missed += scenario.missed(outcome).len();
    }
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs the scenarios, one a core at a time; what comes of each does not depend on the others.
fn run_all(scenarios: &[Scenario], flows: usize) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<Outcome>>> = scenarios.iter().map(|_| Mutex::default()).collect();
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(at) else { return };
            let outcome = run_one(scenario, flows);
            *outcomes[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| (0..cores).for_each(|_| _ = scope.spawn(work)));
    outcomes.into_iter().filter_map(|outcome| outcome.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

fn run_one(scenario: &Scenario, flows: usize) -> Outcome {
    let start = Instant::now();
    let outcome = run(scenario, flows, |second| {
        if second % 300 == 0 {
            eprintln!("{:>16}: second {second} of {}", scenario.name, scenario.end);
        }
    });
    eprintln!("{:>16}: done in {:.1} s", scenario.name, start.elapsed().as_secs_f64());
    outcome
}
