//! Chance that a seed decides.

/// A sequence of numbers that depends on its seed only (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The sequence of this seed; each `strand` of it is another one.
    #[must_use]
    pub(crate) fn new(seed: u64, strand: u64) -> Self {
        let mut chance = Self(seed ^ strand.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        chance.next();
        chance
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `least` up to and without `end`; `least` if there is none.
    pub(crate) fn between(&mut self, least: u64, end: u64) -> u64 {
        least + self.next() % end.saturating_sub(least).max(1)
    }

    /// A number up to `most`, of any size: half of them are below the square root.
    pub(crate) fn any_size(&mut self, most: u64) -> u64 {
        let bits = u64::from(64 - most.leading_zeros());
        let bits = self.between(0, bits + 1);
        (self.next() & ((1 << bits) - 1)).min(most)
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.next().is_multiple_of(times)
    }
}
