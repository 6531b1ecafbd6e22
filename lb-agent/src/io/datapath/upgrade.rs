//! Maps of the layout before this one, with packets in the program of the agent that has left them: another version
//! of the agent takes over without losing a packet or a flow, be it newer or older.
//!
//! What differs between the two layouts is the flow table. All other maps are taken over as they are; of the flow
//! table there is one more for a time, as when it gets another size (`resize`).
//!
//! ```text
//! prepare    NEXT_* are created, the programs verified      the next agent removes NEXT_*
//! switch     on all interfaces: a program that calls the old one
//!            NEXT_SETTINGS get a layout: from this store    the next agent goes on with it
//!            on it calls the new one
//!            new table, old one on a miss: on all interfaces
//! ```
//!
//! From there on it is as with another size. The old program cannot look into the new table, so it must not meet a
//! packet after the new one has met any: hence the program that stands in for both. A packet that is in the old
//! program at that store is done long before the next one of its flow has come as far.

use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::{ProgramFd, SocketFilter};
use lb_common::cell::before;
use lb_common::layout::Settings;
use lb_common::{LAYOUT_VERSION, map};

use super::Size;
use super::attach::{Target, replace_held};
use super::backends::wait_for_packets;
use super::error::{DatapathError, OnMap, Result};
use super::flow_table::FlowTable;
use super::maps::Maps;
use super::pins::{Pins, pin_error};
use super::program::{Other, PROGRAM, Verified, load_error, program, verify_named};
use super::resize::{remove_next, take_the_names};
use super::shape::{Geometry, check_shapes, read_settings};
use super::stages;
use super::start::Ready;

/// Name of the program that stands in for the old and the new one.
const HANDOVER: &str = "sluice_handover";

/// What another version has left.
pub(super) struct Upgrade {
    /// The settings of its flow table.
    old: Settings,
    /// Whether an agent before this one has come beyond the switch.
    has_begun: bool,
}

impl Upgrade {
    /// Looks whether that is the case; `None` as well where all flows have moved.
    pub(super) fn found(pins: &Pins) -> Result<Option<Self>> {
        let old = settings(pins)?.filter(|old| old.layout == before::VERSION);
        let Some(old) = old else { return Ok(None) };
        let next = settings(&pins.next())?.filter(|next| next.layout != 0);
        match next.map(|next| (next.layout, next.other_mask)) {
            None => Ok(Some(Self { old, has_begun: false })),
            Some((LAYOUT_VERSION, 0)) => take_the_names(pins).map(|()| None),
            Some((LAYOUT_VERSION, _)) => Ok(Some(Self { old, has_begun: true })),
            Some(_) => Err(DatapathError::Unfinished),
        }
    }

    /// Creates the maps that are missing and has the kernel verify the programs; no packet meets them yet.
    pub(super) fn prepare(&self, object: &[u8], pins: &Pins) -> Result<Ready> {
        let next = pins.next();
        if !self.has_begun {
            // What an attempt before this one may have left.
            remove_next(pins)?;
        }
        let no_table = || DatapathError::Load("there is no flow table".into());
        let pinned = Geometry::pinned(pins)?.ok_or_else(no_table)?;
        check_shapes(pins, pinned)?;
        let geometry = Geometry::pinned(&next)?.unwrap_or(pinned);
        check_shapes(&next, geometry)?;
        let alone = Verified::load(object, &next, None, geometry)?;
        let old = Other { pins, is_before: true };
        let verified = Verified::load(object, &next, Some(old), geometry)?;
        let maps = Maps::open(&next, geometry)?;
        let flows = FlowTable::open(&next, Some(old))?;
        Ok(Ready { verified, maps, flows, geometry, size: Size::Moving(Box::new(alone)) })
    }

    /// Lets packets on these interfaces meet the new program.
    pub(super) fn switch(
        &self,
        maps: &mut Maps,
        verified: &mut Verified,
        targets: Vec<Target>,
        pins: &Pins,
    ) -> Result<()> {
        let (from, to) = (before::VERSION, LAYOUT_VERSION);
        tracing::info!("flows of version {from} of the layout are being moved to version {to}");
        if self.has_begun {
            return Ok(());
        }
        let other_mask = self.old.bucket_mask;
        let mut next = Settings { layout: 0, other_mask, ..self.old };
        let mut write = |layout| {
            next.layout = layout;
            maps.settings.set(0, next, 0).on("write", map::SETTINGS)
        };
        write(0)?;
        stand_in(&mut verified.loaded, targets, pins)?;
        write(LAYOUT_VERSION)?;
        wait_for_packets();
        Ok(())
    }
}

/// Puts the program on the interfaces that calls the old one, until the settings have a layout.
fn stand_in(loaded: &mut Ebpf, targets: Vec<Target>, pins: &Pins) -> Result<()> {
    let path = pins.program();
    // The library keeps to itself what it asks for to open one for XDP; for a handle any kind does.
    let old = SocketFilter::from_pin(&path);
    let old = old.map_err(|error| pin_error("open the program", &path, error))?;
    let array = loaded.take_map(map::HANDOVER).ok_or("the object has no such map");
    let array = array.on("find", map::HANDOVER)?;
    let mut array = ProgramArray::try_from(array).on("open", map::HANDOVER)?;
    let mut set =
        |index, program: &ProgramFd| array.set(index, program, 0).on("write", map::HANDOVER);
    set(0, old.fd().on("find a program of", map::HANDOVER)?)?;
    set(1, program(loaded, PROGRAM)?.fd().on("find a program of", map::HANDOVER)?)?;
    let program = verify_named(loaded, HANDOVER)?;
    stages::pin(array, pins, program.info().map_err(load_error)?.id())?;
    replace_held(program, targets)?;
    wait_for_packets();
    Ok(())
}

/// The settings that are pinned, if they are.
fn settings(pins: &Pins) -> Result<Option<Settings>> {
    let path = pins.map(map::SETTINGS);
    path.exists().then(|| read_settings(&path)).transpose()
}
