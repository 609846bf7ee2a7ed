//! Every command that the README, a document or an example config names: `pointsman`'s own have a subcommand and flags that there
//! are, tools' checks of the example configs are run as they are written, and every other stands in a list that says why it is
//! not run here. A command without a place fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::{is_ci, project};

/// Commands by how they begin, and what becomes of each.
const OTHERS: &[(&str, &str)] = &[
    ("make build", "compiles the program, as these tests did"),
    ("make install", "tests/library has no root; socket/commands installs into a directory"),
    ("make test", "these tests are it; test-zero-copy boots a guest of its own"),
    ("make demo", "kernels/demo runs it"),
    ("make fuzz", "takes half an hour a target"),
    ("cargo bench", "benches, which take minutes"),
    ("cargo test", "these tests are it"),
    ("install -D", "kernels/quick_start types it"),
    ("systemd-sysusers", "kernels/quick_start types it, without systemd"),
    ("systemctl", "needs a running systemd; kernels/cold_restart is the service manager"),
    ("keepalived", "kernels/keepalived runs it; it wants the interface"),
    ("bird", "checked below, by the tool"),
    ("promtool", "checked below, by the tool"),
    ("ip route show proto 112", "kernels/announce asks the same"),
    ("ip fou add", "a fragment of what endpoint --print shows"),
    ("ip -6 route add local", "changes the host's routes"),
    ("echo 112 pointsman", "changes /etc"),
    ("ethtool", "changes a device; the tests' own links are set so"),
    ("kill", "signals a daemon; kernels/upgrade and start_stop_crash do it"),
    ("tshark", "kernels/capture reads captures by it"),
    ("wireshark", "needs a screen"),
    ("man ", "socket/commands reads the manual pages by it"),
    ("openssl rand", "makes a key, any 32 hexadecimal digits"),
];

/// What begins a command within a line of text.
const PROGRAMS: &[&str] = &[
    "pointsman",
    "make",
    "cargo",
    "install",
    "systemctl",
    "keepalived",
    "bird",
    "birdc",
    "vtysh",
    "promtool",
    "ip",
    "echo",
    "ethtool",
    "kill",
    "tshark",
    "wireshark",
    "man",
    "openssl",
    "bpftool",
    "tc",
    "mount",
    "sudo",
    "tcpdump",
];

fn documents() -> Vec<(String, String)> {
    let below = |directory: &str| {
        let entries = fs::read_dir(project::file(directory)).expect("it is the project's");
        let paths = entries.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file());
        paths.collect::<Vec<_>>()
    };
    let files = [vec![project::file("README.md")], below("docs"), below("conf")].concat();
    let files = files.iter().filter(|path| path.extension().is_none_or(|end| end != "json"));
    files.map(|path| (path.display().to_string(), fs::read_to_string(path).expect("readable"))).collect()
}

/// The commands of a text: blocks of shell, what follows a prompt, words between backticks, and what a comment ends with.
fn commands(text: &str) -> BTreeSet<String> {
    let (mut found, mut fence) = (BTreeSet::new(), None);
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language) };
            continue;
        }
        match fence {
            Some("sh") => found.extend(command(line)),
            Some("") => {
                found.extend(line.strip_prefix("$ ").or(Some(line).filter(|line| is_ours(line))).and_then(command))
            }
            Some(_) => {}
            None => {
                let indented = line.strip_prefix("    ").filter(|line| begins_with_program(line));
                found.extend(indented.and_then(command));
                let spans = line.split('`').skip(1).step_by(2).filter(|span| begins_with_program(span));
                found.extend(spans.filter_map(command));
                let after = line.rsplit_once(": ").filter(|_| line.starts_with(['#', '!'])).map(|(_, rest)| rest);
                found.extend(after.filter(|rest| begins_with_program(rest)).and_then(command));
            }
        }
    }
    found
}

/// `pointsman SUBCOMMAND`, and not what it says.
fn is_ours(line: &str) -> bool {
    line.strip_prefix("pointsman ").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()))
}

fn begins_with_program(words: &str) -> bool {
    words.split_once(' ').is_some_and(|(first, rest)| PROGRAMS.contains(&first) && !rest.starts_with('='))
}

/// Without its comment, what it is piped to, and sudo.
fn command(line: &str) -> Option<String> {
    let line = line.split(" #").next().unwrap_or_default().split(" | ").next().unwrap_or_default().trim();
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    (!line.is_empty() && !line.starts_with('#')).then(|| line.to_owned())
}

fn help(of: &[&str]) -> Option<String> {
    let output = Command::new(project::pointsman()).args(of).arg("--help").output().expect("it was built");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What is wrong with a command of pointsman's, if anything is.
fn fault(command: &str) -> Option<String> {
    let mut words = command.split_whitespace().skip(1);
    let subcommand = words.next()?;
    if subcommand == "COMMAND" {
        return None;
    }
    let Some(help) = help(&[subcommand]) else { return Some(format!("there is no subcommand {subcommand}")) };
    let all: BTreeSet<&str> = help.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-')).collect();
    let flags = words.filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap_or(word));
    flags.into_iter().find(|flag| !all.contains(flag)).map(|flag| format!("{subcommand} has no {flag}"))
}

#[test]
fn every_command_has_a_place() {
    let mut faults = Vec::new();
    let mut places = BTreeSet::new();
    for (file, text) in documents() {
        for command in commands(&text) {
            if command.starts_with("pointsman ") {
                faults.extend(fault(&command).map(|fault| format!("{file}: {command}: {fault}")));
                continue;
            }
            match OTHERS.iter().find(|(start, _)| command.starts_with(start)) {
                Some((start, _)) => _ = places.insert(*start),
                None => faults.push(format!("{file}: {command}: no test runs it, and OTHERS does not say why")),
            }
        }
    }
    let unused = OTHERS.iter().filter(|(start, _)| !places.contains(start));
    faults.extend(unused.map(|(start, _)| format!("no document names {start} any more")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn commands_are_found_and_faults_too() {
    let text = "see `pointsman stats --json`\n```sh\nsudo make build   # so\n```\n```\n$ ip link\n```\n# check it with: bird -p\n";
    let found: Vec<String> = commands(text).into_iter().collect();
    assert_eq!(found, ["bird -p", "ip link", "make build", "pointsman stats --json"]);
    assert!(fault("pointsman stats --json").is_none());
    assert!(fault("pointsman stats --jsn").is_some());
    assert!(fault("pointsman stat").is_some());
}

/// The command by which an example says that it is to be checked, run as it is written with a copy of it.
fn check_example(example: &str) {
    let text = fs::read_to_string(project::file(example)).expect("it is shipped");
    let line = text.lines().find(|line| line.contains("heck") && line.contains("with: ")).expect("it says how");
    let (_, command) = line.split_once("with: ").expect("the line has these words");
    let mut words = command.split_whitespace();
    let tool = words.next().expect("a command has a first word");
    let is_there = Command::new("sh").args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {tool}")]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        assert!(!is_ci(), "{tool} is missing");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let copy = directory.path().join(Path::new(example).file_name().expect("a file has a name"));
    fs::write(&copy, &text).expect("the directory is the test's own");
    let words = words.map(|word| if word == "FILE" { copy.display().to_string() } else { word.to_owned() });
    let path = format!("{}:/usr/sbin", std::env::var("PATH").expect("there is a PATH"));
    let output = Command::new(tool).args(words).env("PATH", path).output().expect("it is there");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command}: {said}");
    assert_eq!(fs::read_to_string(&copy).expect("it is there still"), text, "{command} changes the file");
}

#[test]
fn the_checks_that_examples_name_pass_and_change_nothing() {
    check_example("conf/bird.conf.example");
    check_example("conf/prometheus-rules.yml");
}
