//! The commands as people and programs use them: the real binary against a whole node without root.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use testkit::node::{Daemon, LIMIT, service, set};

const POINTSMAN: &str = env!("CARGO_BIN_EXE_pointsman");
const ESCAPE: char = '\u{1b}';

fn pointsman(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(POINTSMAN);
    command.args(args).arg("--socket").arg(socket).env_remove("NO_COLOR").env_remove("COLUMNS");
    command
}

/// Exit code, standard output and standard error.
fn ended(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn run(socket: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    ended(pointsman(socket, args).output().expect("it starts"))
}

/// What a command prints that succeeds and warns of nothing.
fn printed(socket: &Path, args: &[&str]) -> String {
    let (code, out, said) = run(socket, args);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{args:?}");
    out
}

fn printed_json(socket: &Path, args: &[&str]) -> Value {
    let text = printed(socket, args);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn written(dir: &Path, set: &Value) -> String {
    let file = dir.join("set.json");
    std::fs::write(&file, set.to_string()).expect("written");
    file.display().to_string()
}

/// The cells of each line: two blanks stand between them at least.
fn cells(table: &str) -> Vec<Vec<&str>> {
    let cells = |line| str::split(line, "  ").map(str::trim).filter(|cell| !cell.is_empty());
    table.lines().map(|line| cells(line).collect()).collect()
}

fn with_states(mut service: Value, states: &[&str]) -> Value {
    for (endpoint, state) in service["endpoints"].as_array_mut().expect("a list").iter_mut().zip(states) {
        endpoint["state"] = json!(state);
    }
    service
}

#[test]
fn services_and_endpoints_are_tables_and_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut web = with_states(service("default/web", "203.0.113.10", 3), &["active", "draining", "down"]);
    web["protocol"] = json!("tcp");
    web["ports"] = json!([80, "8000-8099"]);
    daemon.ask("apply", set(&[web, service("鉄道", "2001:db8:1::10", 3)])).expect("valid");

    let table = printed(&daemon.socket, &["services"]);
    let rows = cells(&table);
    assert_eq!(rows[0][..7], ["SERVICE", "VIP", "PROTOCOL", "PORTS", "ACTIVE", "DRAINING", "DOWN"]);
    assert_eq!(rows[1][..7], ["default/web", "203.0.113.10", "tcp", "80,8000-8099", "1", "1", "1"]);
    assert_eq!(rows[2][..7], ["鉄道", "2001:db8:1::10", "any", "any", "3", "0", "0"]);
    assert_eq!(rows[2][11..], ["1456", "1396", "0"], "inner MTU, MSS and packets: {table}");
    let services = printed_json(&daemon.socket, &["services", "--json"]);
    assert_eq!(
        (&services["services"][0]["name"], &services["services"][0]["packets"]),
        (&json!("default/web"), &json!(0))
    );
    assert_eq!(rows[1][8], services["services"][0]["fingerprint"]);

    let table = printed(&daemon.socket, &["endpoints", "鉄道"]);
    let rows = cells(&table);
    assert_eq!(rows[0][..6], ["SERVICE", "ENDPOINT", "ADDRESS", "STATE", "WEIGHT", "SHARE"]);
    assert_eq!(rows[1][..5], ["鉄道", "鉄道-0", "2001:db8:10::1", "active", "1"]);
    assert_eq!((rows.len(), rows[1][5], rows[1][9]), (4, "33.4 %", "02:02:02:02:02:02"), "{table}");
    assert_eq!(cells(&printed(&daemon.socket, &["endpoints"])).len(), 1 + 6);
    let endpoints = printed_json(&daemon.socket, &["endpoints", "default/web", "--json"]);
    let states: Vec<&Value> = endpoints["endpoints"].as_array().expect("a list").iter().map(|e| &e["state"]).collect();
    assert_eq!(states, ["active", "draining", "down"]);
    let (code, out, said) = run(&daemon.socket, &["endpoints", "nobody"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(said.contains("there is no service \"nobody\""), "{said}");
}

#[test]
fn status_says_what_is_wrong_first_and_fits_a_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("state")).expect("made");
    std::fs::write(dir.path().join("state/endpoint-set.json"), "{").expect("written");
    let daemon = Daemon::start(dir.path());
    let status = printed(&daemon.socket, &["status"]);
    assert!(status.lines().next().is_some_and(|line| line.starts_with("PROBLEM  on disk: ")), "{status}");
    assert!(status.contains("0 services, 0 endpoints"), "{status}");

    let long = "a-namespace-of-some-length/and-a-service-whose-name-goes-on-and-on";
    let name = |i: usize| if i == 29 { "last".to_owned() } else { format!("{i:02}-{long}") };
    let services: Vec<Value> = (0..30)
        .map(|i| {
            with_states(service(&name(i), &format!("203.0.113.{}", i + 1), 1), if i == 29 { &["down"] } else { &[] })
        })
        .collect();
    daemon.ask("apply", set(&services)).expect("valid");
    let status = at_a_terminal(&daemon.socket, "status", &[("COLUMNS", "80"), ("NO_COLOR", "1")]);
    assert!(!status.contains("PROBLEM"), "on disk now: {status}");
    assert!(status.contains("edge, forwarding") && status.contains("\"r1\" as generation"), "{status}");
    assert!(status.contains("30 services, 30 endpoints: 29 active, 0 draining, 1 down"), "{status}");
    assert!(status.ends_with("and 10 more services: `pointsman services`\n"), "{status}");
    let after = |heading: &str| status.lines().skip_while(|line| !line.starts_with(heading)).nth(1).map(str::to_owned);
    assert!(after("SERVICE").is_some_and(|line| line.starts_with("last ")), "what needs a look comes first: {status}");
    assert!(status.lines().all(|line| line.chars().count() <= 80), "{status}");
    assert!(printed(&daemon.socket, &["status"]).contains(&name(0)), "a pipe has room for whole names");
    daemon.ask("drain", json!({})).expect("it drains");
    assert!(printed(&daemon.socket, &["status"]).contains("edge, draining"));
}

/// Runs a command at a terminal of its own.
fn at_a_terminal(socket: &Path, args: &str, environment: &[(&str, &str)]) -> String {
    let line = format!("{POINTSMAN} {args} --socket {}", socket.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
    // Under continuous integration (CI), colours are taken to be welcome on any terminal.
    command.env_remove("NO_COLOR").env_remove("CI").env("TERM", "xterm").envs(environment.iter().copied());
    let (code, out, said) = ended(command.output().expect("script is there"));
    assert_eq!((code, said.as_str()), (Some(0), ""), "{out}");
    out.replace('\r', "")
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    daemon.ask("apply", set(&[service("web", "203.0.113.10", 2)])).expect("valid");
    let commands = ["status", "services", "endpoints", "stats", "get"];
    for command in commands {
        assert!(!printed(&daemon.socket, &[command]).contains(ESCAPE), "{command} in a pipe");
        assert!(!printed(&daemon.socket, &[command, "--json", "--color", "always"]).contains(ESCAPE), "{command}");
    }
    for command in &commands[..4] {
        let coloured = printed(&daemon.socket, &[command, "--color", "always"]);
        assert!(coloured.contains(ESCAPE), "{command}");
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(plain.lines().next(), printed(&daemon.socket, &[command]).lines().next(), "only colours differ");
    }
    let green = printed(&daemon.socket, &["endpoints", "--color", "always"]);
    assert!(green.contains("\u{1b}[32mactive\u{1b}[0m"), "{green}");
    assert!(at_a_terminal(&daemon.socket, "status", &[]).contains(ESCAPE));
    assert!(!at_a_terminal(&daemon.socket, "status --json", &[]).contains(ESCAPE));
    assert!(!at_a_terminal(&daemon.socket, "status --color never", &[]).contains(ESCAPE));
    assert!(!at_a_terminal(&daemon.socket, "status", &[("NO_COLOR", "1")]).contains(ESCAPE));
    assert!(!at_a_terminal(&daemon.socket, "status", &[("TERM", "dumb")]).contains(ESCAPE));
}

/// A revision is any string, and some strings would rule the terminal.
#[test]
fn a_syncer_does_not_write_to_the_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let file = written(dir.path(), &json!({ "revision": "\u{1b}[2J\nPROBLEM", "services": [] }));
    for args in [&["apply", "--set", &file][..], &["status"]] {
        let out = printed(&daemon.socket, args);
        assert!(out.contains("\\u{1b}[2J\\nPROBLEM") && !out.contains(ESCAPE), "{out}");
    }
}

#[test]
fn a_dry_run_shows_each_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let file = written(dir.path(), &set(&[service("a", "203.0.113.1", 2), service("b", "203.0.113.2", 1)]));
    let applied = printed(&daemon.socket, &["apply", "--set", &file]);
    assert_eq!(applied, "revision r1 in force as generation 2: 2 services, 3 endpoints, 2 changed\n");
    let before = daemon.ask("status", json!({})).expect("well")["generation"].take();

    let mut a = with_states(service("a", "203.0.113.9", 3), &["draining"]);
    a["endpoints"].as_array_mut().expect("a list").remove(1);
    let file = written(dir.path(), &set(&[a]));
    let expected = "\
~ service   a at 203.0.113.9
~ endpoint  a-0 of a at 2001:db8:10::1: active → draining, weight 1
- endpoint  a-1 of a at 2001:db8:10::2: was active
+ endpoint  a-2 of a at 2001:db8:10::3: active, weight 1
- service   b at 203.0.113.2
- endpoint  b-0 of b at 2001:db8:10::1: was active
The set has 1 service and 2 endpoints. Nothing was changed: revision \"r1\" stays in force as generation 2.
";
    let dry = &["apply", "--set", &file, "--dry-run"][..];
    let shown = printed(&daemon.socket, dry);
    assert_eq!(shown, expected);
    let coloured = printed(&daemon.socket, &[dry, &["--color", "always"]].concat());
    for (tone, sign) in [("32m", '+'), ("1m\u{1b}[31m", '-'), ("33m", '~')] {
        assert!(coloured.contains(&format!("{ESCAPE}[{tone}{sign} ")), "{coloured}");
    }
    let answer = printed_json(&daemon.socket, &[dry, &["--json"]].concat());
    assert_eq!((&answer["dry_run"], answer["changes"].as_array().map(Vec::len)), (&json!(true), Some(6)));
    assert_eq!(daemon.ask("status", json!({})).expect("well")["generation"], before);

    let file = written(dir.path(), &json!({ "services": [{ "name": "a", "vip": "203.0.113.300" }] }));
    let (code, out, said) = run(&daemon.socket, &["apply", "--set", &file, "--dry-run"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(said.starts_with(&format!("pointsman: {file}: invalid_set: services[0].vip: ")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// A command that goes on until it is ended.
struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn start(socket: &Path, args: &[&str]) -> Self {
        let mut child =
            pointsman(socket, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let out = child.stdout.take().expect("a pipe");
        Self(child, BufReader::new(out))
    }

    fn line(&mut self) -> String {
        if self.1.buffer().is_empty() {
            let limit = Timespec { tv_sec: LIMIT.as_secs() as i64, tv_nsec: 0 };
            let happened = poll(&mut [PollFd::new(self.1.get_ref(), PollFlags::IN)], Some(&limit));
            assert_eq!(happened, Ok(1), "it says nothing");
        }
        let mut line = String::new();
        self.1.read_line(&mut line).expect("text");
        assert!(line.ends_with('\n'), "it has ended: {line}");
        line
    }

    /// The next line with this in it; others are passed over.
    fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Its exit code, when nobody reads any more.
    fn end(self) -> Option<i32> {
        let Self(mut child, out) = self;
        drop(out);
        let begun = Instant::now();
        loop {
            match child.try_wait().expect("it is ours") {
                Some(status) => return status.code(),
                None if begun.elapsed() > LIMIT => {
                    child.kill().expect("it is ours");
                    panic!("it goes on");
                }
                None => std::thread::yield_now(),
            }
        }
    }
}

#[test]
fn watch_prints_what_happens_and_waits_for_a_daemon_that_is_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut people = Running::start(&daemon.socket, &["watch"]);
    let mut program = Running::start(&daemon.socket, &["watch", "--json", "--color", "always"]);
    assert!(people.line().contains("  connected     \"\" is in force as generation "));
    let connected: Value = serde_json::from_str(&program.line()).expect("JSON");
    assert_eq!((&connected["type"], &connected["revision"]), (&json!("connected"), &json!("")));

    daemon.ask("apply", set(&[service("web", "203.0.113.10", 1)])).expect("valid");
    let shown = [people.line(), people.line(), people.line()];
    assert!(shown[0].ends_with("  service       + web at 203.0.113.10\n"), "{shown:?}");
    assert!(shown[1].ends_with("  endpoint      + web-0 of web at 2001:db8:10::1: active, weight 1\n"), "{shown:?}");
    assert!(shown[2].contains("  applied       \"r1\" as generation 2: 1 service, 1 endpoint, 1 changed"), "{shown:?}");
    let time = &shown[0][..19];
    assert!(time.bytes().zip("0000-00-00 00:00:00".bytes()).all(|(a, b)| a == b || a.is_ascii_digit()), "{time}");
    let events: Vec<Value> = (0..3).map(|_| serde_json::from_str(&program.line()).expect("JSON")).collect();
    assert_eq!(events[1]["endpoint"], "web-0");
    assert!(events.iter().all(|event| event["time"].as_str().is_some_and(|time| time.len() > 23)), "{events:?}");
    daemon.ask("drain", json!({})).expect("it drains");
    assert!(people.line_with("  drain ").contains("draining, 0 VIPs announced"));

    daemon.end();
    assert!(people.line_with("  disconnected  ").contains("the daemon went away"));
    assert!(program.line_with("\"disconnected\"").contains("the daemon went away"));
    let daemon = Daemon::start(dir.path());
    assert!(people.line_with("  connected ").contains("\"r1\" is in force"), "it comes back by itself");
    assert!(program.line_with("\"connected\"").contains("\"r1\""));
    // Nothing happens any more, and yet they end with those who read them.
    assert_eq!((people.end(), program.end()), (Some(0), Some(0)));
    daemon.end();
}

#[test]
fn watch_can_end_with_the_daemon_and_does_not_wait_for_one_that_never_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let mut watch = Running::start(&daemon.socket, &["watch", "--exit"]);
    watch.line_with("connected");
    let socket = daemon.socket.clone();
    daemon.end();
    watch.line_with("disconnected");
    let mut said = String::new();
    let mut errors = watch.0.stderr.take().expect("a pipe");
    assert_eq!(watch.end(), Some(1));
    errors.read_to_string(&mut said).expect("text");
    assert!(said.ends_with("the daemon went away\n"), "{said}");
    let (code, _, said) = run(&socket, &["watch"]);
    assert!(code == Some(1) && said.contains("start `pointsman run`"), "{said}");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let services: Vec<Value> =
        (0..2_000).map(|i| service(&format!("service-{i}"), &format!("2001:db8:1::{i:x}"), 1)).collect();
    daemon.ask("apply", set(&services)).expect("valid");
    for command in ["get", "services", "endpoints", "status --json", "watch"] {
        let line = format!("set -o pipefail; {POINTSMAN} {command} --socket {} | head -1", daemon.socket.display());
        let (code, out, said) = ended(Command::new("bash").args(["-c", &line]).output().expect("bash is there"));
        assert_eq!((code, out.lines().count(), said.as_str()), (Some(0), 1, ""), "{command}");
    }
}

/// What a command says of a daemon that answers its first line with these bytes, and closes.
fn said_of_a_daemon_that_answers(dir: &Path, answer: &'static [u8], args: &[&str]) -> String {
    let socket = dir.join("other.sock");
    _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("free");
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        BufReader::new(&stream).read_line(&mut String::new()).expect("a question");
        stream.write_all(answer).expect("it reads");
    });
    let (code, out, said) = run(&socket, args);
    daemon.join().expect("no panic");
    assert_eq!((code, out.as_str(), said.lines().count()), (Some(1), "", 1), "{said}");
    said
}

#[test]
fn daemons_that_are_not_as_they_should_be_get_a_clear_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let old: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no method\"}}\n";
    let no_answer: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1}\n";
    let not_ours = "does not speak the control protocol";
    for (answer, expected) in [
        (&b""[..], "the daemon went away"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"resu", "the daemon went away"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", not_ours),
        (b"7\n", not_ours),
        (b"{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n", not_ours),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}\n", not_ours),
        (no_answer, not_ours),
    ] {
        for args in [&["status"][..], &["endpoints"], &["watch"]] {
            let said = said_of_a_daemon_that_answers(dir.path(), answer, args);
            assert!(said.contains(expected), "{said}");
        }
    }
    for (args, method) in [(&["endpoints"][..], "endpoints"), (&["watch"], "subscribe")] {
        let said = said_of_a_daemon_that_answers(dir.path(), old, args);
        assert!(said.contains(&format!("does not know \"{method}\": it is older than this command")), "{said}");
    }
    let busy: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"64 clients\"}}\n";
    assert_eq!(said_of_a_daemon_that_answers(dir.path(), busy, &["get"]), "pointsman: 64 clients\n");
    let (code, _, said) = run(&dir.path().join("none.sock"), &["drain"]);
    assert!(code == Some(1) && said.contains("there is no such socket"), "{said}");
    let (code, _, said) = run(&dir.path().join("other.sock"), &["drain"]);
    assert!(code == Some(1) && said.contains("no daemon listens there any more"), "{said}");
}

/// The commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let (code, help, _) = ended(Command::new(POINTSMAN).arg("--help").output().expect("it starts"));
    assert_eq!(code, Some(0));
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !["", "help"].contains(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_has_help_and_bad_usage_has_its_code() {
    let commands = commands();
    let known =
        ["run", "apply", "get", "status", "services", "endpoints", "stats", "top", "watch", "drain", "completions"];
    for command in known {
        assert!(commands.contains(command), "{command} is not in {commands:?}");
    }
    for command in &commands {
        let (code, help, said) = ended(Command::new(POINTSMAN).args([command, "--help"]).output().expect("it starts"));
        assert_eq!((code, said.as_str()), (Some(0), ""), "{command}");
        assert!(help.contains("Usage: pointsman") && help.lines().all(|line| line.chars().count() <= 100), "{help}");
        let (code, out, said) =
            ended(Command::new(POINTSMAN).args([command, "--no-such-option"]).output().expect("it starts"));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{command}");
        assert!(said.contains("--no-such-option"), "{said}");
    }
    for args in [
        &[][..],
        &["stat"],
        &["status", "--color", "green"],
        &["completions", "tcsh"],
        &["endpoints", "a", "b"],
        &["lookup", "--src", "198.51.100.7", "--dst", "203.0.113.10", "--protocol", "foo"],
    ] {
        assert_eq!(Command::new(POINTSMAN).args(args).output().expect("it starts").status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn bash_completes_commands_and_options() {
    let completed = |words: &str| {
        let script = format!(
            "source <({POINTSMAN} completions bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _pointsman pointsman \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo ${{COMPREPLY[@]}}"
        );
        let (code, out, said) = ended(Command::new("bash").args(["-c", &script]).output().expect("bash is there"));
        assert_eq!((code, said.as_str()), (Some(0), ""));
        out.trim().to_owned()
    };
    assert_eq!(completed("pointsman end"), "endpoints endpoint");
    assert_eq!(completed("pointsman apply --dr"), "--dry-run");
    assert_eq!(completed("pointsman status --color a"), "auto always");
    for (shell, part) in [("zsh", "#compdef pointsman"), ("fish", "complete -c pointsman")] {
        let (code, script, _) =
            ended(Command::new(POINTSMAN).args(["completions", shell]).output().expect("it starts"));
        assert!(code == Some(0) && script.contains(part) && script.contains("services"), "{script}");
    }
}

fn man_pages(dir: &Path) -> Vec<PathBuf> {
    let output = Command::new(POINTSMAN).args(["man", "--out"]).arg(dir).output().expect("it starts");
    let (code, out, said) = ended(output);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    out.lines().map(PathBuf::from).collect()
}

#[test]
fn every_command_has_a_man_page_that_reads_without_a_warning() {
    let dir = tempfile::tempdir().expect("a directory");
    let pages = man_pages(&dir.path().join("man8"));
    let names: BTreeSet<String> = pages
        .iter()
        .filter_map(|page| {
            page.file_name()?.to_str()?.strip_prefix("pointsman-")?.strip_suffix(".8").map(str::to_owned)
        })
        .collect();
    assert_eq!(names, commands());
    let text = |page: &Path| std::fs::read_to_string(page).expect("a page");
    for page in &pages {
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "FILES", "\"SEE ALSO\""] {
            assert!(text(page).contains(&format!("\n.SH {section}\n")), "{section} is missing in {}", page.display());
        }
    }
    let apply = text(&dir.path().join("man8/pointsman-apply.8"));
    assert!(apply.contains("\n.SH EXAMPLES\n") && apply.contains("\\-\\-dry\\-run"), "{apply}");
    for page in &pages {
        let mut man = Command::new("man");
        man.args(["--warnings", "--local-file"]).arg(page).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
        let Ok(output) = man.output() else {
            _ = testkit::left_out(true, "man (Debian: man-db)");
            return;
        };
        let (code, _, said) = ended(output);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{}", page.display());
    }
}

#[test]
fn an_installation_has_all_that_a_package_needs() {
    let dir = tempfile::tempdir().expect("a directory");
    let install = |prefix: &str| {
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "install"]).arg(format!("DESTDIR={}", dir.path().display()));
        make.arg(format!("PREFIX={prefix}")).arg(format!("BINARY={POINTSMAN}"));
        make.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        let (code, out, said) = ended(make.output().expect("make is there"));
        assert_eq!((code, said.as_str()), (Some(0), ""), "{out}");
    };
    install("/usr");
    for path in [
        "bin/pointsman",
        "lib/systemd/system/pointsman.service",
        "lib/sysusers.d/pointsman.conf",
        "share/doc/pointsman/examples/pointsman.toml",
        "share/doc/pointsman/examples/set.json",
        "share/man/man8/pointsman.8",
        "share/man/man8/pointsman-watch.8",
        "share/bash-completion/completions/pointsman",
        "share/zsh/site-functions/_pointsman",
        "share/fish/vendor_completions.d/pointsman.fish",
    ] {
        let file = dir.path().join("usr").join(path);
        assert!(file.metadata().is_ok_and(|file| file.len() > 0), "{path} is missing");
    }
    let installed = Command::new(dir.path().join("usr/bin/pointsman")).arg("--version").output().expect("it runs");
    assert!(installed.status.success());
    let unit = |prefix: &str| {
        let path = dir.path().join(prefix).join("lib/systemd/system/pointsman.service");
        std::fs::read_to_string(path).expect("a unit")
    };
    assert!(unit("usr").contains("ExecStart=/usr/bin/pointsman run ") && !unit("usr").contains("/usr/local"));
    install("/usr/local");
    assert!(unit("usr/local").contains("ExecStart=/usr/local/bin/pointsman run "));
    assert!(!dir.path().join("etc").exists(), "what an administrator writes is not overwritten");
}
