//! Carries out the writes of a plan.

use std::collections::BTreeMap;
use std::mem::{offset_of, take};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use lb_common::layout::{Backend, Cursor, Listener, Settings, Traffic, Vip};
use lb_common::map;
use zerocopy::FromZeros;

use super::error::{OnMap, Result, Source};
use super::maps::Maps;
use super::tables::LISTENER_WORDS;
use super::wire::{WireKey, listener_key, vip_key};
use crate::model::tables::{ListenerKey, Write};

const RUN_WORD: usize = offset_of!(Listener, run) / size_of::<u64>();
const CURSOR_WORD: usize = offset_of!(Listener, cursor) / size_of::<u64>();

impl Maps {
    /// Carries out writes in their order; those of backends that follow each other are one batch.
    pub(super) fn apply(&mut self, writes: &[Write]) -> Result<()> {
        let mut batch = BTreeMap::new();
        for write in writes {
            if let Write::Backend { id, value } = write {
                batch.insert(*id, *value);
            } else {
                self.write_backends(&take(&mut batch))?;
                self.apply_one(write)?;
            }
        }
        self.write_backends(&batch)
    }

    fn apply_one(&mut self, write: &Write) -> Result<()> {
        match write {
            Write::Settings(settings) => self.write_settings(settings),
            Write::Backend { id, value } => self.write_backends(&[(*id, *value)].into()),
            Write::FreeBackend { id } => {
                self.backends.set(*id, Backend::new_zeroed(), 0).on("free an id in", map::BACKENDS)
            }
            Write::Slots { base, backends } => self.write_slots(*base, backends),
            Write::Listener { id, value } => self.write_listener(*id, value),
            Write::Run { id, run } => self.write_run(*id, *run),
            Write::Cursor { id, cursor } => self.write_cursor(*id, *cursor),
            Write::Point { key, id } => self.point(*key, *id),
            Write::Unpoint { key } => self.unpoint(*key),
            Write::FreeListener { id } => self
                .listeners
                .set(*id, Listener::new_zeroed(), 0)
                .on("free an id in", map::LISTENERS),
            Write::Vip { address, value } => self.write_vip(*address, *value),
            Write::RemoveVip { address } => self.remove_vip(*address),
        }
    }

    pub(super) fn write_settings(&mut self, settings: &Settings) -> Result<()> {
        self.settings.set(0, settings, 0).on("write", map::SETTINGS)
    }

    fn write_slots(&mut self, base: u32, backends: &[u32]) -> Result<()> {
        for (slot, backend) in (base..).zip(backends) {
            self.slots.set(slot, backend, 0).on("write", map::SLOTS)?;
        }
        Ok(())
    }

    fn write_listener(&mut self, id: u32, value: &Listener) -> Result<()> {
        zero_traffic(&mut self.listener_traffic, map::LISTENER_TRAFFIC, id)?;
        let shared = self
            .used_listeners()
            .any(|(other, listener)| other != id && listener.cursor == value.cursor);
        if !shared {
            self.cursors.set(value.cursor, Cursor::new_zeroed(), 0).on("write", map::CURSORS)?;
        }
        self.listeners.set(id, value, 0).on("write", map::LISTENERS)
    }

    fn write_run(&mut self, id: u32, run: u64) -> Result<()> {
        // The slots were written by a system call, which the processor finished before this store.
        self.listener_word(id, RUN_WORD)?.store(run, Ordering::Release);
        Ok(())
    }

    fn write_cursor(&mut self, id: u32, cursor: u32) -> Result<()> {
        let mut listener = self.listeners.get(&id, 0).on("read", map::LISTENERS)?;
        listener.cursor = cursor;
        let words: [u64; LISTENER_WORDS] = zerocopy::transmute!(listener);
        let word = words.get(CURSOR_WORD).copied().unwrap_or_default();
        // The word's other half, scheduler, protocol and port, is what it was.
        self.listener_word(id, CURSOR_WORD)?.store(word, Ordering::Release);
        Ok(())
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

pub(super) fn zero_traffic(
    of: &mut PerCpuArray<MapData, Traffic>,
    name: &'static str,
    id: u32,
) -> Result<()> {
    let mut zero = || -> Result<(), Source> {
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        let values = PerCpuValues::try_from(vec![Traffic::default(); cpus])?;
        of.set(id, values, 0).map_err(Source::from)
    };
    zero().on("zero counters in", name)
}
