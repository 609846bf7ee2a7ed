//! Kernels that tests boot beside the machine's own: their file systems, and the shell in them.
#![allow(dead_code, reason = "every test binary that includes this module uses its own part of it")]

mod console;
mod image;

use std::process::Command;

pub use console::{Console, LOOP};
pub use image::Image;

/// The machine's `command -v`.
pub fn find(program: &str) -> Option<String> {
    let output = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
