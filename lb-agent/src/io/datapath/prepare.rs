//! What the maps must hold before the first packet: the settings, and the attached interfaces.

use std::fs::File;
use std::io::{self, Read};

use aya::util::nr_cpus;
use lb_common::layout::{Interface, Settings};
use lb_common::{LAYOUT_VERSION, map};
use zerocopy::FromZeros;

use super::attach::Target;
use super::error::{DatapathError, OnMap, Result, Source};
use super::maps::{Maps, entries};
use super::shape::Geometry;

impl Maps {
    /// Writes the settings of new maps: a hash key, and timeouts of zero until the first plan.
    pub(super) fn prepare(&mut self, geometry: Geometry) -> Result<()> {
        let settings = self.settings.get(&0, 0).on("read", map::SETTINGS)?;
        if settings.layout == LAYOUT_VERSION {
            return Ok(());
        }
        self.write_settings(&Settings {
            hash_key: draw_key().map_err(DatapathError::Random)?,
            cookie_key: draw_key().map_err(DatapathError::Random)?,
            bucket_mask: geometry.mask(),
            layout: LAYOUT_VERSION,
            cpus: cpus()?,
            ..Settings::new_zeroed()
        })
    }

    /// Tells the packet path its own MAC addresses.
    pub(super) fn add_interfaces(&mut self, targets: &[Target]) -> Result<()> {
        for link in targets.iter().map(|target| &target.link) {
            self.note_interface(link.index, link.mac.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Tells the packet path the MAC address of an interface, where that is news.
    pub(super) fn note_interface(&mut self, index: u32, mac: [u8; 6]) -> Result<()> {
        let known = self.interfaces.get(&index, 0).ok();
        if known.is_some_and(|known| known.mac == mac) {
            return Ok(());
        }
        let interface = Interface { mac, reserved: [0; 2] };
        self.interfaces.insert(index, interface, 0).on("write", map::INTERFACES)
    }

    /// Forgets all interfaces but these.
    pub(super) fn keep_interfaces(&mut self, attached: &[u32]) -> Result<()> {
        for (index, _) in entries(&self.interfaces, map::INTERFACES)? {
            if !attached.contains(&index) {
                self.interfaces.remove(&index).on("remove from", map::INTERFACES)?;
            }
        }
        Ok(())
    }
}

/// The CPUs that may ever run, which share the ports of full NAT and have a copy each of maps per CPU.
pub(super) fn cpus() -> Result<u16> {
    let cpus = nr_cpus().map_err(|(_, error)| Source::from(error)).on("write", map::SETTINGS)?;
    Ok(u16::try_from(cpus).unwrap_or(u16::MAX))
}

/// `/dev/random` waits, early after a boot, until the kernel's generator is seeded.
fn draw_key() -> io::Result<[u64; 2]> {
    let mut bytes = [0; 16];
    File::open("/dev/random")?.read_exact(&mut bytes)?;
    Ok(zerocopy::transmute!(bytes))
}
