//! Standard output that may close early: `pointsman get | head` is no error.

use std::fmt::Arguments;
use std::io::{ErrorKind, IsTerminal, Write};

use super::words::shown;

/// Prints a line.
macro_rules! say {
    () => { crate::cli::out::write(format_args!("\n")) };
    ($($words:tt)+) => { crate::cli::out::write(format_args!("{}\n", format_args!($($words)+))) };
}
pub(crate) use say;

/// Writes to standard output, at once. Where nobody reads any more there is nothing left to do.
pub fn write(words: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(words).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            fail(&format!("standard output: {error}"));
            std::process::exit(1);
        }
        Ok(()) => {}
    }
}

/// Says on standard error why the command fails. Where even that is closed nobody wants to know.
pub fn fail(reason: &str) {
    _ = writeln!(std::io::stderr(), "pointsman: {reason}");
}

/// Says on standard error what the command did not fail for.
pub fn warn(warning: &str) {
    _ = writeln!(std::io::stderr(), "warning: {}", shown(warning));
}

/// An error with what it comes of. Many errors say their cause themselves: what has been said is not said again.
pub fn in_full(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// How many columns there are to write in; none: as many as a line needs, since no person sees it.
pub fn width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let of_terminal = || rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col.into());
    said.or_else(of_terminal).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open a door: {source}")]
    struct Shut {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let missing = || std::io::Error::from_raw_os_error(2);
        let twice = anyhow::Error::from(Shut { source: missing() });
        assert_eq!(in_full(&twice), "cannot open a door: No such file or directory (os error 2)");
        let apart = anyhow::Error::from(missing()).context("set.json: cannot be read");
        assert_eq!(in_full(&apart), "set.json: cannot be read: No such file or directory (os error 2)");
    }
}
