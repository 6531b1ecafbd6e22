//! The program that the attached one goes on in, by a tail call through an array of programs.
//!
//! Both share memory of one load of the object, so each load has an array of its own. The kernel empties an
//! array that nobody holds (`prog_array_map_clear` in kernel/bpf/arraymap.c), so it is pinned, under the id of
//! the program that is attached.

use aya::Ebpf;
use aya::maps::{MapData, ProgramArray};
use lb_common::map;

use super::backends::wait_for_packets;
use super::error::{OnMap, Result};
use super::pins::{Pins, pin_error, remove};
use super::program::{program, verify};

/// Name of the array in the object.
const STAGES: &str = "STAGES";

/// Programs of the object, and where they stand in the array.
const PROGRAMS: [(&str, u32); 3] = [
    ("sluice_second", map::STAGE_SECOND),
    ("sluice_firewall", map::STAGE_FIREWALL),
    ("sluice_cookies", map::STAGE_COOKIES),
];

/// Sets the array up. It must be kept as long as the program runs.
pub fn set_stages(loaded: &mut Ebpf) -> Result<ProgramArray<MapData>> {
    let map = loaded.take_map(STAGES).ok_or("the object has no such map").on("find", STAGES)?;
    let mut stages = ProgramArray::try_from(map).on("open", STAGES)?;
    for (name, stage) in PROGRAMS {
        verify(loaded, name)?;
        let verified = program(loaded, name)?.fd().on("find a program of", STAGES)?;
        stages.set(stage, verified, 0).on("write", STAGES)?;
    }
    Ok(stages)
}

/// Keeps the array beyond the agent's life.
pub(super) fn pin(stages: ProgramArray<MapData>, pins: &Pins, program_id: u32) -> Result<()> {
    let path = pins.stages(program_id);
    stages.pin(&path).map_err(|error| pin_error("pin", &path, error))
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
