//! Standard output that may close early: `pointsman get | head` is no error.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line.
macro_rules! say {
    () => { crate::cli::out::write(format_args!("\n")) };
    ($($words:tt)+) => { crate::cli::out::write(format_args!("{}\n", format_args!($($words)+))) };
}
pub(crate) use say;

/// Writes to standard output. Where nobody reads any more there is nothing left to do.
pub fn write(words: Arguments<'_>) {
    match std::io::stdout().lock().write_fmt(words) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("pointsman: standard output: {error}");
            std::process::exit(1);
        }
        Ok(()) => {}
    }
}
