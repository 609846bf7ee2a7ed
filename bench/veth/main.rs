//! AF_XDP over veth: the best paced load without loss of pointsman and of DPDK's testpmd. Needs root; `bench/README.md` says
//! how to read it.

mod contestants;
#[path = "../measure/figures.rs"]
#[allow(dead_code, reason = "the benches of measure/ need the rest")]
mod figures;
#[path = "../../tests/netns/mod.rs"]
mod netns;
mod pair;
mod reflect;
mod search;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use core_affinity::CoreId;

use contestants::{Contestant, Options};
use figures::Middle;
use pair::{LENGTH, LINK, Pair};
use search::{Search, Terms};
use traffic::{FLOWS, Traffic};

/// The best paced load without loss over a veth pair: pointsman beside DPDK's testpmd (needs root, and dpdk-testpmd)
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds; in each, every contestant is started anew and its best load looked for
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// This one alone, or those that are named so one after the other; all where none is
    #[arg(long)]
    contestant: Vec<Contestant>,
    /// How long a load is offered, in milliseconds
    #[arg(long, default_value_t = 500)]
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
    /// The highest
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
    if netns::skipped() {
        return Ok(ExitCode::SUCCESS);
    }
    let contestants = chosen(&arguments)?;
    let mut contest = Contest::new(&arguments, contestants)?;
    contest.say_how();
    for round in 0..arguments.rounds {
        contest.play(round)?;
        eprintln!("round {} of {}: {}", round + 1, arguments.rounds, contest.latest());
    }
    Ok(contest.report())
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

/// All contestants, on one pair, with one generator and sink.
struct Contest<'a> {
    arguments: &'a Arguments,
    contestants: Vec<Contestant>,
    options: Options,
    terms: Terms,
    pair: Pair,
    traffic: Traffic,
    /// Frames a second: the best of each, round by round.
    best: Vec<Vec<f64>>,
    discarded: u32,
}

impl<'a> Contest<'a> {
    fn new(arguments: &'a Arguments, contestants: Vec<Contestant>) -> anyhow::Result<Self> {
        let cores: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        // The last has the fewest interrupts.
        let (Some(&generator), Some(&core)) = (cores.first(), cores.last()) else {
            anyhow::bail!("the cores cannot be told");
        };
        anyhow::ensure!(core != generator, "two cores are needed: one for the forwarder, one for generator and sink");
        let options = Options {
            core,
            other_core: generator,
            testpmd_burst: arguments.testpmd_burst,
            interface: arguments.interface.clone(),
            testpmd_device: arguments.testpmd_device.clone(),
        };
        let terms = Terms {
            duration: Duration::from_millis(arguments.milliseconds),
            burst: arguments.burst,
            loss: arguments.loss,
            switches: arguments.switches,
            core,
            between: (arguments.lowest, arguments.highest),
        };
        let pair = Pair::new();
        let index = pair.outside_index();
        let traffic = pair.outside.inside(|| Traffic::open(LINK, index, generator, pair::frame()))?;
        let best = vec![Vec::new(); contestants.len()];
        Ok(Self { arguments, contestants, options, terms, pair, traffic, best, discarded: 0 })
    }

    fn say_how(&self) {
        let Terms { duration, burst, loss, core, .. } = self.terms;
        println!(
            "frames of {LENGTH} bytes, UDP of {FLOWS} flows, in bursts of {burst}; at most {:.2} % lost in {duration:?}",
            loss * 100.0
        );
        println!(
            "forwarder on core {core}, generator (XDP frames of the kernel's own) on core {}; sink: an XDP program that \
             counts and drops, run by whoever sends",
            self.options.other_core
        );
    }

    /// One round, in an order that changes from one to the next.
    fn play(&mut self, round: usize) -> anyhow::Result<()> {
        let count = self.contestants.len();
        for at in 0..count {
            let at = if round.is_multiple_of(2) { (round + at) % count } else { (round + count - at) % count };
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
            let best = search.best(self.best[at].last().copied().filter(|best| *best > 0.0))?;
            self.discarded += search.discarded;
            self.best[at].push(best);
            running.stop();
        }
        Ok(())
    }

    /// The latest round, in words.
    fn latest(&self) -> String {
        let words = self.contestants.iter().zip(&self.best);
        let words = words.map(|(contestant, best)| format!("{} {:.3}", contestant.name(), in_millions(best)));
        words.collect::<Vec<_>>().join(", ")
    }

    /// testpmd's best of each round; none where it took no part.
    fn yardstick(&self) -> Option<Vec<f64>> {
        let testpmd = || self.contestants.iter().zip(&self.best).filter(|(contestant, _)| contestant.is_testpmd());
        let of_round = |round: usize| testpmd().map(|(_, best)| best[round]).fold(0.0, f64::max);
        testpmd().next()?;
        Some((0..self.arguments.rounds).map(of_round).collect())
    }

    fn report(&self) -> ExitCode {
        let yardstick = self.yardstick();
        println!("{:<16} {:>10} {:>17} {:>12}", "", "Mpackets/s", "middle half", "of testpmd's");
        let mut missed = false;
        for (contestant, best) in self.contestants.iter().zip(&self.best) {
            let Middle { lower, median, upper } = Middle::of(best.iter().map(|rate| rate / 1e6));
            print!("{:<16} {median:>10.3} {lower:>7.3} .. {upper:>6.3}", contestant.name());
            let Some(yardstick) = &yardstick else {
                println!();
                continue;
            };
            let ratio = Middle::of(best.iter().zip(yardstick).map(|(own, other)| own / other)).median;
            let misses = *contestant == Contestant::Pointsman && ratio < 1.0;
            missed |= misses;
            println!(" {ratio:>12.2}{}", if misses { " missed" } else { "" });
        }
        println!("loads offered again because a core was taken away: {}", self.discarded);
        if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn in_millions(best: &[f64]) -> f64 {
    best.last().copied().unwrap_or_default() / 1e6
}
