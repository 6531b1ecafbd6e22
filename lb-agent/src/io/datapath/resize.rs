//! Another size of the flow table, under load: maps of that size beside the pinned ones, programs that look
//! into both, and pins that tell the next agent how far this one came.
//!
//! ```text
//! prepare   NEXT_* are created, the programs verified       the next agent removes NEXT_*
//! switch    NEXT_SETTINGS is written: the move has begun    the next agent goes on with it
//!           old table, new one on a miss: on all interfaces
//!           new table, old one on a miss: on all interfaces
//! sweeps    every cell of the old table is moved
//! finish    NEXT_SETTINGS knows of no other table           the next agent renames NEXT_*
//!           NEXT_* take the names of the old maps
//!           new table alone: on all interfaces
//! ```
//!
//! The first program of the switch finds what the second one puts into the new table while interfaces
//! run the one and the other.

use std::mem::replace;
use std::sync::Arc;

use aya::maps::{Array, MapData};
use lb_common::layout::Settings;
use lb_common::{LAYOUT_VERSION, map};

use super::attach::find_targets;
use super::error::{DatapathError, OnMap, Result};
use super::flow_table::FlowTable;
use super::maps::open;
use super::pins::{Pins, remove, rename};
use super::program::{Other, Verified};
use super::shape::{Geometry, check_next, read_settings};
use super::{Datapath, OBJECT, Size};

/// What has to be done for another size, beside everything else: it takes seconds.
#[derive(Debug)]
pub struct Resize {
    pins: Pins,
    geometry: Geometry,
}

/// The programs of a move, verified.
#[derive(Debug)]
pub struct Prepared {
    before: Verified,
    after: Verified,
    alone: Verified,
    geometry: Geometry,
}

impl Resize {
    /// Creates the maps and has the kernel verify the programs; nothing uses them yet.
    pub fn prepare(&self) -> Result<Prepared> {
        let Self { pins, geometry } = self;
        let next = pins.next();
        let load = |pins: &Pins, other| Verified::load(OBJECT, pins, other, *geometry);
        // The maps are created by the first that has them.
        let alone = load(&next, None)?;
        let [old, new] = [pins, &next].map(|pins| Some(Other::of_this_layout(pins)));
        let (after, before) = (load(&next, old)?, load(pins, new)?);
        Ok(Prepared { before, after, alone, geometry: *geometry })
    }
}

impl Datapath {
    /// What has to be prepared for the flow table to be made for `max_flows`, if it is not; `open` flows have
    /// to find a place in it.
    pub fn resize(&mut self, max_flows: u32, open: u64) -> Result<Option<Resize>> {
        if !matches!(self.size, Size::Settled) {
            return Ok(None);
        }
        let begun =
            if is_moving(&self.pins)? { Geometry::pinned(&self.pins.next())? } else { None };
        let wanted = || Geometry::for_flows(max_flows, self.geometry.firewall);
        let geometry = begun.map_or_else(wanted, Ok)?;
        if begun.is_none() {
            if geometry == self.geometry {
                return Ok(None);
            }
            if open > u64::from(max_flows) {
                return Err(DatapathError::TooManyOpen { open, max_flows });
            }
            // What an attempt before this one may have left.
            remove_next(&self.pins)?;
        }
        self.size = Size::Preparing;
        Ok(Some(Resize { pins: self.pins.clone(), geometry }))
    }

    /// What was to be prepared could not be.
    pub fn give_up_resize(&mut self) {
        self.size = Size::Settled;
    }

    /// Lets packets use the new table, and fetch from the old one what they do not find; the sweeps move the
    /// rest.
    pub fn switch(&mut self, prepared: Prepared) -> Result<()> {
        self.size = Size::Settled;
        let Prepared { before, after, alone, geometry } = prepared;
        let next = self.pins.next();
        let mut settings: Array<_, Settings> = open(&next, map::SETTINGS)?;
        begin(&mut self.maps.settings, &mut settings, geometry)?;
        self.run(before)?;
        self.run(after)?;
        self.maps.settings = settings;
        let old = Other::of_this_layout(&self.pins);
        self.flows = Arc::new(FlowTable::open(&next, Some(old))?);
        self.geometry = geometry;
        self.size = Size::Moving(Box::new(alone));
        Ok(())
    }

    /// Goes on with what an agent before this one has begun. Without it packets find all flows too, and it is
    /// tried again.
    pub(super) fn go_on(&mut self, max_flows: u32) {
        let resize = self.resize(max_flows, 0);
        let prepared = resize.and_then(|resize| resize.map(|resize| resize.prepare()).transpose());
        let switched = prepared.and_then(|prepared| prepared.map_or(Ok(()), |it| self.switch(it)));
        if let Err(error) = switched {
            self.give_up_resize();
            tracing::warn!(%error, "go on moving flows");
        }
    }

    /// Whether flows are being moved.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        matches!(self.size, Size::Moving(_))
    }

    /// Whether maps of another size are being made, which no packet uses yet.
    #[must_use]
    pub fn is_preparing(&self) -> bool {
        matches!(self.size, Size::Preparing | Size::MakingRoom)
    }

    /// Lets go of the old table, in which a sweep has found no flow.
    pub fn finish(&mut self) -> Result<()> {
        let mut settings = self.maps.settings.get(&0, 0).on("read", map::SETTINGS)?;
        settings.other_mask = 0;
        self.maps.write_settings(&settings)?;
        take_the_names(&self.pins)?;
        self.flows = Arc::new(FlowTable::open(&self.pins, None)?);
        match replace(&mut self.size, Size::Settled) {
            Size::Moving(alone) => self.run(*alone),
            Size::Settled | Size::Preparing | Size::MakingRoom => Ok(()),
        }
    }

    /// Puts another program on all interfaces.
    pub(super) fn run(&mut self, verified: Verified) -> Result<()> {
        let targets = find_targets(&self.interfaces, self.mode, Some(&self.pins))?;
        (self.running, self.late_cookies) = verified.attach(targets, self.mode, &self.pins)?;
        Ok(())
    }
}

/// Writes the settings of the next table, from which on the move has begun, and tells the old one.
fn begin(
    old: &mut Array<MapData, Settings>,
    next: &mut Array<MapData, Settings>,
    geometry: Geometry,
) -> Result<()> {
    let mut settings = old.get(&0, 0).on("read", map::SETTINGS)?;
    let (old_mask, mask) = (settings.bucket_mask, geometry.mask());
    if next.get(&0, 0).on("read", map::SETTINGS)?.layout != LAYOUT_VERSION {
        let begun = Settings { bucket_mask: mask, other_mask: old_mask, ..settings };
        next.set(0, begun, 0).on("write", map::SETTINGS)?;
    }
    settings.other_mask = mask;
    old.set(0, settings, 0).on("write", map::SETTINGS)
}

/// Puts in order what an agent has left in the middle of a resize; says whether flows are still to be moved.
pub(super) fn recover(pins: &Pins) -> Result<bool> {
    let next = pins.next();
    let settings = next.map(map::SETTINGS);
    let found = if settings.exists() { Some(read_settings(&settings)?) } else { None };
    match found {
        Some(settings) if settings.layout != 0 => {
            check_next(pins)?;
            if settings.other_mask == 0 {
                take_the_names(pins)?;
                return Ok(false);
            }
            let geometry = Geometry::pinned(&next)?;
            let mut old: Array<_, Settings> = open(pins, map::SETTINGS)?;
            let mut next: Array<_, Settings> = open(&next, map::SETTINGS)?;
            geometry.map_or(Ok(()), |geometry| begin(&mut old, &mut next, geometry))?;
            Ok(true)
        }
        _ => remove_next(pins).map(|()| false),
    }
}

/// Whether the move to the next table has begun.
fn is_moving(pins: &Pins) -> Result<bool> {
    let settings = pins.next().map(map::SETTINGS);
    Ok(settings.exists() && read_settings(&settings)?.layout == LAYOUT_VERSION)
}

pub(super) fn remove_next(pins: &Pins) -> Result<()> {
    let next = pins.next();
    map::SIZED.iter().try_for_each(|name| remove(&next.map(name)))
}

/// The settings come last: as long as they are there, the next agent goes on with this.
pub(super) fn take_the_names(pins: &Pins) -> Result<()> {
    let next = pins.next();
    for name in map::SIZED {
        if next.map(name).exists() {
            rename(&next.map(name), &pins.map(name))?;
        }
    }
    Ok(())
}
