//! SipHash-2-4 (Aumasson and Bernstein, "`SipHash`: a fast short-input PRF"), of whole 64-bit words.

/// A hash in the making. To hash bytes is the same, where they are whole words, the lowest byte first.
#[derive(Clone, Copy, Debug)]
pub struct SipHash {
    state: [u64; 4],
    bytes: u64,
}

impl SipHash {
    /// A hash that nobody can foretell who does not know the key.
    #[inline(always)]
    pub fn keyed(key: &[u64; 2]) -> Self {
        let [low, high] = *key;
        let state = [
            low ^ 0x736f_6d65_7073_6575,
            high ^ 0x646f_7261_6e64_6f6d,
            low ^ 0x6c79_6765_6e65_7261,
            high ^ 0x7465_6462_7974_6573,
        ];
        Self { state, bytes: 0 }
    }

    /// Adds a word.
    #[inline(always)]
    #[must_use]
    pub fn with(self, word: u64) -> Self {
        let added = self.mixed(word);
        Self { bytes: self.bytes + 8, ..added }
    }

    /// The hash of all words.
    #[inline(always)]
    pub fn finish(self) -> u64 {
        let [a, b, c, d] = self.mixed(self.bytes << 56).state;
        let [a, b, c, d] = round(round(round(round([a, b, c ^ 0xff, d]))));
        a ^ b ^ c ^ d
    }

    #[inline(always)]
    fn mixed(self, word: u64) -> Self {
        let [a, b, c, d] = self.state;
        let [a, b, c, d] = round(round([a, b, c, d ^ word]));
        Self { state: [a ^ word, b, c, d], bytes: self.bytes }
    }
}

#[inline(always)]
fn round([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let (a, c) = (a.wrapping_add(b), c.wrapping_add(d));
    let (b, d) = (b.rotate_left(13) ^ a, d.rotate_left(16) ^ c);
    let a = a.rotate_left(32);
    let (c, a) = (c.wrapping_add(b), a.wrapping_add(d));
    let (b, d) = (b.rotate_left(17) ^ c, d.rotate_left(21) ^ a);
    [a, b, c.rotate_left(32), d]
}

#[cfg(test)]
mod tests {
    #![expect(deprecated, reason = "SipHash-2-4 of the standard library is an oracle")]
    use std::hash::{Hasher, SipHasher};

    use super::SipHash;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_the_standard_library_says(key: [u64; 2], words: Vec<u64>) {
            let mut oracle = SipHasher::new_with_keys(key[0], key[1]);
            for word in &words {
                oracle.write_u64(*word);
            }
            let ours = words.iter().fold(SipHash::keyed(&key), |hash, word| hash.with(*word));
            prop_assert_eq!(ours.finish(), oracle.finish());
        }
    }
}
