//! Other rules: prepared beside everything else, and then put into force in one step.
//!
//! Rules that need maps of another size get such maps beside the pinned ones, filled before a program uses them. What
//! they hold is derived from configuration and sets, so nothing is moved: an agent that is killed in the middle
//! leaves the old firewall, or the new one, to the next agent, which writes it anew.

use std::mem::take;
use std::sync::Arc;

use lb_common::map;

use super::backends::wait_for_packets;
use super::error::{DatapathError, Result};
use super::firewall::{Both, FirewallMaps};
use super::pins::{Pins, remove, rename};
use super::program::Verified;
use super::shape::Geometry;
use super::{Datapath, OBJECT, Size};
use crate::model::firewall::compile::{self, Compiled, Order};
use crate::model::tables::Write;

/// What has to be done before other rules are put into force, beside everything else: it may take seconds.
pub struct NextRules(Next);

enum Next {
    /// The half that no packet reads is to be filled.
    Half(Arc<Both>),
    /// Maps of another size, and programs that use them, are to be made.
    Room(Pins, Geometry),
}

/// That it was done.
pub struct RulesReady(Option<Room>);

/// Maps of another size, which hold these rules, and a program that uses them.
pub(super) struct Room {
    rules: u64,
    maps: FirewallMaps,
    verified: Verified,
    geometry: Geometry,
}

impl Room {
    fn make(pins: &Pins, geometry: Geometry, rules: &Arc<Compiled>) -> Result<Self> {
        remove_next_firewall(pins)?;
        let next = pins.next_firewall();
        let verified = Verified::load(OBJECT, &next, None, geometry)?;
        let mut maps = FirewallMaps::open(&next, geometry.firewall)?;
        maps.put(rules)?;
        Ok(Self { rules: rules.id, maps, verified, geometry })
    }
}

impl NextRules {
    /// Whether it makes maps of another size.
    #[must_use]
    pub fn makes_room(&self) -> bool {
        matches!(self.0, Next::Room(..))
    }

    /// What differs from the rules in force, where that can be told.
    pub fn difference(&self, order: &Order) -> Option<Arc<Compiled>> {
        match &self.0 {
            Next::Half(both) => both.difference(order),
            Next::Room(..) => None,
        }
    }

    /// Does it for the rules that are to be next. No packet is judged by them yet.
    pub fn prepare(&self, rules: &Arc<Compiled>) -> Result<RulesReady> {
        match &self.0 {
            Next::Half(both) => both.fill(rules).map(|()| RulesReady(None)),
            Next::Room(pins, geometry) => {
                Room::make(pins, *geometry, rules).map(|room| RulesReady(Some(room)))
            }
        }
    }
}

impl Datapath {
    /// What is to be done for rules that need this size; [`Self::rules_ready`] takes what comes of it.
    pub fn next_rules(&mut self, size: compile::Size) -> Result<NextRules> {
        if size == self.geometry.firewall {
            return Ok(NextRules(Next::Half(self.maps.firewall.both())));
        }
        if !matches!(self.size, Size::Settled) {
            return Err(DatapathError::Resizing);
        }
        self.size = Size::MakingRoom;
        let geometry = Geometry { firewall: size, ..self.geometry };
        Ok(NextRules(Next::Room(self.pins.clone(), geometry)))
    }

    /// What was to be done was done.
    pub fn rules_ready(&mut self, ready: RulesReady) {
        self.room = ready.0.or(self.room.take());
    }

    /// Nobody makes room any more, whatever came of it.
    pub fn room_ended(&mut self) {
        if matches!(self.size, Size::MakingRoom) {
            self.size = Size::Settled;
        }
    }

    /// Lets go of what was prepared and is not needed any more.
    pub fn drop_room(&mut self) -> Result<()> {
        take(&mut self.room).map_or(Ok(()), |_| remove_next_firewall(&self.pins))
    }

    /// Gives the firewall's maps the size that these rules are made for, and has packets judged by them from then on,
    /// unless they have that size.
    pub(super) fn make_room(&mut self, rules: &Arc<Compiled>) -> Result<()> {
        let (room, size) = (take(&mut self.room), rules.head.size);
        if size == self.geometry.firewall || !rules.is_on() {
            return Ok(());
        }
        if !matches!(self.size, Size::Settled) {
            return Err(DatapathError::Resizing);
        }
        let geometry = Geometry { firewall: size, ..self.geometry };
        let room = room.filter(|room| (room.rules, room.geometry) == (rules.id, geometry));
        let made = || Room::make(&self.pins, geometry, rules);
        let Room { maps, verified, .. } = room.map_or_else(made, Ok)?;
        self.run(verified)?;
        wait_for_packets();
        self.maps.firewall = maps;
        self.geometry = geometry;
        let next = self.pins.next_firewall();
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
