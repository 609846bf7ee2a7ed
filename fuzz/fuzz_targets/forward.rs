//! Frames through one worker; the rules are those of `testkit/src/rules/forward/`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use testkit::rules::forward as rules;

static NODE: LazyLock<rules::Node> = LazyLock::new(rules::Node::default);

fuzz_target!(|input: &[u8]| rules::run(&NODE, input));
