//! Another size of the firewall: maps of that size beside the pinned ones, filled before a program uses them.
//!
//! What they hold is derived from configuration and sets, so nothing is moved: an agent that is killed in the middle
//! leaves the old firewall, or the new one, to the next agent, which writes it anew.

use std::sync::Arc;

use lb_common::map;

use super::error::{DatapathError, Result};
use super::firewall::FirewallMaps;
use super::pins::{Pins, remove, rename};
use super::program::Verified;
use super::shape::Geometry;
use super::{Datapath, OBJECT, Size};
use crate::model::firewall::compile::Compiled;
use crate::model::tables::Write;

impl Datapath {
    /// Gives the firewall's maps the size that this firewall is made for, and has packets judged by it from then on,
    /// unless they have that size.
    pub(super) fn make_room(&mut self, compiled: &Arc<Compiled>) -> Result<()> {
        if compiled.size == self.geometry.firewall || !compiled.is_on() {
            return Ok(());
        }
        if !matches!(self.size, Size::Settled) {
            return Err(DatapathError::Resizing);
        }
        remove_next_firewall(&self.pins)?;
        let next = self.pins.next_firewall();
        let geometry = Geometry { firewall: compiled.size, ..self.geometry };
        let verified = Verified::load(OBJECT, &next, None, geometry)?;
        let mut maps = FirewallMaps::open(&next, compiled.size)?;
        maps.write(compiled)?;
        self.run(verified)?;
        self.maps.firewall = maps;
        self.geometry = geometry;
        for name in map::FIREWALLS {
            rename(&next.map(name), &self.pins.map(name))?;
        }
        Ok(())
    }
}

/// Removes what an agent has left that was killed while it made room.
pub(super) fn remove_next_firewall(pins: &Pins) -> Result<()> {
    let next = pins.next_firewall();
    map::FIREWALLS.iter().try_for_each(|name| remove(&next.map(name)))
}

/// The firewall that a write is about.
pub(super) fn firewall_of(write: &Write) -> Option<&Arc<Compiled>> {
    match write {
        Write::Firewall(compiled) => Some(compiled),
        Write::Settings(_)
        | Write::Backend { .. }
        | Write::FreeBackend { .. }
        | Write::Slots { .. }
        | Write::Listener { .. }
        | Write::Run { .. }
        | Write::Draw { .. }
        | Write::Point { .. }
        | Write::Unpoint { .. }
        | Write::FreeListener { .. }
        | Write::Vip { .. }
        | Write::RemoveVip { .. } => None,
    }
}
