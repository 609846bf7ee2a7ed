//! What came of a scenario, for people.

use super::methods::NAMES;
use super::run::Outcome;
use super::scenarios::Scenario;

/// Bytes of an entry: pointsman's, and that of a hash table with as much in it and one byte more to find it by.
const ENTRY: [u64; 3] = [16, 0, 17];

/// A table of what the three methods did, and what is missed.
pub fn describe(scenario: &Scenario, outcome: &Outcome) -> String {
    let Outcome { flows, packets, at_once, .. } = outcome;
    let mut lines = vec![
        format!("{}: {}", scenario.name, scenario.story),
        format!("  {at_once} flows at a time, {flows} in all; {packets} packets"),
        format!(
            "  {:<14} {:>9} {:>8} {:>9} | {:>9} {:>9} {:>9} | {:>8}",
            "", "broken", "of all", "lost", "before", "peak", "end", "memory"
        ),
    ];
    lines.extend((0..NAMES.len()).map(|method| describe_method(method, outcome)));
    lines.extend(scenario.missed(outcome).into_iter().map(|what| format!("  MISSED: {what}")));
    lines.join("\n")
}

fn describe_method(method: usize, outcome: &Outcome) -> String {
    let fates = outcome.fates[method];
    let [before, peak, end] = outcome.tracked[method];
    let share = fates.broken as f64 * 100.0 / outcome.flows as f64;
    // Pointsman's memory is taken at the start, and never grows; a hash table of seven eighths at most is doubled.
    let entries = if method == 0 { outcome.room } else { (peak * 8 / 7).next_power_of_two() };
    let memory = ENTRY[method] as f64 * entries as f64 / f64::from(1 << 20);
    format!(
        "  {:<14} {:>9} {share:>6.3} % {:>9} | {before:>9} {peak:>9} {end:>9} | {memory:>4.1} MiB",
        NAMES[method], fates.broken, fates.lost
    )
}
