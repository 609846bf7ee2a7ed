//! Examples of each command, for `--help` and the man pages.

use clap::Command;

/// What a command line does, and the line.
type Example = (&'static str, &'static str);

/// The examples of each command that has any.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "run",
        &[("The daemon, with more in its log:", "RUST_LOG=debug pointsman run --config /etc/pointsman/pointsman.toml")],
    ),
    ("check", &[("Before a reload:", "pointsman check --config /etc/pointsman/pointsman.toml --set set.json")]),
    (
        "apply",
        &[
            ("What would change:", "pointsman apply --set set.json --dry-run"),
            ("A set that another program makes:", "make-set | pointsman apply --set -"),
        ],
    ),
    ("get", &[("Keep the set in force, to apply it again later:", "pointsman get > set.json")]),
    ("status", &[("Is anything wrong?", "pointsman status | grep PROBLEM")]),
    (
        "services",
        &[(
            "Do two nodes forward alike?",
            "pointsman services --json | jq -r '.services[] | .name + \" \" + .fingerprint' | sort | sha256sum",
        )],
    ),
    ("endpoints", &[("Which endpoints of a service can go?", "pointsman endpoints default/web")]),
    ("watch", &[("Every error, for a program:", "pointsman watch --json | jq 'select(.type == \"error\")'")]),
    ("top", &[("Four looks a second, while something is tried:", "pointsman top --interval 0.25")]),
    (
        "capture",
        &[
            ("What is dropped, and why?", "pointsman capture --drops --count 100 drops.pcapng"),
            ("One client's packets, as they pass:", "pointsman capture --client 198.51.100.7 - | tshark -r -"),
        ],
    ),
    (
        "lookup",
        &[(
            "Where does this connection go?",
            "pointsman lookup --src 198.51.100.7 --dst 203.0.113.10 --protocol tcp --sport 40000 --dport 80",
        )],
    ),
    ("drain", &[("Before maintenance:", "pointsman drain")]),
    (
        "upgrade",
        &[
            ("To the version that was just installed:", "pointsman upgrade"),
            ("To try another:", "pointsman upgrade --binary ./target/release/pointsman"),
        ],
    ),
    ("resume", &[("After it:", "pointsman resume")]),
    (
        "replay",
        &[(
            "What would become of these packets, with another set five seconds after the first?",
            "pointsman replay --config replay.toml --set set.json --then 5=next.json --json report.json in.pcap out.pcap",
        )],
    ),
    (
        "endpoint",
        &[
            ("In a pod:", "pointsman endpoint --interface eth0 --vip 203.0.113.10 --vip 2001:db8:1::10"),
            ("With the kernel's own tunnel devices:", "pointsman endpoint --interface eth0 --vip 203.0.113.10 --print"),
        ],
    ),
    (
        "cleanup",
        &[(
            "Give the VIPs' packets back to the kernel:",
            "pointsman cleanup --config /etc/pointsman/pointsman.toml --detach",
        )],
    ),
    ("completions", &[("For this shell, from now on:", "source <(pointsman completions bash)")]),
];

/// The examples of a command.
pub fn of(command: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(name, _)| *name == command).map_or(&[], |(_, examples)| examples)
}

/// Puts the examples at the end of each command's help.
pub fn add_to(command: Command) -> Command {
    command.mut_subcommands(|subcommand| {
        let lines: Vec<String> =
            of(subcommand.get_name()).iter().map(|(what, line)| format!("  {what}\n    {line}")).collect();
        if lines.is_empty() { subcommand } else { subcommand.after_help(format!("Examples:\n{}", lines.join("\n"))) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        for (name, line) in EXAMPLES.iter().flat_map(|(name, all)| all.iter().map(move |(_, line)| (name, line))) {
            let from = line.find("pointsman ").expect("it names the program");
            let words = line[from..].split(' ').take_while(|word| !["|", ">"].contains(word));
            let words = words.map(|word| word.trim_end_matches(')'));
            let matches = command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(matches.subcommand_name(), Some(*name), "{line}");
        }
    }
}
