//! The Internet checksum (RFC 1071).

/// A one's complement sum, not yet folded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum with `bytes` added, as 16-bit big-endian words; an odd last byte is padded with zero.
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        let words = bytes.chunks_exact(2);
        let odd = words.remainder().first().map_or(0, |last| u64::from(*last) << 8);
        let whole: u64 = words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        Self(self.0 + whole + odd)
    }

    /// The sum with one 16-bit word added.
    #[must_use]
    pub fn add_word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// The checksum: the complement of the folded sum.
    #[must_use]
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::default().add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.finish(), !0xddf2);
    }

    #[test]
    fn an_odd_byte_is_padded_behind() {
        assert_eq!(Sum::default().add_bytes(&[0x12]).finish(), !0x1200);
    }
}
