//! What comes back of more than can be forwarded. All contestants run at once, each on a pair of its own, and take turns in
//! slices so short that what else the machine does meets all of them alike; whose turn it is not is stopped.

use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;

use crate::contestants::{Contestant, Options, Running};
use crate::pair::{self, LENGTH, LINK, Pair};
use crate::table::Table;
use crate::traffic::{FLOWS, Load, Outcome, Traffic};
use crate::{Arguments, order, say_where};

/// Has all of them take their turns; the table holds what came back a second in each.
pub fn measure(arguments: &Arguments, contestants: &[Contestant], options: &Options) -> anyhow::Result<Table> {
    let duration = Duration::from_millis(arguments.milliseconds);
    let load = Load { rate: arguments.highest, burst: arguments.burst, duration };
    say_how(arguments, &load, options);
    let pairs: Vec<Pair> = contestants.iter().map(|_| Pair::new()).collect();
    let start = |(contestant, pair)| Waiting::start(contestant, pair, options);
    let mut waiting = contestants.iter().copied().zip(&pairs).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let mut table = Table::new(contestants);
    for round in 0..arguments.rounds {
        for at in order(round, waiting.len()) {
            let outcome = waiting[at].take_turn(&load)?;
            table.add(at, outcome.throughput());
            if arguments.verbose {
                show(contestants[at], &outcome);
            }
        }
    }
    Ok(table)
}

/// A contestant that is stopped until its turn. It goes on, and is ended, when dropped; what it leaves behind goes with its
/// pair.
struct Waiting<'a> {
    pair: &'a Pair,
    traffic: Traffic,
    running: Running<'a>,
}

impl<'a> Waiting<'a> {
    fn start(contestant: Contestant, pair: &'a Pair, options: &Options) -> anyhow::Result<Self> {
        let index = pair.outside_index();
        let traffic = pair.outside.inside(|| Traffic::open(LINK, index, options.other_core, pair::frame()))?;
        let running = contestant.start(pair, options).with_context(|| contestant.name())?;
        running.signal(Signal::STOP);
        Ok(Self { pair, traffic, running })
    }

    fn take_turn(&mut self, load: &Load) -> anyhow::Result<Outcome> {
        self.running.signal(Signal::CONT);
        let (pair, traffic) = (self.pair, &mut self.traffic);
        let outcome = pair.outside.inside(|| traffic.offer(load));
        self.running.signal(Signal::STOP);
        outcome
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.running.signal(Signal::CONT);
    }
}

fn say_how(arguments: &Arguments, load: &Load, options: &Options) {
    let Load { rate, burst, duration } = *load;
    println!(
        "frames of {LENGTH} bytes, UDP of {FLOWS} flows, in bursts of {burst}; {:.1} Mpackets/s asked for, in {} slices of \
         {duration:?} each",
        rate / 1e6,
        arguments.rounds
    );
    say_where(options);
}

fn show(contestant: Contestant, outcome: &Outcome) {
    let Outcome { sent, in_time, returned, rate } = *outcome;
    let name = contestant.name();
    eprintln!("  {name:<16} {rate:>9.0} offered, {sent:>8} sent, {in_time:>8} back by then, {returned:>8} in the end");
}
