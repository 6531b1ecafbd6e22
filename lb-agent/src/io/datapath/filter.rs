//! Keeps the filter of the packet path, whose bits say what may be ours.
//!
//! Bits are set before what they are about is written, and cleared after it is removed: a bit too many costs a look,
//! one that is missing would cost packets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use lb_common::filter::{Mark, of_backend, of_listener, of_vip};
use lb_common::layout;

use super::error::Result;
use super::maps::Maps;
use crate::model::tables::{ListenerKey, Write};

impl Maps {
    /// Sets the bits of what is about to be written.
    pub(super) fn mark(&self, writes: &[Write]) {
        for (word, bits) in writes.iter().filter_map(mark_of) {
            let word = usize::try_from(word).ok().and_then(|word| self.filter.words().get(word));
            if let Some(word) = word {
                word.fetch_or(bits, Ordering::Release);
            }
        }
    }

    /// Clears the bits of what these writes have removed, unless something else has them too.
    pub(super) fn unmark(&self, writes: &[Write]) -> Result<()> {
        if writes.iter().any(removes) { self.settle_filter() } else { Ok(()) }
    }

    /// Gives the filter the bits of what is in the maps, and no others.
    pub(super) fn settle_filter(&self) -> Result<()> {
        let vips = self.read_vips()?.into_keys().map(mark_of_vip);
        let pointers = self.read_pointers()?.into_keys().map(mark_of_listener);
        let backends = self.read_backends();
        let mut words = BTreeMap::<u32, u64>::new();
        for (word, bits) in vips.chain(pointers).chain(backends.values().filter_map(of_backend)) {
            *words.entry(word).or_default() |= bits;
        }
        for (index, word) in (0..).zip(self.filter.words()) {
            word.store(words.get(&index).copied().unwrap_or(0), Ordering::Release);
        }
        Ok(())
    }
}

fn mark_of(write: &Write) -> Option<Mark> {
    match write {
        Write::Backend { value, .. } => of_backend(value),
        Write::Point { key, .. } => Some(mark_of_listener(*key)),
        Write::Vip { address, .. } => Some(mark_of_vip(*address)),
        Write::Settings(_)
        | Write::FreeBackend { .. }
        | Write::Slots { .. }
        | Write::Listener { .. }
        | Write::Run { .. }
        | Write::Draw { .. }
        | Write::Unpoint { .. }
        | Write::FreeListener { .. }
        | Write::RemoveVip { .. }
        | Write::Firewall(_) => None,
    }
}

fn removes(write: &Write) -> bool {
    matches!(write, Write::FreeBackend { .. } | Write::Unpoint { .. } | Write::RemoveVip { .. })
}

fn mark_of_vip(address: IpAddr) -> Mark {
    of_vip(&layout::address(address).0)
}

fn mark_of_listener(key: ListenerKey) -> Mark {
    let (address, port, _) = layout::endpoint(key.address);
    of_listener(&address, port, key.protocol_number())
}
