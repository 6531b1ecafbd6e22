//! What the maps must hold before the first packet: the settings.

use std::fs::File;
use std::io::Read;

use aya::util::nr_cpus;
use lb_common::layout::{HashKey, Settings};
use lb_common::{LAYOUT_VERSION, map};
use zerocopy::FromZeros;

use super::error::{DatapathError, OnMap, Result, Source};
use super::maps::Maps;
use super::shape::Geometry;

impl Maps {
    /// Writes the settings of new maps: a hash key, and timeouts of zero until the first plan.
    pub(super) fn prepare(&mut self, geometry: Geometry, hash_key: Option<HashKey>) -> Result<()> {
        let settings = self.settings.get(&0, 0).on("read", map::SETTINGS)?;
        if settings.layout == LAYOUT_VERSION {
            return Ok(());
        }
        self.write_settings(&Settings {
            hash_key: hash_key.map_or_else(draw_key, Ok)?,
            bucket_mask: geometry.mask(),
            layout: LAYOUT_VERSION,
            cpus: cpus()?,
            ..Settings::new_zeroed()
        })
    }
}

/// The CPUs that may ever run, which share the ports of full NAT and have a copy each of maps per CPU.
pub(super) fn cpus() -> Result<u16> {
    let cpus = nr_cpus().map_err(|(_, error)| Source::from(error)).on("write", map::SETTINGS)?;
    Ok(u16::try_from(cpus).unwrap_or(u16::MAX))
}

fn draw_key() -> Result<HashKey> {
    Ok(zerocopy::transmute!(random::<{ size_of::<HashKey>() }>()?))
}

/// `/dev/random` waits, early after a boot, until the kernel's generator is seeded.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = File::open("/dev/random").and_then(|mut file| file.read_exact(&mut bytes));
    read.map(|()| bytes).map_err(DatapathError::Random)
}
