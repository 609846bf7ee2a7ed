//! The text of the file of slot memories; the rules are those of `tests/text/memories.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/text/mod.rs"]
mod rules;

fuzz_target!(|input: &[u8]| rules::memories::run(input));
