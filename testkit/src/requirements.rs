//! What a test needs that a machine may lack. A test that is left out says so; where `CI=true`, that is a failure: there, nothing
//! may be left out unseen.

use std::io::{self, Write};
use std::process::Command;
use std::thread;

/// Whether this is a run in which no test may be left out.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Whether this test has to be left out because it needs root.
pub fn skipped() -> bool {
    left_out(!rustix::process::geteuid().is_root(), "root (network namespaces)")
}

/// Whether this test has to be left out because a program of a Debian package is missing.
pub fn skipped_without(program: &str, package: &str) -> bool {
    // What comes of the question is nothing to go by: not every program knows it.
    let missing = Command::new(program).arg("--version").output().is_err();
    left_out(missing, &format!("{program} (Debian: {package})"))
}

/// Says that the calling test is left out where what it needs is missing, and returns whether it is.
pub fn left_out(missing: bool, needs: &str) -> bool {
    if missing {
        assert!(!is_ci(), "this test needs {needs}; with CI=true it may not be skipped");
        let test = thread::current().name().unwrap_or_default().to_owned();
        // Past the test runner, which would swallow the words of a test that passes.
        _ = writeln!(io::stderr(), "skipped: {test} needs {needs}");
    }
    missing
}
