//! The programs that the attached one goes on in, by a tail call through an array of programs.
//!
//! All share memory of one load of the object, so each load has an array of its own. The kernel empties an
//! array that nobody holds (`prog_array_map_clear` in kernel/bpf/arraymap.c), so it is pinned, under the id of
//! the program that is attached.
//!
//! A call to a place that is empty ends in `XDP_ABORTED`: what leads a packet there is written to the maps later than
//! the program into the array.

use std::thread;

use aya::Ebpf;
use aya::maps::{Map, MapData, ProgramArray};
use lb_common::map;

use super::backends::wait_for_packets;
use super::error::{DatapathError, OnMap, Result};
use super::pins::{Pins, pin_error, remove};
use super::program::{program, verify};

/// Name of the array in the object.
const STAGES: &str = "STAGES";

/// A program of the object, and where it stands in the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    name: &'static str,
    place: u32,
}

/// What every packet goes on in that is not quickly dealt with.
pub(super) const SECOND: Stage = Stage { name: "sluice_second", place: map::STAGE_SECOND };
/// Where packets are judged by rules.
pub(super) const FIREWALL: Stage = Stage { name: "sluice_firewall", place: map::STAGE_FIREWALL };
/// Where SYNs are answered with cookies, and flows that began so are translated.
pub(super) const COOKIES: Stage = Stage { name: "sluice_cookies", place: map::STAGE_COOKIES };

/// Sets the array up with all programs. It must be kept as long as the program runs.
pub fn set_stages(loaded: &mut Ebpf) -> Result<ProgramArray<MapData>> {
    set_some(loaded, &[SECOND, FIREWALL, COOKIES])
}

/// The same with some of the others.
pub(super) fn set_some(loaded: &mut Ebpf, stages: &[Stage]) -> Result<ProgramArray<MapData>> {
    let map = loaded.take_map(STAGES).ok_or("the object has no such map").on("find", STAGES)?;
    let mut array = ProgramArray::try_from(map).on("open", STAGES)?;
    verify_all(loaded, stages)?;
    stages.iter().try_for_each(|stage| put(loaded, *stage, &mut array))?;
    Ok(array)
}

/// Adds a program to the array of those that run.
pub(super) fn add(
    loaded: &mut Ebpf,
    stage: Stage,
    array: &mut ProgramArray<MapData>,
) -> Result<()> {
    verify_all(loaded, &[stage])?;
    put(loaded, stage, array)
}

fn put(loaded: &mut Ebpf, stage: Stage, array: &mut ProgramArray<MapData>) -> Result<()> {
    let verified = program(loaded, stage.name)?.fd().on("find a program of", STAGES)?;
    array.set(stage.place, verified, 0).on("write", STAGES)
}

/// Has the kernel verify programs, each on a thread of its own: one takes up to a second.
fn verify_all(loaded: &mut Ebpf, stages: &[Stage]) -> Result<()> {
    let is_wanted = |name: &str| stages.iter().any(|stage| stage.name == name);
    let programs = loaded.programs_mut().filter(|(name, _)| is_wanted(name));
    thread::scope(|scope| {
        let verify = |program| scope.spawn(|| verify(program).map(drop));
        let threads: Vec<_> = programs.map(|(_, program)| verify(program)).collect();
        let mut ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        let panicked = |_| Err(DatapathError::Load("its verification panicked".into()));
        ended.try_for_each(|ended| ended.unwrap_or_else(panicked))
    })
}

/// Keeps the array beyond the agent's life.
pub(super) fn pin(stages: ProgramArray<MapData>, pins: &Pins, program_id: u32) -> Result<()> {
    let path = pins.stages(program_id);
    stages.pin(&path).map_err(|error| pin_error("pin", &path, error))
}

/// Opens the array of a program that is attached.
pub(super) fn open(pins: &Pins, program_id: u32) -> Result<ProgramArray<MapData>> {
    let data = MapData::from_pin(pins.stages(program_id)).on("open", STAGES)?;
    Map::from_map_data(data).and_then(ProgramArray::try_from).on("open", STAGES)
}

/// Lets go of the arrays of programs that are attached no more, once no packet is in those.
pub(super) fn drop_others(pins: &Pins, program_id: u32) -> Result<()> {
    let ours = pins.stages(program_id);
    let mut others = pins.all_stages()?;
    others.retain(|path| *path != ours);
    if !others.is_empty() {
        wait_for_packets();
    }
    others.into_iter().try_for_each(|path| remove(&path))
}
