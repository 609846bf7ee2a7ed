//! AF_XDP over veth: the best paced load without loss of pointsman and of DPDK's testpmd, or what comes back of more than
//! they can forward. Needs root; `bench/README.md` says how to read it.

mod contestants;
mod pair;
mod reflect;
mod saturation;
mod search;
mod table;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::ArgPredicate;
use clap::{Parser, ValueEnum};
use core_affinity::CoreId;

use contestants::{Contestant, Options};
use pair::{LENGTH, LINK, Pair};
use search::{Search, Terms};
use table::Table;
use traffic::{FLOWS, Traffic};

/// The best paced load without loss over a veth pair: pointsman beside DPDK's testpmd (needs root, and dpdk-testpmd)
#[derive(Debug, Parser)]
struct Arguments {
    /// Offer the highest load instead, and count what comes back: all contestants are started once, each on a pair of its
    /// own, and take turns in short slices, in which all but one are stopped (60 rounds of 50 milliseconds unless told)
    #[arg(long)]
    saturate: bool,
    /// Rounds; in each, every contestant is started anew and its best load looked for, or has its slice
    #[arg(long, default_value_t = 5, default_value_if("saturate", ArgPredicate::IsPresent, "60"))]
    rounds: usize,
    /// This one alone, or those that are named so one after the other; all where none is
    #[arg(long)]
    contestant: Vec<Contestant>,
    /// How long a load is offered, in milliseconds
    #[arg(long, default_value_t = 500, default_value_if("saturate", ArgPredicate::IsPresent, "50"))]
    milliseconds: u64,
    /// Frames that leave together
    #[arg(long, default_value_t = 32)]
    burst: u64,
    /// The share of frames that need not come back
    #[arg(long, default_value_t = 0.001)]
    loss: f64,
    /// Involuntary context switches of the forwarder beyond which a load that did not pass is offered again
    #[arg(long, default_value_t = 15)]
    switches: u64,
    /// The lowest load to begin with, in frames a second
    #[arg(long, default_value_t = 300_000.0)]
    lowest: f64,
    /// The highest; the one that saturates
    #[arg(long, default_value_t = 2_000_000.0)]
    highest: f64,
    /// More lines for pointsman's [interface], such as 'poll = "busy"'
    #[arg(long, default_value = "")]
    interface: String,
    /// More arguments of testpmd's device, such as ',busy_budget=0'
    #[arg(long, default_value = "")]
    testpmd_device: String,
    /// The most frames testpmd takes at once
    #[arg(long, default_value_t = 32)]
    testpmd_burst: u32,
    /// Show every load
    #[arg(long)]
    verbose: bool,
    /// Become a reflector, on this core
    #[arg(long, hide = true)]
    reflect: Option<Contestant>,
    #[arg(long, hide = true, default_value_t = 0)]
    core: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(contestant) = arguments.reflect {
        core_affinity::set_for_current(CoreId { id: arguments.core });
        return reflect::run(contestant).map(|()| ExitCode::SUCCESS);
    }
    if testkit::skipped() {
        return Ok(ExitCode::SUCCESS);
    }
    let (contestants, options) = (chosen(&arguments)?, options(&arguments)?);
    if arguments.saturate {
        return saturation::measure(&arguments, &contestants, &options).map(|table| table.print());
    }
    let mut contest = Contest::new(&arguments, contestants, options)?;
    contest.say_how();
    for round in 0..arguments.rounds {
        contest.play(round)?;
        eprintln!("round {} of {}: {}", round + 1, arguments.rounds, contest.table.latest_round());
    }
    let code = contest.table.print();
    println!("loads offered again because a core was taken away: {}", contest.discarded);
    Ok(code)
}

/// Whoever takes part; testpmd has to be there if it does.
fn chosen(arguments: &Arguments) -> anyhow::Result<Vec<Contestant>> {
    let mut chosen = arguments.contestant.clone();
    if chosen.is_empty() {
        chosen = Contestant::value_variants().to_vec();
    }
    if chosen.iter().any(|contestant| contestant.is_testpmd()) {
        let there = std::process::Command::new(contestants::TESTPMD).arg("--version").output();
        there.context(
            "dpdk-testpmd is not installed: scripts/install-missing dpdk-dev, or leave it out with --contestant",
        )?;
    }
    Ok(chosen)
}

/// How all of them are run.
fn options(arguments: &Arguments) -> anyhow::Result<Options> {
    let cores: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    // The last has the fewest interrupts.
    let (Some(&generator), Some(&core)) = (cores.first(), cores.last()) else {
        anyhow::bail!("the cores cannot be told");
    };
    anyhow::ensure!(core != generator, "two cores are needed: one for the forwarder, one for generator and sink");
    Ok(Options {
        core,
        other_core: generator,
        testpmd_burst: arguments.testpmd_burst,
        interface: arguments.interface.clone(),
        testpmd_device: arguments.testpmd_device.clone(),
    })
}

/// Says which core does what.
fn say_where(options: &Options) {
    println!(
        "forwarder on core {}, generator (XDP frames of the kernel's own) on core {}; sink: an XDP program that counts and \
         drops, run by whoever sends",
        options.core, options.other_core
    );
}

/// The numbers of all contestants in an order that changes from one round to the next.
fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |at| if round.is_multiple_of(2) { (round + at) % count } else { (round + count - at) % count })
}

/// All contestants, on one pair, with one generator and sink.
struct Contest<'a> {
    arguments: &'a Arguments,
    contestants: Vec<Contestant>,
    options: Options,
    terms: Terms,
    pair: Pair,
    traffic: Traffic,
    /// The best load of each, round by round.
    table: Table,
    discarded: u32,
}

impl<'a> Contest<'a> {
    fn new(arguments: &'a Arguments, contestants: Vec<Contestant>, options: Options) -> anyhow::Result<Self> {
        let terms = Terms {
            duration: Duration::from_millis(arguments.milliseconds),
            burst: arguments.burst,
            loss: arguments.loss,
            switches: arguments.switches,
            core: options.core,
            between: (arguments.lowest, arguments.highest),
        };
        let pair = Pair::new();
        let index = pair.outside_index();
        let traffic = pair.outside.inside(|| Traffic::open(LINK, index, options.other_core, pair::frame()))?;
        let table = Table::new(&contestants);
        Ok(Self { arguments, contestants, options, terms, pair, traffic, table, discarded: 0 })
    }

    fn say_how(&self) {
        let Terms { duration, burst, loss, .. } = self.terms;
        println!(
            "frames of {LENGTH} bytes, UDP of {FLOWS} flows, in bursts of {burst}; at most {:.2} % lost in {duration:?}",
            loss * 100.0
        );
        say_where(&self.options);
    }

    /// One round, in an order that changes from one to the next.
    fn play(&mut self, round: usize) -> anyhow::Result<()> {
        for at in order(round, self.contestants.len()) {
            let contestant = self.contestants[at];
            if self.arguments.verbose {
                eprintln!("{}", contestant.name());
            }
            let running = contestant.start(&self.pair, &self.options).with_context(|| contestant.name())?;
            let mut search = Search {
                pair: &self.pair,
                traffic: &mut self.traffic,
                running: &running,
                terms: &self.terms,
                discarded: 0,
                verbose: self.arguments.verbose,
            };
            let best = search.best(self.table.latest(at).filter(|best| *best > 0.0))?;
            self.discarded += search.discarded;
            self.table.add(at, best);
            running.stop();
        }
        Ok(())
    }
}
