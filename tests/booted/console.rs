//! A shell in a booted kernel, which takes lines from the console without echoing them.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use crate::netns::{Process, wait_until};

/// How long a kernel may take to boot, or a line to run, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

/// The process that the kernel is, with its console. It is off when dropped.
pub struct Console {
    process: Process,
    /// What it is called where it fails.
    name: &'static str,
    commands: u32,
}

impl Console {
    /// Boots, and waits until the shell says `init: ready`.
    pub fn boot(name: &'static str, command: Command) -> Self {
        let mut console = Self { process: Process::start(command), name, commands: 0 };
        console.wait_for("init: ready");
        console
    }

    /// Runs a line of shell in there and answers what it printed; panics where it fails.
    pub fn run(&mut self, line: &str) -> String {
        let (said, code) = self.try_run(line);
        assert_eq!(code, 0, "in {}, {line:?} failed:\n{said}", self.name);
        said
    }

    /// Runs a line that may fail, and answers its exit code, too.
    pub fn try_run(&mut self, line: &str) -> (String, i32) {
        self.commands += 1;
        let (start, end) = (format!("begin {}:", self.commands), format!("end {}:", self.commands));
        let sent = writeln!(self.process.input(), "echo '{start}'; {line}; echo \"{end} $?\"");
        sent.unwrap_or_else(|error| panic!("{} is gone ({error}):\n{}", self.name, self.process.log()));
        self.wait_for(&end);
        let log = self.process.log().replace('\r', "");
        let said = log.rsplit_once(&format!("{start}\n")).map_or("", |(_, said)| said);
        let (said, code) = said.rsplit_once(&end).unwrap_or((said, ""));
        let code = code.lines().next().and_then(|code| code.trim().parse().ok());
        (said.to_owned(), code.unwrap_or_else(|| panic!("{} said no code after {line:?}:\n{log}", self.name)))
    }

    fn wait_for(&mut self, text: &str) {
        let whole_line = |log: String| log.rsplit_once(text).is_some_and(|(_, rest)| rest.contains('\n'));
        let mut ended = false;
        let came = wait_until(LIMIT, || {
            ended = self.process.ended().is_some();
            whole_line(self.process.log()) || ended
        });
        assert!(came && !ended, "{} never said {text:?}; it said:\n{}", self.name, self.process.log());
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // A kernel that is told to stop takes its helper processes along.
        let _ = writeln!(self.process.input(), "poweroff -f");
        wait_until(Duration::from_secs(5), || self.process.ended().is_some());
    }
}
