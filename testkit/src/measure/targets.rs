//! What a bench is to keep to, and whether it has.

use std::process::ExitCode;

/// Targets that have been looked at.
#[derive(Debug, Default)]
pub struct Targets {
    is_missed: bool,
}

impl Targets {
    /// What is printed behind a target: a word where it is missed.
    pub fn check(&mut self, is_met: bool) -> &'static str {
        self.is_missed |= !is_met;
        if is_met { "" } else { " missed" }
    }

    /// A failure where any was missed, so that whoever runs the bench need not read for it.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
