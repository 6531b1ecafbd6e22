//! Classes of addresses: all that lie in the same prefixes of rules and sets are of one.

use std::collections::HashMap;

use lb_common::layout::firewall::MAX_CLASSES;

use super::CompileError;

/// What lying in a prefix means: numbers of rules, and whether as a source (even) or a destination (odd). Sorted.
pub(super) type Uses = Vec<u32>;

/// An address as a number.
pub(super) trait Bits: Copy + Ord {
    /// Whether a prefix of this length holds an address.
    fn holds(self, length: u8, address: Self) -> bool;
}

impl Bits for u32 {
    fn holds(self, length: u8, address: Self) -> bool {
        (self ^ address).leading_zeros() >= u32::from(length)
    }
}

impl Bits for u128 {
    fn holds(self, length: u8, address: Self) -> bool {
        (self ^ address).leading_zeros() >= u32::from(length)
    }
}

/// A prefix, and what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix<B, V> {
    pub(super) bits: B,
    pub(super) length: u8,
    pub(super) value: V,
}

/// Classes by number; the first is that of addresses in no prefix.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    list: Vec<Uses>,
    numbers: HashMap<Uses, u16>,
    /// What becomes of a class by another use.
    joined: HashMap<(u16, u32), u16>,
}

impl Classes {
    pub(super) fn new() -> Self {
        Self { list: vec![Uses::new()], numbers: [(Uses::new(), 0)].into(), joined: HashMap::new() }
    }

    /// What lying in addresses of each class means.
    pub(super) fn list(&self) -> &[Uses] {
        &self.list
    }

    /// Gives each prefix the class of addresses that lie in no longer one. `labels` says what the numbers stand for
    /// that come with the prefixes. What changes nothing is left out; the others are sorted.
    pub(super) fn classify<B: Bits>(
        &mut self,
        mut prefixes: Vec<Prefix<B, u32>>,
        labels: &[Uses],
    ) -> Result<Vec<Prefix<B, u16>>, CompileError> {
        prefixes.sort_unstable_by_key(|prefix| (prefix.bits, prefix.length));
        let mut classified: Vec<Prefix<B, u16>> = Vec::new();
        // The prefixes that hold the one at hand, the longest last.
        let mut around: Vec<Prefix<B, u16>> = Vec::new();
        let same =
            |a: &Prefix<B, u32>, b: &Prefix<B, u32>| (a.bits, a.length) == (b.bits, b.length);
        for group in prefixes.chunk_by(same) {
            let Some(&Prefix { bits, length, .. }) = group.first() else { continue };
            while around.last().is_some_and(|outer| !outer.bits.holds(outer.length, bits)) {
                around.pop();
            }
            let outer = around.last().map_or(0, |outer| outer.value);
            let mut class = outer;
            for prefix in group {
                class = self.join(class, prefix.value, labels)?;
            }
            if class != outer {
                let prefix = Prefix { bits, length, value: class };
                around.push(prefix);
                classified.push(prefix);
            }
        }
        Ok(classified)
    }

    fn join(&mut self, class: u16, label: u32, labels: &[Uses]) -> Result<u16, CompileError> {
        if let Some(joined) = self.joined.get(&(class, label)) {
            return Ok(*joined);
        }
        let before = self.list.get(usize::from(class)).into_iter().flatten();
        let more = usize::try_from(label).ok().and_then(|label| labels.get(label));
        let mut uses: Uses = before.chain(more.into_iter().flatten()).copied().collect();
        uses.sort_unstable();
        uses.dedup();
        let joined = self.number(uses)?;
        self.joined.insert((class, label), joined);
        Ok(joined)
    }

    fn number(&mut self, uses: Uses) -> Result<u16, CompileError> {
        if let Some(number) = self.numbers.get(&uses) {
            return Ok(*number);
        }
        let number = u16::try_from(self.list.len()).ok().filter(|number| *number < MAX_CLASSES);
        let number = number.ok_or(CompileError::Classes)?;
        self.list.push(uses.clone());
        self.numbers.insert(uses, number);
        Ok(number)
    }
}
