//! What came of the scenarios, for people.

use super::simulator::methods::NAMES;
use super::simulator::run::Outcome;
use super::simulator::scenarios::Scenario;

/// Bytes of an entry: pointsman's, and that of a hash table with as much in it and one byte more to find it by.
const ENTRY: [u64; 3] = [16, 0, 17];

/// Prints one and answers how much of what must be is missed.
pub fn print(scenario: &Scenario, outcome: &Outcome) -> usize {
    let Outcome { flows, packets, at_once, .. } = outcome;
    println!("\n{}: {}", scenario.name, scenario.story);
    println!("  {at_once} flows at a time, {flows} in all; {packets} packets");
    println!(
        "  {:<14} {:>9} {:>8} {:>9} | {:>9} {:>9} {:>9} | {:>8}",
        "", "broken", "of all", "lost", "before", "peak", "end", "memory"
    );
    for (method, name) in NAMES.iter().enumerate() {
        let fates = outcome.fates[method];
        let [before, peak, end] = outcome.tracked[method];
        let share = fates.broken as f64 * 100.0 / *flows as f64;
        // Pointsman's memory is taken at the start, and never grows; a hash table of seven eighths at most is doubled.
        let entries = if method == 0 { outcome.room } else { (peak * 8 / 7).next_power_of_two() };
        let memory = ENTRY[method] as f64 * entries as f64 / f64::from(1 << 20);
        println!(
            "  {name:<14} {:>9} {share:>6.3} % {:>9} | {before:>9} {peak:>9} {end:>9} | {memory:>4.1} MiB",
            fates.broken, fates.lost
        );
    }
    let missed: Vec<String> = scenario.musts.iter().filter_map(|must| must.missed(outcome)).collect();
    missed.iter().for_each(|what| println!("  MISSED: {what}"));
    missed.len()
}
