//! A config of ten times as many services takes ten times as long to check, and not a hundred times: it is read on the thread
//! that has a watchdog. Measured as a ratio of two times of this thread alone in one run, each the best of some: the machine has
//! other things to do.

use std::fmt::Write;
use std::time::Duration;

use pointsman::config;
use rustix::time::{ClockId, clock_gettime};

/// Ten times the work, and room for what a larger one misses in caches that others use, too; what is quadratic takes 100.
const MOST: f64 = 20.0;
const ROUNDS: usize = 5;

/// A config of so many services of three endpoints, each on lines of its own; `more`: what the last of them has beside.
fn text(services: usize, more: &str) -> String {
    let mut text = "[interface]\nname = \"eth0\"\n".to_owned();
    for i in 0..services {
        let vip = format!("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
        write!(
            text,
            "[[service]]\nname = \"s{i}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\nendpoints = [\n"
        )
        .expect("memory");
        for endpoint in 0..3 {
            writeln!(text, "  {{ name = \"e{endpoint}\", address = \"2001:db8:10::{i:x}:{endpoint:x}\" }},")
                .expect("memory");
        }
        text += "]\n";
    }
    text + more
}

/// How long this thread has run.
fn worked() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("a time since its start")
}

fn time(text: &str, is_valid: bool) -> Duration {
    let started = worked();
    assert_eq!(config::parse(text).is_ok(), is_valid);
    worked() - started
}

fn ratio(more: &str) -> f64 {
    let (few, many) = (text(1_000, more), text(10_000, more));
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(time(&few, more.is_empty()));
        best[1] = best[1].min(time(&many, more.is_empty()));
    }
    best[1].as_secs_f64() / best[0].as_secs_f64()
}

#[test]
fn a_config_is_checked_in_time_that_grows_with_its_length_alone() {
    for more in ["", "colour = \"red\"\n", "vip = \"203.0.113.1\"\n"] {
        let ratio = ratio(more);
        println!("10,000 services against 1,000, and {more:?}: {ratio:.1}");
        assert!(ratio < MOST, "ten times the services take {ratio:.1} times as long");
    }
}

#[test]
fn a_problem_in_a_long_config_has_its_line() {
    let long = text(2_000, "colour = \"red\"\n");
    let problems = config::parse(&long).expect_err("an unknown key").to_string();
    let line = long.lines().count();
    assert!(problems.starts_with(&format!("line {line}: service[1999].colour: unknown key")), "{problems}");
}

#[test]
fn a_key_that_is_there_twice_is_refused_by_its_name_and_line() {
    let problems = config::parse(&text(2, "vip = \"203.0.113.1\"\n")).expect_err("twice").to_string();
    assert_eq!(problems, format!("line {}: vip: this key is there twice", text(2, "").lines().count() + 1));
}
