//! `pointsman top` as somebody sees it: the real binary in a terminal of tmux, against a whole node with traffic.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pointsman::io::layer::{Layer, Layered};
use pointsman::io::memory::Memory;
use pointsman::io::{Held, PacketIo, sleep_until_ready};
use pointsman::moment::Moment;
use rustix::event::{PollFd, PollFlags};
use serde_json::json;
use testkit::node::{Daemon, LIMIT, service, set};
use unicode_width::UnicodeWidthStr;

const POINTSMAN: &str = env!("CARGO_BIN_EXE_pointsman");
/// Between two frames of a worker.
const PAUSE: Duration = Duration::from_millis(1);

/// A TCP SYN from 198.18.0.7, and the same to a port that nothing serves.
const SYN: &str =
    "0200000000010200000000fd0800450000281234000039066d78c6120007cb00710a9c410050000003e8000000005002faf012540000";
const SYN_TO_PORT_79: &str =
    "0200000000010200000000fd0800450000281234000039066d78c6120007cb00710a9c41004f000003e8000000005002faf012550000";

/// Frames that come into packet memory, one after another and from the beginning again, as time goes by.
struct Traffic {
    frames: Vec<Vec<u8>>,
    begun: Instant,
    came: u128,
}

impl Traffic {
    /// Of ten packets nine are for the service, by nine flows, and one is for none.
    fn new() -> Layered<Self, Memory> {
        let bytes = |hex: &str| -> Vec<u8> {
            let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
            (0..hex.len()).step_by(2).map(digits).collect()
        };
        let flow = |i: u8| {
            let mut frame = bytes(SYN);
            frame[35] = i;
            frame
        };
        let frames = (0..9).map(flow).chain([bytes(SYN_TO_PORT_79)]).collect();
        Layered { layer: Self { frames, begun: Instant::now(), came: 0 }, below: Memory::new(64, 64) }
    }
}

impl Layer<Memory> for Traffic {
    fn receive(&mut self, memory: &mut Memory, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        let due = self.begun.elapsed().as_nanos() / PAUSE.as_nanos();
        while self.came < due && memory.waiting() < most {
            let frame = &self.frames[(self.came % self.frames.len() as u128) as usize];
            memory.push(frame.as_slice());
            self.came += 1;
        }
        memory.receive(into, most)
    }

    fn now(&mut self, _: &mut Memory) -> Moment {
        Moment(self.begun.elapsed().as_nanos() as u64)
    }

    fn flush(&mut self, memory: &mut Memory) -> io::Result<()> {
        memory.flush()?;
        memory.take_sent();
        Ok(())
    }

    fn wait(&mut self, _: &mut Memory, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        sleep_until_ready(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], timeout.min(PAUSE))
    }
}

/// A terminal of a tmux server of its own, which goes when this goes.
struct Terminal {
    dir: tempfile::TempDir,
}

impl Terminal {
    /// One with so many columns and rows, in which a shell runs this line and then says its exit code.
    fn new(columns: u16, rows: u16, line: &str) -> Self {
        let terminal = Self { dir: tempfile::tempdir().expect("a directory") };
        let script = format!("echo before; {line}; echo \"ended with $?\"; exec sleep 1000");
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, "sh", "-c", &script]);
        terminal
    }

    /// `top` against this daemon.
    fn top(daemon: &Daemon, options: &str, columns: u16, rows: u16) -> Self {
        let socket = daemon.socket.display();
        Self::new(columns, rows, &format!("{POINTSMAN} top --interval 0.2 --socket {socket} {options}"))
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.dir.path().join("socket")).args(["-f", "/dev/null", "-u"]).args(args);
        tmux.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        tmux.env_remove("TMUX").env_remove("NO_COLOR").env_remove("COLORTERM").output().expect("tmux is there")
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// The first screen of which this is true.
    #[track_caller]
    fn shows(&self, what: &str, is_true: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if is_true(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < LIMIT, "it never shows {what}:\n{screen}");
            std::thread::yield_now();
        }
    }

    /// Whether the terminal is as a shell has it: its own screen, a cursor, whole lines.
    fn is_restored(&self) -> bool {
        let flags = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        let tty = self.tmux(&["display-message", "-p", "#{pane_tty}"]);
        let modes = Command::new("stty").args(["-a", "-F", tty.trim()]).output().expect("stty is there");
        let modes = String::from_utf8(modes.stdout).expect("text");
        let is_on = |mode| modes.split_whitespace().any(|word| word == mode);
        flags.trim() == "0 1" && ["icanon", "echo", "isig", "opost"].into_iter().all(is_on)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// The cells of a line without the mark of the chosen one: none has a blank in it.
fn cells(line: &str) -> Vec<&str> {
    line.trim_start_matches("> ").split_whitespace().collect()
}

/// What stands in the column of this title, in the row of this name, of the table that begins with `table`.
fn cell<'a>(screen: &'a str, table: &str, name: &str, title: &str) -> Option<&'a str> {
    let mut lines = screen.lines().map(cells).skip_while(|cells| cells.first() != Some(&table));
    let column = lines.next()?.iter().position(|cell| *cell == title)?;
    lines.find(|cells| cells.first() == Some(&name))?.get(column).copied()
}

/// Those of these names that rows begin with, from above.
fn names<'a>(screen: &'a str, known: &[&str]) -> Vec<&'a str> {
    screen.lines().filter_map(|line| cells(line).first().copied()).filter(|name| known.contains(name)).collect()
}

/// Whether a cell is a number above 0.
fn is_above_zero(cell: Option<&str>) -> bool {
    cell.is_some_and(|cell| cell.trim_end_matches(['k', 'M']).parse::<f64>().is_ok_and(|number| number > 0.0))
}

/// Whether web is sent packets.
fn is_web_busy(screen: &str) -> bool {
    is_above_zero(cell(screen, "SERVICE", "web", "PACKETS/S"))
}

/// A node with traffic for one of three services.
fn busy_node(dir: &Path) -> Daemon {
    let daemon = Daemon::start_over(dir, Traffic::new);
    let mut web = service("web", "203.0.113.10", 3);
    (web["protocol"], web["ports"]) = (json!("tcp"), json!([80]));
    let endpoints = web["endpoints"].as_array_mut().expect("a list");
    endpoints[0]["weight"] = json!(3);
    endpoints[2]["state"] = json!("down");
    let others = [service("dns", "203.0.113.53", 1), service("mail", "203.0.113.25", 2)];
    daemon.ask("apply", set(&[&[web], &others[..]].concat())).expect("valid");
    daemon
}

/// Waits until so many more packets have been sent.
fn wait_for_packets(daemon: &Daemon, more: u64) {
    let sent = || {
        let stats = daemon.ask("stats", json!({})).expect("an answer");
        stats["pointsman_service_packets_total"]["web"].as_u64().expect("a counter")
    };
    let (before, begun) = (sent(), Instant::now());
    while sent() < before + more {
        assert!(begun.elapsed() < LIMIT, "no traffic");
        std::thread::yield_now();
    }
}

#[test]
fn a_terminal_of_80_by_24_has_everything_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = busy_node(dir.path());
    let terminal = Terminal::top(&daemon, "", 80, 24);
    let is_moving = |screen: &str, title| {
        let is_drawn = |line: &str| line.ends_with(|bar| ('▁'..='█').contains(&bar));
        let is_counted = |line: &str| is_above_zero(cells(line).get(1).copied());
        screen.lines().any(|line| line.starts_with(title) && is_counted(line) && is_drawn(line))
    };
    let screen = terminal.shows("rates, and the busiest service above", |screen| {
        ["received", "sent", "dropped"].iter().all(|title| is_moving(screen, *title))
            && is_web_busy(screen)
            && names(screen, &["web", "dns", "mail"])[0] == "web"
            && is_above_zero(cell(screen, "REASON", "no_service", "DROPS/S"))
    });
    assert!(screen.contains("  edge, forwarding  \"r1\" as generation "), "{screen}");
    assert!(screen.contains("3 services, 5 active, 0 draining, 1 down  0 handovers open"), "{screen}");
    let heading = screen.lines().find(|line| line.contains("WORKER")).expect("workers");
    assert!(["BUSY", "PACKETS/S", "P99", "MAX"].iter().all(|title| heading.contains(title)), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80) && screen.contains("q quit"), "{screen}");

    // Which nobody had to choose.
    let screen = terminal.shows("endpoints of web", |screen| {
        screen.contains("endpoints of web at 203.0.113.10")
            && is_above_zero(cell(screen, "ENDPOINT", "web-0", "PACKETS/S"))
    });
    // What weights of 3 and 1 ask for, and what slots make of that.
    let shares = |name| ["STATE", "WEIGHT", "DUE", "SHARE"].map(|title| cell(&screen, "ENDPOINT", name, title));
    for (name, due, share) in [
        ("web-0", ["active", "3", "75.0%"], 74.0..76.0),
        ("web-1", ["active", "1", "25.0%"], 24.0..26.0),
        ("web-2", ["down", "1", "0.0%"], 0.0..0.1),
    ] {
        let shares = shares(name);
        assert_eq!(shares[..3], due.map(Some), "{screen}");
        let is: f64 = shares[3].and_then(|cell| cell.strip_suffix('%')?.parse().ok()).expect("a share");
        assert!(share.contains(&is), "{screen}");
    }
    terminal.keys(&["q"]);
    terminal.shows("the shell's screen", |screen| screen.contains("before") && screen.contains("ended with 0"));
    assert!(terminal.is_restored());
}

#[test]
fn keys_sort_filter_pause_and_explain() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = busy_node(dir.path());
    let terminal = Terminal::top(&daemon, "--color never", 120, 50);
    terminal.shows("all panes", |screen| {
        ["services", "endpoints", "drops", "workers", "events"].iter().all(|pane| screen.contains(pane))
    });
    let order = |screen: &str| names(screen, &["web", "dns", "mail"]).join(" ");
    terminal.shows("the busiest above", |screen| is_web_busy(screen) && order(screen) == "web dns mail");
    terminal.keys(&["S"]);
    terminal.shows("services by name", |screen| screen.contains("by name") && order(screen) == "dns mail web");
    terminal.keys(&["r"]);
    terminal.shows("the other way round", |screen| screen.contains("reversed") && order(screen) == "web mail dns");
    terminal.keys(&["/", "m", "A"]);
    terminal.shows("what is typed", |screen| screen.contains("/mA_") && order(screen) == "mail");
    terminal.keys(&["Enter"]);
    terminal.shows("endpoints of the only one", |screen| {
        screen.contains("1 of 3 with \"mA\"") && names(screen, &["mail-0", "mail-1"]).len() == 2
    });
    terminal.keys(&["Escape"]);
    terminal.shows("all again", |screen| order(screen) == "web mail dns");

    terminal.keys(&["p"]);
    terminal.shows("that it is paused", |screen| screen.contains("PAUSED"));
    wait_for_packets(&daemon, 500);
    let still = terminal.screen();
    wait_for_packets(&daemon, 2_000);
    assert_eq!(terminal.screen(), still, "counters go on");
    terminal.keys(&["p"]);
    terminal.shows("that it goes on", |screen| !screen.contains("PAUSED") && screen != still);

    terminal.keys(&["?"]);
    terminal.shows("what keys do", |screen| screen.contains("stand still, or go on"));
    terminal.keys(&["x", "Tab", "Tab", "z"]);
    terminal.shows("drops alone", |screen| {
        screen.contains("▸ drops") && !screen.contains("SERVICE") && names(screen, &["no_service"]).len() == 1
    });
    terminal.keys(&["C-c"]);
    terminal.shows("the end", |screen| screen.contains("ended with 0"));
    assert!(terminal.is_restored());
}

#[test]
fn the_screen_follows_the_terminals_size_and_ends_with_a_signal() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = busy_node(dir.path());
    let terminal = Terminal::top(&daemon, "", 150, 50);
    terminal.shows("a wide table", |screen| screen.contains("2001:db8:10::1") && screen.contains("203.0.113.10"));
    let resize = |columns: &str, rows: &str| terminal.tmux(&["resize-window", "-x", columns, "-y", rows]);
    resize("80", "24");
    terminal.shows("80 columns", |screen| {
        screen.lines().count() <= 24
            && screen.lines().last().is_some_and(|line| line.starts_with("q quit"))
            && is_web_busy(screen)
    });
    resize("40", "10");
    terminal.shows("that there is no room", |screen| {
        screen.contains("The terminal has 40 columns and 10") && !screen.contains("SERVICE")
    });
    resize("100", "30");
    terminal.shows("that there is room again", |screen| is_web_busy(screen) && screen.lines().count() == 30);

    let pid = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
    let shell = format!("/proc/{0}/task/{0}/children", pid.trim());
    let child: i32 = std::fs::read_to_string(shell).expect("a shell").trim().parse().expect("one child");
    let pid = rustix::process::Pid::from_raw(child).expect("no kernel thread");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    terminal.shows("the end", |screen| screen.contains("ended with 0"));
    assert!(terminal.is_restored());
}

#[test]
fn a_daemon_that_goes_is_waited_for_and_events_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = busy_node(dir.path());
    let terminal = Terminal::top(&daemon, "", 120, 50);
    terminal.shows("that it listens", |screen| screen.contains("\"r1\" is in force as generation"));
    daemon.ask("drain", json!({})).expect("it drains");
    terminal.shows("that it drains", |screen| {
        screen.contains("edge, draining") && screen.contains("draining, 0 VIPs announced")
    });
    terminal.shows("a rate", is_web_busy);

    daemon.end();
    terminal.shows("that it is away", |screen| {
        screen.contains("The daemon is away since ") && screen.contains("disconnected")
    });
    let daemon = Daemon::start_over(dir.path(), Traffic::new);
    let screen = terminal
        .shows("that it is back", |screen| screen.contains("edge, forwarding") && !screen.contains("away since"));
    // Its counters began again: no rate is as large as a number that goes below zero.
    assert!(!screen.contains(" T "), "{screen}");
    terminal.shows("that it listens again", |screen| screen.matches("\"r1\" is in force as generation").count() == 2);
    terminal.keys(&["q"]);
    terminal.shows("the end", |screen| screen.contains("ended with 0"));
    daemon.end();
}

/// A daemon that has stopped, but is still there, is away as well.
#[test]
fn a_daemon_that_does_not_answer_is_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("free");
    let answers = [json!({ "node": "still", "services": [] }), json!({ "pointsman_generation": 1 })];
    let daemon = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut lines = BufReader::new(&stream).lines();
        for (i, answer) in answers.iter().enumerate() {
            lines.next().expect("a question").expect("text");
            let line = json!({ "jsonrpc": "2.0", "id": i + 1, "result": answer });
            (&stream).write_all(format!("{line}\n").as_bytes()).expect("it reads");
        }
        // From now on it reads only, until the client goes.
        lines.map_while(Result::ok).count()
    });
    let line = format!("{POINTSMAN} top --interval 0.2 --socket {}", socket.display());
    let terminal = Terminal::new(80, 24, &line);
    terminal.shows("how it is", |screen| screen.contains("still, forwarding"));
    terminal.shows("that it is silent", |screen| {
        screen.contains("The daemon is away since ") && screen.contains(": no answer for ")
    });
    terminal.keys(&["q"]);
    terminal.shows("the end", |screen| screen.contains("ended with 0"));
    assert_eq!(daemon.join().expect("no panic"), 1, "it is not asked again before it has answered");
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so_and_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(POINTSMAN).args(["top", "--socket", "/nowhere"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len(), said.lines().count()), (Some(1), 0, 1), "{said}");
    assert!(said.contains("a live screen needs a terminal"), "{said}");
    let terminal = Terminal::new(80, 24, &format!("{POINTSMAN} top --socket {}/none.sock", dir.path().display()));
    let screen = terminal.shows("its end", |screen| screen.contains("ended with 1"));
    assert!(screen.contains("there is no such socket") && terminal.is_restored(), "{screen}");
    let terminal = Terminal::new(80, 24, &format!("TERM=dumb {POINTSMAN} top"));
    terminal.shows("its end", |screen| screen.contains("ended with 1") && screen.contains("needs a terminal"));
    let terminal = Terminal::new(80, 24, &format!("{POINTSMAN} top --interval 0"));
    terminal.shows("its end", |screen| screen.contains("ended with 2") && screen.contains("--interval <SECONDS>"));
}

/// A revision is any string, and a name any letters.
#[test]
fn names_do_not_break_the_screen_and_colours_can_be_done_without() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let services = [service("鉄道", "203.0.113.1", 1), service("e\u{301}\u{202e}x", "203.0.113.2", 1)];
    let set = json!({ "revision": "\u{1b}[2J\n\u{9b}1m", "services": services });
    daemon.ask("apply", set).expect("valid");
    // The columns of a service behind its name, in a screen that is whole.
    let width = |screen: &str, name: &str| {
        let line = screen.lines().find(|line| line.contains(name) && line.contains("203.0.113"))?;
        screen.contains("q quit").then(|| UnicodeWidthStr::width(line))
    };
    let coloured = |options: &str| -> String {
        let terminal = Terminal::top(&daemon, options, 80, 24);
        terminal.shows("both services in the same columns", |screen| {
            let widths = (width(screen, "鉄道 "), width(screen, "\\u{202e}x "));
            widths.0.is_some() && widths.0 == widths.1 && screen.contains("\"\\u{1b}[2J\\n")
        });
        terminal.tmux(&["capture-pane", "-p", "-e"])
    };
    let escapes = coloured("");
    assert!(escapes.contains("\u{1b}["), "{escapes}");
    let escapes = coloured("--color never");
    assert!(!escapes.contains('\u{1b}'), "{escapes}");
}

#[test]
fn ten_thousand_services_are_found_one_by_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let name = |i| format!("namespace/service-{i}");
    let services: Vec<_> = (0..10_000).map(|i| service(&name(i), &format!("2001:db8:1::{i:x}"), 2)).collect();
    daemon.ask("apply", set(&services)).expect("valid");
    let terminal = Terminal::top(&daemon, "", 80, 24);
    terminal.shows("all of them", |screen| screen.contains("10000 services, 20000 active"));
    terminal.keys(&["/", "-", "9", "9", "9", "9", "Enter"]);
    terminal.shows("endpoints of one", |screen| {
        screen.contains("endpoints of namespace/service-9999 at 2001:db8:1::270f (2)")
            && cell(screen, "ENDPOINT", "namespace/service-9999-0", "SHARE").is_some()
    });
    let patch = json!({ "base": "r1", "revision": "r2", "remove": [name(9_999)] });
    daemon.ask("patch", patch).expect("valid");
    terminal.shows("that it has gone", |screen| screen.contains("9999 services") && screen.contains("(0 of 9999"));
}
