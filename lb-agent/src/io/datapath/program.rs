//! The program from the object to the interfaces.

use std::fmt;

use aya::maps::{MapData, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::{Program, ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use lb_common::map;
use lb_ebpf::family::mix;

use super::attach::{Target, attach_all};
use super::backends::wait_for_packets;
use super::cookies::LateCookies;
use super::error::{DatapathError, OnMap, Result};
use super::pins::{Pins, pin_error};
use super::prepare::{cpus, draw_key};
use super::shape::Geometry;
use super::stages::{self, COOKIES, FIREWALL, SECOND, Stage, set_some};
use crate::model::config::XdpMode;
use crate::model::firewall::compile::Size;

/// Name of the program in the object.
pub(super) const PROGRAM: &str = "sluice";

/// The flow table that is looked into on a miss, while flows move.
#[derive(Clone, Copy)]
pub(super) struct Other<'p> {
    pub(super) pins: &'p Pins,
    /// Whether its cells are of the layout before this one.
    pub(super) is_before: bool,
}

impl<'p> Other<'p> {
    /// One of this layout.
    pub(super) fn of_this_layout(pins: &'p Pins) -> Self {
        Self { pins, is_before: false }
    }
}

/// A program that the kernel has verified.
pub(super) struct Verified {
    pub(super) loaded: Ebpf,
    stages: ProgramArray<MapData>,
    has_cookies: bool,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

/// A program that is attached.
pub(super) struct Running {
    /// Its kernel id.
    pub(super) id: u32,
    /// Whether the program for SYN cookies can be called.
    pub(super) has_cookies: bool,
}

impl Verified {
    /// Loads the object with the maps that are pinned, and creates and pins those that are not.
    pub(super) fn load(
        object: &[u8],
        pins: &Pins,
        other: Option<Other<'_>>,
        geometry: Geometry,
    ) -> Result<Self> {
        Self::load_with(&[COOKIES], load(object, pins, other, geometry)?, geometry)
    }

    /// The same for the first start, without the program for SYN cookies.
    pub(super) fn load_first(object: &[u8], pins: &Pins, geometry: Geometry) -> Result<Self> {
        Self::load_with(&[], load(object, pins, None, geometry)?, geometry)
    }

    /// Rules come only into maps that have room for them, and so into those of a program that has the firewall's.
    fn load_with(more: &[Stage], mut loaded: Ebpf, geometry: Geometry) -> Result<Self> {
        let mut wanted = vec![SECOND];
        wanted.extend((geometry.firewall != Size::none()).then_some(FIREWALL));
        wanted.extend(more);
        scatter_sources(&mut loaded)?;
        let stages = set_some(&mut loaded, &wanted)?;
        verify_named(&mut loaded, PROGRAM)?;
        Ok(Self { loaded, stages, has_cookies: wanted.contains(&COOKIES) })
    }

    /// Attaches it to all targets. What ran there before goes when no packet is in it any more.
    pub(super) fn attach(
        mut self,
        targets: Vec<Target>,
        mode: XdpMode,
        pins: &Pins,
    ) -> Result<(Running, Option<LateCookies>)> {
        let program = program(&mut self.loaded, PROGRAM)?;
        let id = program.info().map_err(load_error)?.id();
        stages::pin(self.stages, pins, id)?;
        attach_all(program, targets, mode, pins)?;
        wait_for_packets();
        stages::drop_others(pins, id)?;
        let (loaded, has_cookies) = (self.loaded, self.has_cookies);
        let late = || Ok(LateCookies { loaded, stages: stages::open(pins, id)?, program_id: id });
        let late = if has_cookies { None } else { Some(late()?) };
        Ok((Running { id, has_cookies }, late))
    }
}

/// Opens the program that runs.
pub(super) fn pinned(pins: &Pins) -> Result<Xdp> {
    let path = pins.program();
    let program = Xdp::from_pin(&path, XdpAttachType::Interface);
    program.map_err(|error| pin_error("open the program", &path, error))
}

/// Entries of the maps whose number depends on that of prefixes.
#[must_use]
pub fn firewall_entries(size: Size) -> [(&'static str, u32); 4] {
    [
        (map::FIREWALL_FRONTS, 2 * size.chunks),
        (map::FIREWALL_VALUES, 2 * size.chunks),
        (map::FIREWALL_CELLS, 2 * size.cell_buckets),
        (map::FIREWALL_LONG, 2 * size.long_buckets),
    ]
}

fn load(object: &[u8], pins: &Pins, other: Option<Other<'_>>, geometry: Geometry) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    prepare(&mut loader, pins, other, geometry);
    loader.load(object).map_err(|error| DatapathError::Load(error.into()))
}

/// Tells a loader which maps are there, and how large the others are to be.
pub(super) fn prepare(
    loader: &mut EbpfLoader<'_>,
    pins: &Pins,
    other: Option<Other<'_>>,
    geometry: Geometry,
) {
    for name in map::ALL {
        loader.map_pin_path(name, pins.map(name));
    }
    if let Some(Other { pins, is_before }) = other {
        loader.map_pin_path(map::OTHER_FLOWS, pins.map(map::FLOWS));
        loader.map_pin_path(map::OTHER_DETAILS, pins.map(map::DETAILS));
        loader.override_global(map::OTHER_IS_BEFORE, if is_before { &1_u8 } else { &0 }, true);
    }
    let Geometry { buckets, cells, firewall } = geometry;
    for (name, entries) in [(map::FLOWS, buckets), (map::DETAILS, cells)] {
        loader.map_max_entries(name, entries);
    }
    for (name, entries) in firewall_entries(firewall) {
        loader.map_max_entries(name, entries);
    }
}

/// Has each CPU begin anywhere with the sources of full NAT. A program that replaces another one would begin with
/// those that the first flows of the other one have, and a restarted director with those that backends know.
fn scatter_sources(loaded: &mut Ebpf) -> Result<()> {
    let drawn = loaded.map_mut(map::SOURCES_DRAWN).ok_or("the object has no such map");
    let drawn = drawn.on("find", map::SOURCES_DRAWN)?;
    let mut drawn = PerCpuArray::<_, u64>::try_from(drawn).on("open", map::SOURCES_DRAWN)?;
    let [seed] = draw_key()?;
    let firsts = (0..u64::from(cpus()?)).map(|cpu| mix(seed ^ cpu));
    let firsts = PerCpuValues::try_from(firsts.collect::<Vec<_>>());
    let firsts = firsts.on("write", map::SOURCES_DRAWN)?;
    drawn.set(0, firsts, 0).on("write", map::SOURCES_DRAWN)
}

/// The kernel's refusal. The verifier's log may be a megabyte; its last lines say what it stopped at.
pub(super) fn load_error(error: ProgramError) -> DatapathError {
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
pub(super) fn verify(program: &mut Program) -> Result<&mut Xdp> {
    let program = xdp(program)?;
    program.load().map_err(load_error)?;
    Ok(program)
}

/// Has the kernel verify the program of this name.
pub(super) fn verify_named<'e>(loaded: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    verify(named(loaded, name)?)
}

pub(super) fn program<'e>(loaded: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    xdp(named(loaded, name)?)
}

fn named<'e>(loaded: &'e mut Ebpf, name: &str) -> Result<&'e mut Program> {
    let no_program = || DatapathError::Load(format!("it has no program {name}").into());
    loaded.program_mut(name).ok_or_else(no_program)
}

fn xdp(program: &mut Program) -> Result<&mut Xdp> {
    program.try_into().map_err(load_error)
}
