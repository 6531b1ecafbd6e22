//! The order of turns, remembered: a ring or a long cycle takes long to work out, and most changes are about
//! others.

use std::collections::HashMap;
use std::mem::take;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::ring::{self, Member};
use super::rotation;

/// What an order depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Cycle(Vec<u32>),
    Ring(Vec<Member>, u32),
}

type Orders = HashMap<Key, Arc<[u32]>>;

/// The orders of this round and those of the last one that were not asked for yet.
#[derive(Debug, Default)]
pub struct Turns(Mutex<(Orders, Orders)>);

impl Turns {
    /// A new round: what is not asked for until the next one is forgotten.
    pub(super) fn begin(&self) {
        let (now, before) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *before = take(now);
    }

    /// A cycle in which each member has the turns of its weight, as indexes.
    pub(super) fn cycle(&self, members: &[(SocketAddr, u32)]) -> Arc<[u32]> {
        let weights: Vec<u32> = members.iter().map(|(_, weight)| *weight).collect();
        self.find(Key::Cycle(weights))
    }

    /// A ring on which each member has the slots of its weight, as indexes of those that serve; see [`ring::size`].
    pub(super) fn ring(&self, members: &[Member], cap: u32) -> Arc<[u32]> {
        self.find(Key::Ring(members.to_vec(), ring::size(members.len(), cap)))
    }

    fn find(&self, key: Key) -> Arc<[u32]> {
        let (now, before) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = now.get(&key) {
            return Arc::clone(known);
        }
        let order = before.remove(&key).unwrap_or_else(|| match &key {
            Key::Cycle(weights) => rotation::cycle(weights).into(),
            Key::Ring(members, size) => ring::ring(members, *size).into(),
        });
        now.insert(key, Arc::clone(&order));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cast::v4;

    #[test]
    fn an_order_is_worked_out_again_only_after_a_round_without_it() {
        let turns = Turns::default();
        let members = [1, 2].map(|n| Member { address: v4(n), weight: 1, percent: 100 });
        let first = turns.ring(&members, 251);
        turns.begin();
        assert!(Arc::ptr_eq(&first, &turns.ring(&members, 251)));
        assert!(!Arc::ptr_eq(&first, &turns.ring(&members[..1], 251)));
        turns.begin();
        turns.begin();
        let later = turns.ring(&members, 251);
        assert!(!Arc::ptr_eq(&first, &later) && first == later);
    }
}
