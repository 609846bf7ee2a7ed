//! Bytes → the frames that one worker receives, one after another.
//!
//! A frame is its length and the milliseconds since the frame before it, two bytes each, then the frame; numbers are in
//! the order of the wire. A length beyond the end means: all that remains.

use super::packet::be16;

/// The bytes of a frame's length and time.
const HEADER_LEN: usize = 4;

/// One frame of an input.
pub struct Step<'a> {
    pub milliseconds: u64,
    pub frame: &'a [u8],
}

/// The frames of an input.
pub fn steps(mut input: &[u8]) -> impl Iterator<Item = Step<'_>> {
    std::iter::from_fn(move || {
        let (header, rest) = input.split_at_checked(HEADER_LEN)?;
        let (frame, rest) = rest.split_at(usize::from(be16(header, 0)).min(rest.len()));
        input = rest;
        Some(Step { milliseconds: u64::from(be16(header, 2)), frame })
    })
}
