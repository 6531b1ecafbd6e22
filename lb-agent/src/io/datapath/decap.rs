//! The programs of a backend: decapsulation of what comes in, the segment size of what goes out.
//!
//! Programs and links are pinned, so that they go on after a crash, and the next process takes them over. The
//! maps are its own: it fills them before it swaps the programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::maps::lpm_trie::{Key as Prefix, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use ipnet::IpNet;
use lb_common::api;
use lb_common::decap::{Key, Settings, Verdict, map};
use lb_common::layout::Count;

use super::attach::{attach_again, attach_all, drop_others, find_targets};
use super::attached_interfaces;
use super::clamp::{self, Hook};
use super::counters::{add_count, sum};
use super::error::{DatapathError, OnMap, Result};
use super::maps::entries;
use super::pins::Pins;
use super::program::{load_error, program, verify_named};
use crate::io::netlink::{Link, links};
use crate::model::config::XdpMode;
use crate::model::decap::Tables;

/// The programs of a backend as the repository keeps them built.
pub const DECAP_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../lb-ebpf/object/decap.bpf.o"
));

/// Name of the program in the object.
const PROGRAM: &str = "sluice_decap";

/// Where and how to attach.
#[derive(Clone, Debug)]
pub struct DecapPlan {
    /// The interfaces.
    pub interfaces: Vec<String>,
    /// How to attach to them.
    pub mode: XdpMode,
    /// Where to clamp the segment size, if at all.
    pub hook: Option<Hook>,
    /// The folder of pins, which the process has locked.
    pub pin_path: PathBuf,
}

/// The programs of this backend.
pub struct Decap {
    plan: DecapPlan,
    pins: Pins,
    loaded: Ebpf,
    settings: Array<MapData, Settings>,
    addresses: HashMap<MapData, Key, u32>,
    verdicts: PerCpuArray<MapData, Count>,
}

impl Decap {
    /// Loads the programs and attaches them, or takes the place of those that were left.
    ///
    /// Where anything is in the way, nothing is changed.
    pub fn open(plan: &DecapPlan, tables: &Tables, sources: &[IpNet]) -> Result<Self> {
        let pins = Pins::open(&plan.pin_path)?;
        let is_first = pins.links()?.is_empty();
        let opened = Self::start(plan.clone(), tables, sources, &pins);
        if opened.is_err() && is_first {
            let removed = remove(plan, &pins);
            removed.unwrap_or_else(|error| tracing::warn!(%error, "clean up after a failed start"));
        }
        opened
    }

    fn start(plan: DecapPlan, tables: &Tables, sources: &[IpNet], pins: &Pins) -> Result<Self> {
        let targets = find_targets(&plan.interfaces, plan.mode, Some(pins))?;
        let mut loaded = EbpfLoader::new()
            .load(DECAP_OBJECT)
            .map_err(|error| DatapathError::Load(error.into()))?;
        verify_named(&mut loaded, PROGRAM)?;
        classifier(&mut loaded)?.load().map_err(load_error)?;
        let mut opened = Self {
            settings: take(&mut loaded, map::SETTINGS)?,
            addresses: take(&mut loaded, map::ADDRESSES)?,
            verdicts: take(&mut loaded, map::VERDICTS)?,
            pins: pins.clone(),
            loaded,
            plan,
        };
        opened.set_sources(sources)?;
        opened.set(tables)?;
        opened.clamp()?;
        let Self { plan, loaded, .. } = &mut opened;
        attach_all(program(loaded, PROGRAM)?, targets, plan.mode, pins)?;
        drop_others(&plan.interfaces, pins)?;
        Ok(opened)
    }

    /// Brings the program for what goes out onto all interfaces, or takes it away.
    fn clamp(&mut self) -> Result<()> {
        let Some(hook) = self.plan.hook else {
            return clamp::detach_all(&self.plan.interfaces, &clamp_pins(&self.plan));
        };
        let pins = Pins::open(&clamp_pins(&self.plan))?;
        for interface in &self.plan.interfaces {
            clamp::attach(classifier(&mut self.loaded)?, interface, hook, &pins)?;
        }
        drop_others(&self.plan.interfaces, &pins)
    }

    fn set_sources(&mut self, sources: &[IpNet]) -> Result<()> {
        let mut listed: LpmTrie<MapData, Key, u32> = take(&mut self.loaded, map::SOURCES)?;
        for source in sources {
            let length = Key::FAMILY_BITS + u32::from(source.prefix_len());
            let prefix = Prefix::new(length, Key::from(source.network()));
            listed.insert(&prefix, 1, 0).on("write", map::SOURCES)?;
        }
        Ok(())
    }

    /// Has exactly this in the tables.
    pub fn set(&mut self, tables: &Tables) -> Result<()> {
        self.settings.set(0, tables.settings, 0).on("write", map::SETTINGS)?;
        let wanted: Vec<(Key, u32)> =
            tables.addresses.iter().map(|(address, role)| (Key::from(*address), *role)).collect();
        for (key, role) in &wanted {
            self.addresses.insert(key, role, 0).on("write", map::ADDRESSES)?;
        }
        for (key, _) in entries(&self.addresses, map::ADDRESSES)? {
            if !wanted.iter().any(|(kept, _)| *kept == key) {
                self.addresses.remove(&key).on("remove from", map::ADDRESSES)?;
            }
        }
        Ok(())
    }

    /// What was counted since this process has the programs.
    pub fn counts(&self) -> Result<BTreeMap<Verdict, Count>> {
        let count = |verdict: &Verdict| {
            let sum = sum(&self.verdicts, map::VERDICTS, verdict.number(), add_count)?;
            Ok((*verdict, sum))
        };
        Verdict::ALL.iter().map(count).collect()
    }

    /// Attaches to interfaces that were made anew under their old name.
    pub fn follow_interfaces(&mut self) -> Result<()> {
        for link in links().map_err(DatapathError::Interfaces)? {
            if link.xdp.is_none() && link.mac.is_some() && self.plan.interfaces.contains(&link.name)
            {
                self.attach_again(&link)?;
                tracing::info!("attached to {} again", link.name);
            }
        }
        Ok(())
    }

    fn attach_again(&mut self, link: &Link) -> Result<()> {
        let Self { plan, loaded, pins, .. } = self;
        if let Some(hook) = plan.hook {
            let pins = Pins::open(&clamp_pins(plan))?;
            clamp::attach(classifier(loaded)?, &link.name, hook, &pins)?;
        }
        attach_again(program(loaded, PROGRAM)?, link, plan.mode, pins)
    }

    /// The interfaces that run a program now.
    pub fn interfaces(&self) -> Result<Vec<api::Interface>> {
        attached_interfaces(&self.plan.interfaces)
    }

    /// Detaches what a process before this one has left.
    pub fn detach_left(plan: &DecapPlan) -> Result<()> {
        remove(plan, &Pins::open(&plan.pin_path)?)
    }

    /// Detaches from all interfaces.
    pub fn detach(self) -> Result<()> {
        remove(&self.plan, &self.pins)
    }
}

/// Where the links of the program for what goes out are pinned.
fn clamp_pins(plan: &DecapPlan) -> PathBuf {
    plan.pin_path.join("clamp")
}

fn remove(plan: &DecapPlan, pins: &Pins) -> Result<()> {
    clamp::detach_all(&plan.interfaces, &clamp_pins(plan)).and(pins.remove_all())
}

fn classifier(loaded: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let name = clamp::PROGRAM;
    let no_program = || DatapathError::Load(format!("it has no program {name}").into());
    loaded.program_mut(name).ok_or_else(no_program)?.try_into().map_err(load_error)
}

fn take<M: TryFrom<Map, Error = MapError>>(loaded: &mut Ebpf, name: &'static str) -> Result<M> {
    let no_map = || DatapathError::Load(format!("it has no map {name}").into());
    M::try_from(loaded.take_map(name).ok_or_else(no_map)?).on("open", name)
}
