//! The packet path: its program on the interfaces, its maps, its flow table. The BPF library stays behind
//! this module.
//!
//! Program, links and maps are pinned, so they outlive the agent, and the next agent takes them over. A
//! pinned map is used only after its shape and the version of its layout have been compared.

mod attach;
mod backends;
mod clamp;
mod counters;
mod decap;
mod error;
mod flow_table;
mod follow;
mod loads;
mod lock;
mod mapping;
mod maps;
mod pins;
mod prepare;
mod shape;
mod stages;
mod sweep;
mod tables;
mod wire;
mod writes;

use std::path::Path;
use std::sync::Arc;

use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::{api, map};

pub use clamp::Hook;
pub use counters::Counters;
pub use decap::{DECAP_OBJECT, Decap, DecapPlan};
pub use error::{DatapathError, Result};
pub use flow_table::{FlowEntry, FlowTable};
pub use lock::Lock;
pub use pins::is_on_bpffs;
pub use stages::set_stages;
pub use sweep::FlowCounts;

use crate::io::netlink::links;
use crate::model::config;
use crate::model::tables::{Tables, Write};
use attach::{Target, attach_all, drop_others, find_targets};
use maps::Maps;
use pins::Pins;
use shape::{Geometry, check_pinned};

/// The packet path as the repository keeps it built.
pub const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../lb-ebpf/object/sluice.bpf.o"
));

/// Name of the program in the object.
const PROGRAM: &str = "sluice";

/// The packet path of this host.
pub struct Datapath {
    maps: Maps,
    flows: Arc<FlowTable>,
    interfaces: Vec<String>,
    mode: config::XdpMode,
    pins: Pins,
    loaded: Ebpf,
    /// Kernel id of the program that was attached.
    program_id: u32,
    is_first: bool,
}

impl Datapath {
    /// Loads the program and attaches it, or takes over what an agent before this one left.
    ///
    /// `object` is the compiled packet path, as a rule [`OBJECT`]. Where anything is in the way, nothing
    /// is changed.
    pub fn open(config: &config::Datapath, object: &[u8]) -> Result<Self> {
        let geometry = Geometry::for_flows(config.max_flows)?;
        let before = Pins::existing(&config.pin_path).filter(|pins| !pins.is_empty());
        let targets = find_targets(&config.interfaces, config.xdp_mode, before.as_ref())?;
        let pins = Pins::open(&config.pin_path)?;
        let opened = Self::start(config, object, geometry, &pins, targets);
        if opened.is_err() && before.is_none() {
            let removed = pins.remove_all();
            removed.unwrap_or_else(|error| tracing::warn!(%error, "clean up after a failed start"));
        }
        opened.map(|opened| Self { is_first: before.is_none(), ..opened })
    }

    /// Whether there were no pins before.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    fn start(
        config: &config::Datapath,
        object: &[u8],
        geometry: Geometry,
        pins: &Pins,
        targets: Vec<Target>,
    ) -> Result<Self> {
        check_pinned(pins, geometry)?;
        let mut loaded = load(object, pins, geometry)?;
        check_pinned(pins, geometry)?;
        let second = set_stages(&mut loaded)?;
        let program = verify(&mut loaded, PROGRAM)?;
        let program_id = program.info().map_err(load_error)?.id();
        let mut maps = Maps::open(pins)?;
        let flows = Arc::new(FlowTable::open(pins, geometry)?);
        maps.prepare(geometry)?;
        maps.mark_all_takers();
        let attached: Vec<u32> = targets.iter().map(|target| target.link.index).collect();
        maps.add_interfaces(&targets)?;
        stages::pin(second, pins, program_id)?;
        attach_all(program, targets, config.xdp_mode, pins)?;
        drop_others(&config.interfaces, pins)?;
        stages::drop_others(pins, program_id)?;
        maps.keep_interfaces(&attached)?;
        let (interfaces, mode) = (config.interfaces.clone(), config.xdp_mode);
        let pins = pins.clone();
        Ok(Self { maps, flows, interfaces, mode, pins, loaded, program_id, is_first: false })
    }

    /// Everything that was written to the maps.
    pub fn tables(&self) -> Result<Tables> {
        self.maps.tables()
    }

    /// Carries out writes in their order; stops at the first that fails.
    pub fn apply(&mut self, writes: &[Write]) -> Result<()> {
        self.maps.apply(writes)
    }

    /// The counters of all verdicts and of these ids.
    pub fn counters(
        &self,
        listeners: impl IntoIterator<Item = u32>,
        backends: impl IntoIterator<Item = u32>,
    ) -> Result<Counters> {
        self.maps.counters(listeners, backends)
    }

    /// The flow table, to be swept and read beside everything else.
    #[must_use]
    pub fn flows(&self) -> Arc<FlowTable> {
        Arc::clone(&self.flows)
    }

    /// The configured interfaces that run a program now.
    pub fn interfaces(&self) -> Result<Vec<api::Interface>> {
        attached_interfaces(&self.interfaces)
    }
}

/// Those of these interfaces that run a program now.
fn attached_interfaces(names: &[String]) -> Result<Vec<api::Interface>> {
    let links = links().map_err(DatapathError::Interfaces)?;
    Ok(links
        .into_iter()
        .filter(|link| names.contains(&link.name))
        .filter_map(|link| {
            let attached = link.xdp?;
            let mode = if attached.native { "native" } else { "generic" };
            let (name, mode) = (link.name, mode.to_owned());
            Some(api::Interface { name, mode, program_id: attached.program_id })
        })
        .collect())
}

/// Both may be moved to, and the flow table used from, any thread.
const _: () = {
    const fn proved<T: Send + Sync>() {}
    proved::<Datapath>();
    proved::<FlowTable>();
};

/// Memory that the flow table takes, in bytes.
pub fn flow_table_bytes(max_flows: u32) -> Result<u64> {
    Geometry::for_flows(max_flows).map(Geometry::bytes)
}

/// Detaches from all interfaces and removes program and maps. False if there was nothing.
pub fn detach(pin_path: &Path) -> Result<bool> {
    match Pins::existing(pin_path) {
        Some(pins) => pins.remove_all().map(|()| true),
        None => Ok(false),
    }
}

/// Loads the object with the maps that are pinned, and creates and pins those that are not.
fn load(object: &[u8], pins: &Pins, geometry: Geometry) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for name in map::ALL {
        loader.map_pin_path(name, pins.map(name));
    }
    loader.map_max_entries(map::FLOWS, geometry.buckets);
    loader.map_max_entries(map::DETAILS, geometry.cells);
    loader.load(object).map_err(|error| DatapathError::Load(error.into()))
}

/// The kernel's refusal. The verifier's log may be a megabyte; its last lines say what it stopped at.
fn load_error(error: ProgramError) -> DatapathError {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return DatapathError::Load(error.into());
    };
    let log = verifier_log.to_string();
    tracing::debug!("the verifier's log:\n{log}");
    let mut lines: Vec<_> = log.trim_end().lines().rev().take(5).collect();
    lines.reverse();
    let lines = lines.join("\n  ");
    DatapathError::Load(format!("{io_error}; the verifier's log ends with\n  {lines}").into())
}

/// Has the kernel verify a program.
fn verify<'e>(loaded: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = program(loaded, name)?;
    program.load().map_err(load_error)?;
    Ok(program)
}

fn program<'e>(loaded: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let no_program = || DatapathError::Load(format!("it has no program {name}").into());
    loaded.program_mut(name).ok_or_else(no_program)?.try_into().map_err(load_error)
}
