//! The frames of the golden packets, and numbers to change them by.

use crate::project;

/// All frames of the golden packets.
pub fn golden_frames() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(project::file("tests/golden/cases.json")).expect("there");
    let cases: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let hex = |text: &str| -> Vec<u8> {
        let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal");
        (0..text.len()).step_by(2).map(byte).collect()
    };
    cases.as_array().expect("a list").iter().map(|case| hex(case["in"].as_str().expect("a frame"))).collect()
}

/// SplitMix64 (Steele et al. 2014): the same frames in every run.
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// One below this.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.any() % limit as u64) as usize
    }
}
