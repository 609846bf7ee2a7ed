//! What must hold of any packet and of any text, whatever comes: for the ordinary tests and for the fuzzer.

pub mod forward;
pub mod text;
