//! Arithmetic modulo a prime.

/// Multiplies by the same number again and again without a division (Shoup's method).
#[derive(Clone, Copy)]
pub struct Factor {
    number: u32,
    modulus: u32,
    /// The number in parts of the modulus, times 2^32, rounded down.
    ratio: u32,
}

impl Factor {
    /// A factor below its modulus, which is below 2^31.
    pub fn new(number: u32, modulus: u32) -> Self {
        Self { number, modulus, ratio: ((u64::from(number) << 32) / u64::from(modulus)) as u32 }
    }

    /// What makes 1 of `number`, which is not 0, below its prime modulus.
    pub fn inverse(number: u32, modulus: u32) -> Self {
        // Euclid's algorithm; all the time each rest is its factor times the number, but for multiples of the modulus.
        let (mut rests, mut factors) = ((modulus, number), (0i64, 1));
        while rests.1 > 1 {
            let whole = rests.0 / rests.1;
            rests = (rests.1, rests.0 % rests.1);
            factors = (factors.1, factors.0 - i64::from(whole) * factors.1);
        }
        Self::new(factors.1.rem_euclid(i64::from(modulus)) as u32, modulus)
    }

    /// The factor times any number, below the modulus.
    #[inline]
    pub fn times(self, number: u32) -> u32 {
        let whole = ((u64::from(number) * u64::from(self.ratio)) >> 32) as u32;
        let rest = number.wrapping_mul(self.number).wrapping_sub(whole.wrapping_mul(self.modulus));
        // `whole` is at most one too small.
        rest.min(rest.wrapping_sub(self.modulus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_is_what_a_division_leaves(
            (modulus, number) in (2u32..1 << 31).prop_flat_map(|modulus| (Just(modulus), 0..modulus)),
            other: u32,
        ) {
            let product = u64::from(number) * u64::from(other);
            prop_assert_eq!(u64::from(Factor::new(number, modulus).times(other)), product % u64::from(modulus));
        }

        #[test]
        fn a_number_times_its_inverse_is_one(
            (prime, number) in prop::sample::select(vec![2u32, 3, 1_021, 65_537, 1_048_573])
                .prop_flat_map(|prime| (Just(prime), 1..prime)),
        ) {
            prop_assert_eq!(Factor::inverse(number, prime).times(number), 1);
        }
    }
}
