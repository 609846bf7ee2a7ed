//! The text of an endpoint set; the rules are those of `tests/text/set.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/text/mod.rs"]
mod rules;

fuzz_target!(|input: &[u8]| rules::set::run(input));
