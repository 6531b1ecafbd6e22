//! From what is pinned, or nothing, to a program on all interfaces.

use std::sync::Arc;

use super::attach::{Target, drop_others, find_targets};
use super::error::Result;
use super::flow_table::FlowTable;
use super::maps::Maps;
use super::pins::Pins;
use super::program::{Other, Verified};
use super::resize::recover;
use super::room::remove_next_firewall;
use super::shape::{Geometry, check_pinned};
use super::upgrade::Upgrade;
use super::{Datapath, New, Size};
use crate::model::config;

/// What is there before any packet meets it.
pub(super) struct Ready {
    pub(super) verified: Verified,
    pub(super) maps: Maps,
    pub(super) flows: FlowTable,
    pub(super) geometry: Geometry,
    pub(super) size: Size,
}

impl Datapath {
    /// The flow table keeps the size that it has: [`Datapath::resize`] gives it another one. Where an agent
    /// was killed while flows moved, this goes on with it.
    pub(super) fn start(
        config: &config::Datapath,
        object: &[u8],
        pins: &Pins,
        (targets, new): (Vec<Target>, New),
    ) -> Result<Self> {
        remove_next_firewall(pins)?;
        let upgrade = Upgrade::found(pins)?;
        let is_moving = upgrade.is_none() && recover(pins)?;
        let ready = match &upgrade {
            Some(upgrade) => upgrade.prepare(object, pins)?,
            None => Ready::of_this_layout(config, object, pins, (is_moving, new))?,
        };
        let attached: Vec<u32> = targets.iter().map(|target| target.link.index).collect();
        let ready = ready.with_interfaces(&targets)?;
        let Ready { mut verified, mut maps, flows, geometry, size } = ready;
        let (interfaces, mode) = (config.interfaces.clone(), config.xdp_mode);
        let targets = match &upgrade {
            Some(upgrade) => {
                upgrade.switch(&mut maps, &mut verified, targets, pins)?;
                find_targets(&interfaces, mode, Some(pins))?
            }
            None => targets,
        };
        new.common.map_or(Ok(()), |common| maps.share_cookies(common))?;
        let (running, late_cookies) = verified.attach(targets, mode, pins)?;
        drop_others(&interfaces, pins)?;
        maps.interfaces.keep(&attached);
        let (flows, pins, is_first) = (Arc::new(flows), pins.clone(), false);
        let mut opened = Self {
            maps,
            flows,
            interfaces,
            mode,
            pins,
            running,
            late_cookies,
            geometry,
            size,
            room: None,
            is_first,
        };
        if is_moving {
            opened.go_on(config.max_flows);
        }
        Ok(opened)
    }
}

impl Ready {
    /// Maps that are pinned and of this layout, or new ones.
    fn of_this_layout(
        config: &config::Datapath,
        object: &[u8],
        pins: &Pins,
        (is_moving, new): (bool, New),
    ) -> Result<Self> {
        let wanted = Geometry::for_flows(config.max_flows, new.firewall)?;
        let pinned = Geometry::pinned(pins)?;
        let geometry = pinned.unwrap_or(wanted);
        check_pinned(pins, geometry)?;
        let next = pins.next();
        let other = is_moving.then_some(Other::of_this_layout(&next));
        let verified = match pinned {
            Some(_) => Verified::load(object, pins, other, geometry)?,
            None => Verified::load_first(object, pins, geometry)?,
        };
        check_pinned(pins, geometry)?;
        let mut maps = Maps::open(pins, geometry)?;
        let flows = FlowTable::open(pins, None)?;
        maps.prepare(geometry, new.common)?;
        Ok(Self { verified, maps, flows, geometry, size: Size::Settled })
    }

    /// Has the maps know of the interfaces.
    fn with_interfaces(self, targets: &[Target]) -> Result<Self> {
        self.maps.mark_all_takers();
        self.maps.settle_filter()?;
        self.maps.interfaces.add(targets)?;
        Ok(self)
    }
}
