//! What came back of each contestant's frames, round by round, and how it is shown.

use std::process::ExitCode;

use crate::contestants::Contestant;
use testkit::measure::figures::Middle;
use testkit::measure::targets::Targets;

/// Of fewer rounds, the 90 % quantile says nothing.
const MANY: usize = 10;

/// Frames a second.
pub struct Table {
    rows: Vec<(Contestant, Vec<f64>)>,
}

impl Table {
    /// No figures yet of these.
    pub fn new(contestants: &[Contestant]) -> Self {
        Self { rows: contestants.iter().map(|contestant| (*contestant, Vec::new())).collect() }
    }

    /// Adds a round's figure to a contestant's, by its number.
    pub fn add(&mut self, at: usize, rate: f64) {
        self.rows[at].1.push(rate);
    }

    /// The latest of a contestant's.
    pub fn latest(&self, at: usize) -> Option<f64> {
        self.rows[at].1.last().copied()
    }

    /// The latest round, in words.
    pub fn latest_round(&self) -> String {
        let words = self.rows.iter().map(|(contestant, rates)| {
            format!("{} {:.3}", contestant.name(), rates.last().copied().unwrap_or_default() / 1e6)
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// The better of testpmd's of each round; none where it took no part.
    fn yardstick(&self) -> Option<Vec<f64>> {
        let mut testpmd = self.rows.iter().filter(|(contestant, _)| contestant.is_testpmd()).map(|(_, rates)| rates);
        let first = testpmd.next()?.clone();
        let better = |a: Vec<f64>, b: &Vec<f64>| a.into_iter().zip(b).map(|(a, b)| a.max(*b)).collect();
        Some(testpmd.fold(first, better))
    }

    /// Shows all; fails where pointsman's is below testpmd's, round by round in the median.
    pub fn print(&self) -> ExitCode {
        let yardstick = self.yardstick();
        let many = self.rows.iter().all(|(_, rates)| rates.len() >= MANY);
        let tail = if many { format!(" {:>9}", "90 %") } else { String::new() };
        println!("{:<16} {:>10} {:>17}{tail} {:>12}", "", "Mpackets/s", "middle half", "of testpmd's");
        let mut targets = Targets::default();
        for (contestant, rates) in &self.rows {
            let Middle { lower, median, upper } = Middle::of(rates.iter().map(|rate| rate / 1e6));
            print!("{:<16} {median:>10.3} {lower:>7.3} .. {upper:>6.3}", contestant.name());
            if many {
                print!(" {:>9.3}", nine_tenths(rates) / 1e6);
            }
            let Some(yardstick) = &yardstick else {
                println!();
                continue;
            };
            let ratio = Middle::of(rates.iter().zip(yardstick).map(|(own, other)| own / other)).median;
            let missed = targets.check(*contestant != Contestant::Pointsman || ratio >= 1.0);
            println!(" {ratio:>12.2}{missed}");
        }
        targets.exit_code()
    }
}

/// What nine of ten are not above.
fn nine_tenths(rates: &[f64]) -> f64 {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    rates[(rates.len() - 1) * 9 / 10]
}
