//! For how long workers stood still by upgrades.

use std::fmt;

use serde_json::Value;

/// The pauses of all workers in all upgrades, in milliseconds, the shortest first.
#[derive(Debug, Default)]
pub struct Pauses(Vec<f64>);

impl Pauses {
    /// Takes those of all workers from the answer to an upgrade.
    pub fn take(&mut self, answer: &Value) {
        let pauses = answer["pauses"].as_array().into_iter().flatten();
        self.0.extend(pauses.map(|pause| pause.as_f64().expect("a number") * 1e3));
        self.0.sort_by(f64::total_cmp);
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The one that so great a part of all does not exceed, in milliseconds; 0 where there is none.
    pub fn quantile(&self, part: f64) -> f64 {
        let rank = (self.0.len() as f64 * part).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Pauses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p99, longest] = [0.5, 0.99, 1.0].map(|part| self.quantile(part));
        write!(out, "{} pauses: median {median:.2} ms, p99 {p99:.2} ms, longest {longest:.2} ms", self.count())
    }
}
