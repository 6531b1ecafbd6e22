//! Internet checksums (RFC 1071), updated rather than computed (RFC 1624).
//!
//! Sums are of 16-bit words as they stand in memory; the ones' complement sum does not care about byte
//! order as long as all words are treated alike (RFC 1071 section 2 (B)).

/// A ones' complement sum in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u32);

impl Sum {
    /// A sum that was computed before.
    #[inline(always)]
    pub fn of(delta: u16) -> Self {
        Self(u32::from(delta))
    }

    /// Adds a 16-bit word.
    #[inline(always)]
    #[must_use]
    pub fn with(self, word: u16) -> Self {
        Self(self.0 + u32::from(word))
    }

    /// Adds the two halves of a word.
    #[inline(always)]
    #[must_use]
    pub fn with_u32(self, word: u32) -> Self {
        Self(self.0 + (word & 0xffff) + (word >> 16))
    }

    /// Takes another sum away.
    #[inline(always)]
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        self.with(!other.fold())
    }

    /// Adds what a change of a 16-bit word means for a complemented checksum.
    #[inline(always)]
    #[must_use]
    pub fn change(self, old: u16, new: u16) -> Self {
        self.with(!old).with(new)
    }

    /// Adds what a change of a 32-bit word means for a complemented checksum.
    #[inline(always)]
    #[must_use]
    pub fn change_u32(self, old: u32, new: u32) -> Self {
        self.with_u32(!old).with_u32(new)
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.with(other.fold())
    }

    /// The sum in 16 bits.
    #[inline(always)]
    #[must_use]
    pub fn fold(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        let twice = (once & 0xffff) + (once >> 16);
        let [a, b, _, _] = twice.to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    /// The checksum field of which this is the whole sum.
    #[inline(always)]
    #[must_use]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// What becomes of a checksum field when this much is changed (RFC 1624 equation 3).
    #[inline(always)]
    #[must_use]
    pub fn applied_to(self, checksum: u16) -> u16 {
        self.with(!checksum).checksum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(words: &[u16]) -> u16 {
        words.iter().fold(Sum::default(), |sum, word| sum.with(*word)).checksum()
    }

    #[test]
    fn the_example_of_rfc_1624_comes_out() {
        // RFC 1624 section 4: checksum 0xdd2f, a field goes from 0x5555 to 0x3285.
        assert_eq!(Sum::default().change(0x5555, 0x3285).applied_to(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_computation(mut words in prop::collection::vec(any::<u16>(), 2..40), at: prop::sample::Index, new: u16) {
            // A real header is never all zero, where the two forms of zero would differ.
            words.push(0x4500);
            let before = whole(&words);
            let index = at.index(words.len() - 1);
            let old = std::mem::replace(&mut words[index], new);
            prop_assert_eq!(Sum::default().change(old, new).applied_to(before), whole(&words));
        }
    }
}
