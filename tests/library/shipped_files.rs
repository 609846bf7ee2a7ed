//! The configurations and the endpoint set that are shipped are valid, also with every key that `conf/pointsman.toml`
//! holds back in a comment.

use std::fs;
use std::process::Command;

fn check(config: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    let output = command.args(["check", "--config", config, "--set", "conf/set.json"]).output();
    let output = output.expect("the binary was built for this test");
    assert!(output.status.success(), "{config}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn configurations_are_valid() {
    check("conf/minimal.toml");
    check("conf/pointsman.toml");
}

#[test]
fn every_key_that_is_commented_out_is_valid() {
    let text = fs::read_to_string("conf/pointsman.toml").expect("it is shipped");
    let all: Vec<&str> = text.lines().map(|line| if is_key(line) { &line[2..] } else { line }).collect();
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    fs::write(file.path(), all.join("\n")).expect("the file was just made");
    check(&file.path().to_string_lossy());
}

/// Whether a line is a comment that only holds back a key, or the head of a table.
fn is_key(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("# ") else { return false };
    let word = rest.split_once(" = ").map_or("", |(word, _)| word);
    rest == "[[service]]"
        || (!word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()))
}
