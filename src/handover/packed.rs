//! Small numbers as text: each in as few bits as the largest needs, six bits a character (the alphabet of RFC 4648,
//! section 4, without padding). Ten thousand tables are written within one answer to a syncer, so their size matters.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NO_DIGIT: u8 = u8::MAX;
/// By character.
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
}

/// How many bits a number below `limit` needs; none where there is but one.
pub fn width(limit: usize) -> u32 {
    usize::BITS - limit.saturating_sub(1).leading_zeros()
}

/// Characters for `count` numbers of that many bits.
fn length(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(6)
}

/// The numbers as text, each in `width` bits, at most 32.
pub fn pack(numbers: impl Iterator<Item = u32>, width: u32) -> String {
    let mut text = String::with_capacity(length(numbers.size_hint().0, width));
    let (mut bits, mut held) = (0u64, 0);
    for number in numbers {
        bits = bits << width | u64::from(number);
        held += width;
        while held >= 6 {
            held -= 6;
            text.push(digit(bits >> held));
        }
    }
    if held > 0 {
        text.push(digit(bits << (6 - held)));
    }
    text
}

fn digit(bits: u64) -> char {
    char::from(DIGITS[(bits & 63) as usize])
}

/// So many numbers of `width` bits, at most 32; none where the text is not what [`pack`] makes of so many.
pub fn unpack(text: &str, width: u32, count: usize) -> Option<Vec<u32>> {
    if text.len() != length(count, width) {
        return None;
    }
    let mut digits = text.bytes();
    let (mut bits, mut held) = (0u64, 0);
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        while held < width {
            let value = VALUES[usize::from(digits.next()?)];
            if value == NO_DIGIT {
                return None;
            }
            bits = bits << 6 | u64::from(value);
            held += 6;
        }
        held -= width;
        numbers.push((bits >> held) as u32);
        bits &= (1 << held) - 1;
    }
    (bits == 0).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_the_alphabet_of_rfc_4648() {
        assert_eq!(pack("foobar".bytes().map(u32::from), 8), "Zm9vYmFy");
        assert_eq!(pack("fooba".bytes().map(u32::from), 8), "Zm9vYmE");
        assert_eq!(unpack("Zm9vYmE", 8, 5), Some("fooba".bytes().map(u32::from).collect()));
    }

    #[test]
    fn what_was_not_packed_is_not_unpacked() {
        for (text, width, count) in
            [("Zm9vYmE", 8, 6), ("Zm9vYmE", 8, 4), ("Zm9v!mE", 8, 5), ("Zm9vYmF", 8, 5), ("A", 0, 9)]
        {
            assert_eq!(unpack(text, width, count), None, "{text}");
        }
        assert_eq!(unpack("", 0, 3), Some(vec![0; 3]));
    }

    #[test]
    fn a_number_has_the_bits_it_needs() {
        assert_eq!([0, 1, 2, 3, 4, 5, 256, 257].map(width), [0, 0, 1, 2, 2, 3, 8, 9]);
    }

    proptest! {
        #[test]
        fn numbers_come_back(width in 0u32..=32, numbers in prop::collection::vec(any::<u32>(), 0..200)) {
            let mask = (1u64 << width) - 1;
            let numbers: Vec<u32> = numbers.into_iter().map(|number| (u64::from(number) & mask) as u32).collect();
            let text = pack(numbers.iter().copied(), width);
            prop_assert_eq!(unpack(&text, width, numbers.len()), Some(numbers));
        }
    }
}
