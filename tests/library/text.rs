//! What pointsman reads from files and sockets, under any input: the corpora of the fuzzer (`fuzz/`), inputs that once broke
//! a rule, and every shipped text, through the rules of `testkit::rules::text`.

use std::fs;
use std::path::PathBuf;

use testkit::project;
use testkit::rules::text as rules;

/// The files of a directory of the project, in the order of their names.
fn files(directory: &str) -> Vec<PathBuf> {
    let directory = project::file(directory);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

/// Every input of a target's corpus through its rules.
fn replay(target: &str, run: fn(&[u8])) {
    let corpus = files(&format!("fuzz/corpus/{target}"));
    assert!(corpus.len() > 10, "{} inputs for {target}", corpus.len());
    for path in corpus {
        println!("{}", path.display());
        run(&fs::read(path).expect("readable"));
    }
}

#[test]
fn the_corpus_of_the_protocol_breaks_no_rule() {
    replay("protocol", rules::protocol::run);
}

#[test]
fn the_corpus_of_the_set_breaks_no_rule() {
    replay("set", rules::set::run);
}

#[test]
fn the_corpus_of_the_config_breaks_no_rule() {
    replay("config", rules::config::run);
}

#[test]
fn the_corpus_of_slot_memories_breaks_no_rule() {
    replay("memories", rules::memories::run);
}
