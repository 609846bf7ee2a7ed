//! The text of a config; the rules are those of `tests/text/config.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/text/mod.rs"]
mod rules;

fuzz_target!(|input: &[u8]| rules::config::run(input));
