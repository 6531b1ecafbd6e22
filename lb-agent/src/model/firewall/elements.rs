//! What a set holds: prefixes of both families, sorted and each once.
//!
//! A set may be large and change by one prefix. So it is a list that is shared, and what was added to it and
//! deleted from it since: a copy costs as much as the changes, and two states of a set that share their list
//! ([`Elements::shares_list_with`]) differ in the changes alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

/// The elements of a set.
#[derive(Clone, Debug, Default)]
pub struct Elements {
    /// Sorted, each once.
    list: Arc<[IpNet]>,
    /// Not in the list.
    added: BTreeSet<IpNet>,
    /// In the list.
    deleted: BTreeSet<IpNet>,
}

impl Elements {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len() + self.added.len() - self.deleted.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the prefix is an element. One that a shorter element covers is none by that.
    pub fn contains(&self, prefix: IpNet) -> bool {
        self.added.contains(&prefix) || self.is_listed(prefix) && !self.deleted.contains(&prefix)
    }

    /// Adds a prefix; `false`: it was an element before.
    pub fn add(&mut self, prefix: IpNet) -> bool {
        if self.is_listed(prefix) {
            self.deleted.remove(&prefix)
        } else {
            self.added.insert(prefix)
        }
    }

    /// Deletes a prefix; `false`: it was no element.
    pub fn delete(&mut self, prefix: IpNet) -> bool {
        if self.is_listed(prefix) {
            self.deleted.insert(prefix)
        } else {
            self.added.remove(&prefix)
        }
    }

    /// All elements; first those of the list in order, then the others in order.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let listed = self.list.iter().filter(|prefix| !self.deleted.contains(prefix));
        listed.chain(&self.added).copied()
    }

    /// The elements within a prefix, and those that hold all of it.
    pub fn around(&self, all: IpNet) -> impl Iterator<Item = IpNet> {
        let holding = (0..all.prefix_len())
            .filter_map(move |length| Some(IpNet::new(all.network(), length).ok()?.trunc()));
        let holding = holding.filter(|prefix| self.contains(*prefix));
        // Prefixes are in the order of their first addresses, shorter ones first.
        let first = IpNet::new_assert(all.network(), 0);
        let last = IpNet::from(all.broadcast());
        let start = self.list.partition_point(|prefix| *prefix < first);
        let end = self.list.partition_point(|prefix| *prefix <= last);
        let listed = self.list.get(start..end).unwrap_or_default().iter();
        let listed = listed.filter(|prefix| !self.deleted.contains(prefix));
        let within = listed.chain(self.added.range(first..=last)).copied();
        holding.chain(within.filter(move |prefix| prefix.prefix_len() >= all.prefix_len()))
    }

    /// The elements that the other one does not have; with a common list this takes no look at it.
    pub fn not_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = IpNet> + 'a {
        let shared = self.shares_list_with(other);
        let listed = self.list.iter().filter(move |_| !shared);
        let candidates = listed.chain(&self.added).chain(&other.deleted).copied();
        candidates.filter(|prefix| self.contains(*prefix) && !other.contains(*prefix))
    }

    /// Whether the two came from one list by [`Self::add`] and [`Self::delete`].
    pub fn shares_list_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.list, &other.list)
    }

    /// What is not in the list.
    pub fn added(&self) -> &BTreeSet<IpNet> {
        &self.added
    }

    /// What is in the list and no element.
    pub fn deleted(&self) -> &BTreeSet<IpNet> {
        &self.deleted
    }

    fn is_as_listed(&self) -> bool {
        self.added.is_empty() && self.deleted.is_empty()
    }

    fn is_listed(&self, prefix: IpNet) -> bool {
        self.list.binary_search(&prefix).is_ok()
    }
}

/// Host bits are set to zero, and what stands twice is one element.
impl FromIterator<IpNet> for Elements {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let mut list: Vec<IpNet> = prefixes.into_iter().map(|prefix| prefix.trunc()).collect();
        list.sort_unstable();
        list.dedup();
        Self { list: list.into(), ..Self::default() }
    }
}

/// Whether the two hold the same prefixes.
impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        if self.shares_list_with(other) {
            return self.added == other.added && self.deleted == other.deleted;
        }
        if self.is_as_listed() && other.is_as_listed() {
            return self.list == other.list;
        }
        self.len() == other.len() && self.iter().all(|prefix| other.contains(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn set(texts: &[&str]) -> Elements {
        texts.iter().map(|text| net(text)).collect()
    }

    #[test]
    fn a_set_holds_each_prefix_once_and_without_host_bits() {
        let set = set(&["2001:db8::1/32", "10.1.2.3/8", "10.0.0.0/8", "10.0.0.0/9"]);
        let all: Vec<IpNet> = set.iter().collect();
        assert_eq!(all, [net("10.0.0.0/8"), net("10.0.0.0/9"), net("2001:db8::/32")]);
    }

    #[test]
    fn what_is_added_and_deleted_again_leaves_the_set_as_it_was() {
        let before = set(&["10.0.0.0/8"]);
        let mut after = before.clone();
        assert!(after.add(net("192.0.2.1/32")) && !after.add(net("192.0.2.1/32")));
        assert!(after.delete(net("10.0.0.0/8")) && !after.delete(net("10.0.0.0/8")));
        assert_eq!(after, set(&["192.0.2.1/32"]));
        assert_eq!(after.len(), 1);
        assert!(after.add(net("10.0.0.0/8")) && after.delete(net("192.0.2.1/32")));
        assert_eq!(after, before);
        assert!(after.added().is_empty() && after.deleted().is_empty());
    }

    #[test]
    fn two_sets_are_equal_if_their_elements_are() {
        let mut grown = set(&["10.0.0.0/8"]);
        grown.add(net("192.0.2.1/32"));
        assert_eq!(grown, set(&["192.0.2.1/32", "10.0.0.0/8"]));
        assert_ne!(grown, set(&["192.0.2.2/32", "10.0.0.0/8"]));
        assert!(!grown.is_empty());
    }
}
