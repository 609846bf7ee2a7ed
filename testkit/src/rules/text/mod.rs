//! The texts that pointsman reads, under any input: what must hold of what it makes of them. The ordinary tests
//! (`tests/library/text.rs`) and the fuzzer (`fuzz/`) come this way.

pub mod config;
pub mod memories;
pub mod protocol;
pub mod set;

use pointsman::document::Problems;
use serde_json::Value;

/// What a person reads is one line, without anything that a terminal would obey.
fn is_one_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Every problem says where and why, and its words fit one line.
fn check_problems(problems: &Problems, is_somewhere: impl Fn(&pointsman::document::Problem) -> bool) {
    assert!(!problems.0.is_empty(), "refused without a reason");
    for problem in &problems.0 {
        assert!(is_one_line(&problem.to_string()), "not one line: {problem:?}");
        assert!(is_one_line(&problem.reason), "no reason: {problem:?}");
        assert!(is_somewhere(problem), "nowhere: {problem:?}");
    }
}

/// A key as a problem's path shows it.
fn shown(key: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    key.chars().map(shown).collect()
}

/// Whether a path such as `services[0].vip` leads into the tree, but for a last key, which may be missing there. Keys of
/// any characters are found by trying them.
fn leads_into(tree: &Value, path: &str) -> bool {
    if path.is_empty() {
        return true;
    }
    match tree {
        Value::Array(items) => {
            let Some((index, rest)) = path.strip_prefix('[').and_then(|path| path.split_once(']')) else {
                return false;
            };
            let item = index.parse::<usize>().ok().and_then(|index| items.get(index));
            item.is_some_and(|item| leads_into(item, rest))
        }
        // A key may itself begin with a point.
        Value::Object(members) => [Some(path), path.strip_prefix('.')].into_iter().flatten().any(|path| {
            let is_missing = !path.contains(['.', '[']);
            let rest = |key: &String| path.strip_prefix(&shown(key));
            is_missing || members.iter().any(|(key, value)| rest(key).is_some_and(|rest| leads_into(value, rest)))
        }),
        _ => false,
    }
}
