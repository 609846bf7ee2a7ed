//! A client's bytes, in pieces; the rules are those of `testkit/src/rules/text/protocol.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit::rules::text as rules;

fuzz_target!(|input: &[u8]| rules::protocol::run(input));
