//! The figures as they are printed.

use std::process::ExitCode;

use pointsman::wire::Family;

use crate::cases::{Case, Past, Target};
use testkit::measure::figures::{Figures, Middle};
use testkit::measure::targets::Targets;
use testkit::measure::yardstick::Task;

/// The runs of the yardstick.
pub const YARDSTICKS: [(&str, Task, Family); 4] = [
    ("yardstick, IPv4", Task::Repeat, Family::V4),
    ("yardstick, IPv6", Task::Repeat, Family::V6),
    ("yardstick, start moved twice", Task::Bare, Family::V4),
    ("yardstick, empty program", Task::Nothing, Family::V4),
];

/// The yardstick's own work, without what lets it run again and again: the frame's start is moved back once.
const ALONE: [&str; 2] = ["yardstick alone, IPv4", "yardstick alone, IPv6"];

fn yardstick(family: Family) -> &'static str {
    if family == Family::V4 { ALONE[0] } else { ALONE[1] }
}

/// Prints all figures; fails where a target is missed.
pub fn print(cases: &[Case], mut figures: Figures) -> ExitCode {
    let mut targets = Targets::default();
    for (alone, (whole, ..)) in ALONE.into_iter().zip(YARDSTICKS) {
        let from = [whole, YARDSTICKS[2].0, YARDSTICKS[3].0];
        figures.derive(alone, from, |whole, twice, empty| whole - (twice - empty) / 2.0);
    }
    println!("{:32} {:>8} {:>15} {:>10} {:>10}", "", "ns", "middle half", "yardsticks", "target");
    for name in YARDSTICKS.map(|(name, ..)| name).into_iter().chain(ALONE) {
        if let Some(time) = figures.time(name) {
            println!("{name:32} {}", show(time));
        }
    }
    for case in cases {
        if let Some(time) = figures.time(&case.name) {
            let ratio = figures.compare(&case.name, yardstick(case.services.family), |own, other| own / other);
            let shown = ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median));
            let target = judge(case.target, (time, ratio), &mut targets);
            println!("{:32} {} {shown:>10} {target:>10}", case.name, show(time));
        }
    }
    println!();
    for case in cases.iter().filter(|case| case.past == Past::Closed) {
        print_difference(case, &figures);
    }
    println!("samples taken again because the core was taken away: {}", figures.disturbed);
    targets.exit_code()
}

fn show(time: Middle) -> String {
    format!("{:8.1} {:15}", time.median, format!("{:>6.1} ..{:>6.1}", time.lower, time.upper))
}

fn judge(target: Target, (time, ratio): (Middle, Option<Middle>), targets: &mut Targets) -> String {
    let (text, met) = match (target, ratio) {
        (Target::None, _) => return String::new(),
        (Target::Nanoseconds(most), _) => (format!("{most:.0} ns"), time.median <= most),
        (Target::Yardsticks(most), Some(ratio)) => (format!("{most:.2}"), ratio.median <= most),
        (Target::Yardsticks(most), None) => return format!("{most:.2}"),
    };
    text + targets.check(met)
}

/// What a closed handover costs, compared to one that never was.
fn print_difference(case: &Case, figures: &Figures) {
    let never = case.name.replace("handover closed, ", "");
    if let Some(more) = figures.compare(&case.name, &never, |own, other| own - other) {
        let Middle { lower, median, upper } = more;
        println!("{} - {never}: {median:+.2} ns, middle half {lower:+.2} .. {upper:+.2}", case.name);
    }
}
