//! The text of the file of slot memories; the rules are those of `testkit/src/rules/text/memories.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit::rules::text as rules;

fuzz_target!(|input: &[u8]| rules::memories::run(input));
