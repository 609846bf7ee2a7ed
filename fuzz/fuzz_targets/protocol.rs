//! A client's bytes, in pieces; the rules are those of `tests/text/protocol.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/text/mod.rs"]
mod rules;

fuzz_target!(|input: &[u8]| rules::protocol::run(input));
