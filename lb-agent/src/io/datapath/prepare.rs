//! What the maps must hold before the first packet: the settings.

use std::fs::File;
use std::io::Read;

use aya::util::nr_cpus;
use lb_common::layout::{HashKey, Settings};
use lb_common::{LAYOUT_VERSION, map};
use zerocopy::{FromZeros, IntoBytes};

use super::error::{DatapathError, OnMap, Result, Source};
use super::maps::Maps;
use super::shape::Geometry;

/// What several directors have in common.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// Key of the flow hash; it counts only where a flow table is made.
    pub hash_key: HashKey,
    /// Key of SYN cookies.
    pub cookie_key: [u64; 2],
    /// See [`Settings::cookie_clock`].
    pub cookie_clock: u64,
}

impl Maps {
    /// Writes the settings of new maps: a hash key, and timeouts of zero until the first plan.
    pub(super) fn prepare(&mut self, geometry: Geometry, common: Option<Common>) -> Result<()> {
        let settings = self.settings.get(&0, 0).on("read", map::SETTINGS)?;
        if settings.layout == LAYOUT_VERSION {
            return Ok(());
        }
        self.write_settings(&Settings {
            hash_key: common.map_or_else(draw_key, |common| Ok(common.hash_key))?,
            cookie_key: draw_key()?,
            bucket_mask: geometry.mask(),
            layout: LAYOUT_VERSION,
            cpus: cpus()?,
            ..Settings::new_zeroed()
        })
    }

    /// Has cookies be those of all directors. Those that are on their way now are then invalid, if they were not
    /// before.
    pub(super) fn share_cookies(&mut self, common: Common) -> Result<()> {
        let settings = self.settings.get(&0, 0).on("read", map::SETTINGS)?;
        let Common { cookie_key, cookie_clock, .. } = common;
        // The clock was only read anew where it is off by a tick.
        let is_off = cookie_clock.wrapping_sub(settings.cookie_clock).wrapping_add(1) > 2;
        if settings.cookie_key == cookie_key && !is_off {
            return Ok(());
        }
        self.write_settings(&Settings { cookie_key, cookie_clock, ..settings })
    }
}

/// The CPUs that may ever run, which share the ports of full NAT and have a copy each of maps per CPU.
pub(super) fn cpus() -> Result<u16> {
    let cpus = nr_cpus().map_err(|(_, error)| Source::from(error)).on("write", map::SETTINGS)?;
    Ok(u16::try_from(cpus).unwrap_or(u16::MAX))
}

pub(super) fn draw_key<const WORDS: usize>() -> Result<[u64; WORDS]> {
    let mut key = [0; WORDS];
    draw(key.as_mut_bytes())?;
    Ok(key)
}

/// `/dev/random` waits, early after a boot, until the kernel's generator is seeded.
fn draw(bytes: &mut [u8]) -> Result<()> {
    let read = File::open("/dev/random").and_then(|mut file| file.read_exact(bytes));
    read.map_err(DatapathError::Random)
}
