//! Chance that can be repeated.

/// A generator of pseudorandom numbers: small, fast, and the same on every machine.
///
/// Source: `SplitMix64`; G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

/// What [`Rng::chance`] counts in.
pub(crate) const MILLION: u64 = 1_000_000;

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 for an empty range.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    /// A number in `low..=high`.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Milliseconds in `low..=high`.
    pub(crate) fn span_ms(&mut self, low: u64, high: u64) -> i64 {
        i64::try_from(self.within(low, high)).unwrap_or(i64::MAX)
    }

    /// Whether something happens that happens `ppm` times in a million.
    pub(crate) fn chance(&mut self, ppm: u64) -> bool {
        ppm > 0 && self.below(MILLION) < ppm
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let number = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        &from[number]
    }
}

/// Spreads the bits of a number.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number that stands for a text.
///
/// Source: FNV-1a, Fowler, Noll and Vo, with 64 bits.
pub(crate) fn hash(start: u64, bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(start ^ 0xcbf2_9ce4_8422_2325, fold)
}
