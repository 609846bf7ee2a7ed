//! The text of a config: refused with a line or key for every problem, or read within its bounds.

use pointsman::config::{self, Config};

/// One text.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match config::parse(text) {
        Ok(config) => check_config(&config),
        Err(problems) => {
            let lines = text.lines().count().max(1);
            super::check_problems(&problems, |problem| match problem.line {
                Some(line) => (1..=lines + 1).contains(&line),
                None => !problem.path.is_empty(),
            });
        }
    }
}

fn check_config(config: &Config) {
    let interface = &config.interface;
    assert!((1..=15).contains(&interface.name.len()), "no name of an interface: {:?}", interface.name);
    assert!(interface.frames.is_power_of_two() && (1..=1024).contains(&interface.batch));
    assert!(interface.queues.as_ref().is_none_or(|queues| !queues.is_empty()));
    assert!([&config.node.state_dir, &interface.pin, &config.control.socket].iter().all(|path| path.is_absolute()));
    assert!(config.underlay.hop_limit > 0 && config.handover.window_seconds() > 0 && config.control.mode <= 0o777);
}
