//! Reads the tables back from the maps.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::layout::{Backend, Listener, Slot, Vip, run_parts};
use lb_common::{MAX_BACKENDS, map};
use zerocopy::transmute;

use super::error::{OnMap, Result};
use super::maps::{Maps, entries};
use super::wire::{listener_of_v4, listener_of_v6, vip_of_v4, vip_of_v6};
use crate::model::firewall::compile::Compiled;
use crate::model::tables::{ListenerKey, Tables};

/// Words of an entry of the map of listeners.
pub(super) const LISTENER_WORDS: usize = size_of::<Listener>() / size_of::<AtomicU64>();

impl Maps {
    /// Everything that the agent has written.
    pub(super) fn tables(&self) -> Result<Tables> {
        let listeners: BTreeMap<_, _> = self.used_listeners().collect();
        Ok(Tables {
            settings: self.settings.get(&0, 0).on("read", map::SETTINGS)?,
            vips: self.read_vips()?,
            pointers: self.read_pointers()?,
            runs: self.read_runs(&listeners),
            backends: self.read_backends(),
            listeners,
            // What the rules were cannot be told from the maps.
            firewall: (!self.firewall.is_on()).then(|| Arc::new(Compiled::off())),
        })
    }

    /// The listeners whose entry is not free.
    pub(super) fn used_listeners(&self) -> impl Iterator<Item = (u32, Listener)> {
        let all = self.listener_words.words().chunks_exact(LISTENER_WORDS).map(read_listener);
        (0..).zip(all).filter(|(_, listener)| listener.family != 0)
    }

    pub(super) fn read_vips(&self) -> Result<BTreeMap<IpAddr, Vip>> {
        let v4 = entries(&self.vips_v4, map::VIPS_V4)?;
        let v6 = entries(&self.vips_v6, map::VIPS_V6)?;
        let v4 = v4.into_iter().filter_map(|(word, vip)| Some((vip_of_v4(word)?, vip)));
        let v6 = v6.into_iter().filter_map(|(words, vip)| Some((vip_of_v6(&words)?, vip)));
        Ok(v4.chain(v6).collect())
    }

    pub(super) fn read_pointers(&self) -> Result<BTreeMap<ListenerKey, u32>> {
        let v4 = entries(&self.listeners_v4, map::LISTENERS_V4)?;
        let v6 = entries(&self.listeners_v6, map::LISTENERS_V6)?;
        let v4 = v4.into_iter().filter_map(|(key, id)| Some((listener_of_v4(key)?, id)));
        let v6 = v6.into_iter().filter_map(|(key, id)| Some((listener_of_v6(&key)?, id)));
        Ok(v4.chain(v6).collect())
    }

    /// The backends whose entry is not free. Nobody else writes them.
    pub(super) fn read_backends(&self) -> BTreeMap<u32, Backend> {
        let entry = |id| Some((id, self.backend_words.entry::<Backend>(id)?.get()));
        (0..MAX_BACKENDS).filter_map(entry).filter(|(_, backend)| backend.state != 0).collect()
    }

    fn read_runs(&self, listeners: &BTreeMap<u32, Listener>) -> BTreeMap<u32, Vec<Slot>> {
        let runs = listeners.values().filter(|listener| run_parts(listener.run).1 != 0);
        runs.map(|listener| (run_parts(listener.run).0, self.read_run(listener.run))).collect()
    }

    /// The slots of a run.
    pub(super) fn read_run(&self, run: u64) -> Vec<Slot> {
        self.run_words(run).iter().map(|word| transmute!(word.load(Ordering::Relaxed))).collect()
    }

    /// The words of a run's slots.
    pub(super) fn run_words(&self, run: u64) -> &[AtomicU64] {
        let (base, length) = run_parts(run);
        let place = usize::try_from(base).ok().zip(usize::try_from(length).ok());
        let words = place.and_then(|(base, length)| self.slots.words().get(base..base + length));
        words.unwrap_or_default()
    }
}

fn read_listener(entry: &[AtomicU64]) -> Listener {
    let mut words = [0; LISTENER_WORDS];
    for (word, source) in words.iter_mut().zip(entry) {
        *word = source.load(Ordering::Relaxed);
    }
    transmute!(words)
}
