//! Frames through one worker; the rules are those of `tests/forward.rs`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/forward/mod.rs"]
mod rules;

static NODE: LazyLock<rules::Node> = LazyLock::new(rules::Node::default);

fuzz_target!(|input: &[u8]| rules::run(&NODE, input));
