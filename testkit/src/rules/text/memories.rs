//! The text of the file of slot memories: refused with a reason, or memories that can be used and written again.

use pointsman::control::store::read_memories;
use pointsman::handover::{Memories, Second, Version};

/// One text.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match read_memories(text) {
        Ok(read) => read.into_values().for_each(check),
        Err(reason) => assert!(!reason.is_empty(), "refused without a reason"),
    }
}

fn check(mut memories: Memories) {
    assert!(memories.is_sound(), "nonsense was read");
    assert_eq!(reread(&memories), memories, "what is written reads back");
    let version = |name: &str| Version { size: 13, endpoints: vec![(name.to_owned(), 1)] };
    memories.change(&version("one"), &version("other"), Second::MAX);
    assert!(memories.is_sound() && memories.count() >= 13);
    while let Some(moment) = memories.next_deadline() {
        let before = memories.count();
        assert!(memories.expire(moment) && memories.count() < before, "a deadline without anything to forget");
        assert!(memories.is_sound());
        assert_eq!(reread(&memories), memories, "what is left reads back");
    }
    assert!(memories.is_empty());
}

fn reread(memories: &Memories) -> Memories {
    let text = serde_json::to_string(memories).expect("plain data");
    serde_json::from_str(&text).expect("its own form")
}
