//! The text of a config; the rules are those of `testkit/src/rules/text/config.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit::rules::text as rules;

fuzz_target!(|input: &[u8]| rules::config::run(input));
