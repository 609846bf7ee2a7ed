//! A shell in a booted kernel, which takes lines from the console without echoing them.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use crate::{Process, wait_until};

/// How long a kernel may take to boot, or a line to run, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

/// How long it may take to begin one before it is sent again, and how often it is.
const BEGIN: Duration = Duration::from_secs(10);
const MOST_TRIES: u32 = 5;
/// What the shell says of a line that came in parts.
const BROKEN: &str = "broken line";

/// The shell's loop. A line has its number and its length in front: under load some characters are lost on the way, and then it
/// is sent again; the same number is not done twice.
pub const LOOP: &str = r#"done=0
while read -r number length line; do
  if [ "${#line}" != "$length" ]; then echo "broken line";
  elif [ "$number" != "$done" ]; then done=$number; eval "$line"; fi
done"#;

/// The process that the kernel is, with its console. It is off when dropped.
pub struct Console {
    process: Process,
    commands: u32,
}

impl Console {
    /// Boots, and waits until the shell says `init: ready`; where it does not, returns what it has said until then.
    pub fn boot(command: Command) -> Result<Self, String> {
        let console = Self { process: Process::start(command), commands: 0 };
        if console.says("init: ready") { Ok(console) } else { Err(console.process.log()) }
    }

    /// Runs a line of shell in there and returns what it printed; panics where it fails.
    pub fn run(&mut self, line: &str) -> String {
        let (said, code) = self.try_run(line);
        assert_eq!(code, 0, "in the guest, {line:?} failed:\n{said}");
        said
    }

    /// Runs a line that may fail, and returns its exit code, too.
    pub fn try_run(&mut self, line: &str) -> (String, i32) {
        self.commands += 1;
        let (start, end) = (format!("begin {}:", self.commands), format!("end {}:", self.commands));
        self.send(&format!("echo '{start}'; {line}; echo \"{end} $?\""), &start);
        self.wait_for(&end);
        let log = self.process.log().replace('\r', "");
        let said = log.rsplit_once(&format!("{start}\n")).map_or("", |(_, said)| said);
        let (said, code) = said.rsplit_once(&end).unwrap_or((said, ""));
        let code = code.lines().next().and_then(|code| code.trim().parse().ok());
        (said.to_owned(), code.unwrap_or_else(|| panic!("the guest said no code after {line:?}:\n{log}")))
    }

    /// Sends a line until the shell has begun it: it says so by printing `start`.
    fn send(&mut self, line: &str, start: &str) {
        for _ in 0..MOST_TRIES {
            let broken = self.process.log().matches(BROKEN).count();
            let sent = writeln!(self.process.input(), "{} {} {line}", self.commands, line.len());
            sent.unwrap_or_else(|error| panic!("the guest is gone ({error}):\n{}", self.process.log()));
            let has_begun = |log: &str| is_whole_line(log, start);
            wait_until(BEGIN, || {
                let log = self.process.log();
                has_begun(&log) || log.matches(BROKEN).count() > broken || self.process.ended().is_some()
            });
            if has_begun(&self.process.log()) {
                return;
            }
        }
    }

    fn wait_for(&self, text: &str) {
        assert!(self.says(text), "the guest never said {text:?}; it said:\n{}", self.process.log());
    }

    /// Whether it says so, and goes on.
    fn says(&self, text: &str) -> bool {
        let mut ended = false;
        let came = wait_until(LIMIT, || {
            ended = self.process.ended().is_some();
            is_whole_line(&self.process.log(), text) || ended
        });
        came && !ended
    }
}

fn is_whole_line(log: &str, text: &str) -> bool {
    log.rsplit_once(text).is_some_and(|(_, rest)| rest.contains('\n'))
}

impl Drop for Console {
    fn drop(&mut self) {
        // A kernel that is told to stop takes its helper processes along.
        let _ = writeln!(self.process.input(), "{} 11 poweroff -f", self.commands + 1);
        wait_until(Duration::from_secs(5), || self.process.ended().is_some());
    }
}
