//! The text of an endpoint set; the rules are those of `testkit/src/rules/text/set.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit::rules::text as rules;

fuzz_target!(|input: &[u8]| rules::set::run(input));
