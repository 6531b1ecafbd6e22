//! Carries out the writes of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{offset_of, take};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::layout::{Backend, Cursor, Listener, Settings, Slot, Vip, run};
use lb_common::map;
use zerocopy::FromZeros;

use super::counters::zero;
use super::error::{OnMap, Result};
use super::maps::Maps;
use super::settings::steps;
use super::tables::LISTENER_WORDS;
use super::wire::{WireKey, listener_key, vip_key};
use crate::model::tables::{ListenerKey, Write};

const RUN_WORD: usize = offset_of!(Listener, run) / size_of::<u64>();

impl Maps {
    /// Carries out writes in their order; those of backends that follow each other are one batch, and so are
    /// those of listeners.
    pub(super) fn apply(&mut self, writes: &[Write]) -> Result<()> {
        let mut backends = BTreeMap::new();
        let mut listeners = BTreeMap::new();
        for write in writes {
            if let Write::Backend { id, value } = write {
                self.write_listeners(&take(&mut listeners))?;
                backends.insert(*id, *value);
            } else if let Write::Listener { id, value } = write {
                self.write_backends(&take(&mut backends))?;
                listeners.insert(*id, *value);
            } else {
                self.write_backends(&take(&mut backends))?;
                self.write_listeners(&take(&mut listeners))?;
                self.apply_one(write)?;
            }
        }
        self.write_backends(&backends)?;
        self.write_listeners(&listeners)
    }

    fn apply_one(&mut self, write: &Write) -> Result<()> {
        match write {
            Write::Settings(settings) => self.write_settings(settings),
            Write::Backend { id, value } => self.write_backends(&[(*id, *value)].into()),
            Write::FreeBackend { id } => {
                self.backends.set(*id, Backend::new_zeroed(), 0).on("free an id in", map::BACKENDS)
            }
            Write::Slots { base, slots } => self.write_slots(*base, slots),
            Write::Listener { id, value } => self.write_listeners(&[(*id, *value)].into()),
            Write::Run { id, run } => self.write_run(*id, *run),
            Write::Draw { id, value } => self.write_draw(*id, value),
            Write::Point { key, id } => self.point(*key, *id),
            Write::Unpoint { key } => self.unpoint(*key),
            Write::FreeListener { id } => self.free_listener(*id),
            Write::Vip { address, value } => self.write_vip(*address, *value),
            Write::RemoveVip { address } => self.remove_vip(*address),
            Write::Firewall(compiled) => {
                self.firewall.write(compiled)?;
                compiled.forget_content();
                Ok(())
            }
        }
    }

    pub(super) fn write_settings(&mut self, settings: &Settings) -> Result<()> {
        let before = self.settings.get(&0, 0).on("read", map::SETTINGS)?;
        for step in steps(&before, settings) {
            self.settings.set(0, step, 0).on("write", map::SETTINGS)?;
        }
        Ok(())
    }

    fn write_slots(&mut self, base: u32, slots: &[Slot]) -> Result<()> {
        let words = self.run_words(run(base, u32::try_from(slots.len()).unwrap_or(u32::MAX)));
        if words.len() != slots.len() {
            return Err(format!("there is no slot {base}")).on("write", map::SLOTS);
        }
        for (word, slot) in words.iter().zip(slots) {
            word.store(zerocopy::transmute!(*slot), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes entries of listeners that no key points to.
    fn write_listeners(&mut self, entries: &BTreeMap<u32, Listener>) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let others = self.used_listeners().filter(|(id, _)| !entries.contains_key(id));
        let in_use: BTreeSet<u32> = others.map(|(_, listener)| listener.cursor).collect();
        let cursors: BTreeSet<u32> = entries.values().map(|listener| listener.cursor).collect();
        for cursor in cursors.difference(&in_use) {
            self.cursors.set(*cursor, Cursor::new_zeroed(), 0).on("write", map::CURSORS)?;
        }
        for (id, value) in entries {
            zero(&mut self.listener_traffic, map::LISTENER_TRAFFIC, *id)?;
            self.clear_guard(*id);
            // Not by a system call, which copies an entry in no order.
            self.write_run(*id, value.run)?;
            self.write_draw(*id, value)?;
        }
        Ok(())
    }

    fn write_run(&mut self, id: u32, run: u64) -> Result<()> {
        let word = self.listener_word(id, RUN_WORD)?;
        let (before, after) = (self.takers(word.load(Ordering::Relaxed)), self.takers(run));
        self.mark_takers(&after, true);
        // The slots are written before this store.
        word.store(run, Ordering::Release);
        self.mark_takers(before.difference(&after), false);
        Ok(())
    }

    /// Writes all words but the run's, each by one store.
    fn write_draw(&mut self, id: u32, value: &Listener) -> Result<()> {
        let words: [u64; LISTENER_WORDS] = zerocopy::transmute!(*value);
        for (index, word) in words.into_iter().enumerate().filter(|(index, _)| *index != RUN_WORD) {
            self.listener_word(id, index)?.store(word, Ordering::Release);
        }
        Ok(())
    }

    fn free_listener(&mut self, id: u32) -> Result<()> {
        let run = self.listener_word(id, RUN_WORD)?.load(Ordering::Relaxed);
        self.mark_takers(&self.takers(run), false);
        self.listeners.set(id, Listener::new_zeroed(), 0).on("free an id in", map::LISTENERS)
    }

    fn listener_word(&self, id: u32, word: usize) -> Result<&AtomicU64> {
        usize::try_from(id)
            .ok()
            .and_then(|id| self.listener_words.words().get(id * LISTENER_WORDS + word))
            .ok_or_else(|| format!("there is no listener {id}"))
            .on("write", map::LISTENERS)
    }

    fn point(&mut self, key: ListenerKey, id: u32) -> Result<()> {
        match listener_key(key) {
            WireKey::V4(key) => self.listeners_v4.insert(key, id, 0).on("write", map::LISTENERS_V4),
            WireKey::V6(key) => self.listeners_v6.insert(key, id, 0).on("write", map::LISTENERS_V6),
        }
    }

    fn unpoint(&mut self, key: ListenerKey) -> Result<()> {
        match listener_key(key) {
            WireKey::V4(key) => self.listeners_v4.remove(&key).on("remove from", map::LISTENERS_V4),
            WireKey::V6(key) => self.listeners_v6.remove(&key).on("remove from", map::LISTENERS_V6),
        }
    }

    fn write_vip(&mut self, address: IpAddr, value: Vip) -> Result<()> {
        match vip_key(address) {
            WireKey::V4(key) => self.vips_v4.insert(key, value, 0).on("write", map::VIPS_V4),
            WireKey::V6(key) => self.vips_v6.insert(key, value, 0).on("write", map::VIPS_V6),
        }
    }

    fn remove_vip(&mut self, address: IpAddr) -> Result<()> {
        match vip_key(address) {
            WireKey::V4(key) => self.vips_v4.remove(&key).on("remove from", map::VIPS_V4),
            WireKey::V6(key) => self.vips_v6.remove(&key).on("remove from", map::VIPS_V6),
        }
    }
}
