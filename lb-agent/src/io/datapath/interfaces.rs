//! The MAC addresses of the attached interfaces, as the packet path knows them: their own, and those of virtual routers
//! that are Active on them.
//!
//! Packets read a place while it is written, so its index is none until the MAC address is whole. The core loop and the
//! thread of the virtual routers take places beside each other: one that is free belongs to who swaps its index first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::layout::Interface;
use lb_common::{INTERFACE_PLACES, map};

use super::attach::Target;
use super::error::{OnMap, Result};
use super::mapping::Mapping;
use super::maps::words;
use super::pins::Pins;

/// Words of a place.
const WORDS: usize = size_of::<Interface>() / size_of::<AtomicU64>();
/// Index of a place that is being written.
const TAKEN: u64 = u64::MAX;

/// The places, to be written from any thread.
#[derive(Clone, Debug)]
pub struct Macs(Arc<Mapping>);

impl Macs {
    pub(super) fn open(pins: &Pins) -> Result<Self> {
        Ok(Self(Arc::new(words::<Interface>(pins, map::INTERFACES, INTERFACE_PLACES)?)))
    }

    /// Tells the packet path the interfaces' own MAC addresses.
    pub(super) fn add(&self, targets: &[Target]) -> Result<()> {
        for link in targets.iter().map(|target| &target.link) {
            self.note(link.index, link.mac.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Tells it that of one interface, where it is news.
    pub(super) fn note(&self, index: u32, mac: [u8; 6]) -> Result<()> {
        self.write(index.into(), mac)
    }

    /// Forgets all interfaces but these.
    pub(super) fn keep(&self, attached: &[u32]) {
        self.free(|number| {
            let of_interface = number & u64::from(u32::MAX);
            !attached.iter().any(|index| u64::from(*index) == of_interface)
        });
    }

    /// Has interfaces, named by index, accept frames to exactly these MAC addresses of virtual routers beside their
    /// own. Every one is tried; the first error is returned.
    pub fn set_virtual(&self, wanted: &BTreeSet<(u32, [u8; 6])>) -> Result<()> {
        let numbers: BTreeSet<u64> =
            wanted.iter().map(|(index, mac)| virtual_number(*index, *mac)).collect();
        self.free(|number| number > u32::MAX.into() && !numbers.contains(&number));
        let mut result = Ok(());
        for (index, mac) in wanted {
            result = result.and(self.write(virtual_number(*index, *mac), *mac));
        }
        result
    }

    fn free(&self, is_free: impl Fn(u64) -> bool) {
        for [_, index] in self.places() {
            let number = index.load(Ordering::Relaxed);
            if number != 0 && number != TAKEN && is_free(number) {
                index.store(0, Ordering::Release);
            }
        }
    }

    fn write(&self, number: u64, mac: [u8; 6]) -> Result<()> {
        let [m0, m1, m2, m3, m4, m5] = mac;
        let word = u64::from_ne_bytes([m0, m1, m2, m3, m4, m5, 0, 0]);
        let place = self.place_of(number).ok_or("its places are taken");
        let [mac, index] = place.on("write", map::INTERFACES)?;
        if (mac.load(Ordering::Relaxed), index.load(Ordering::Relaxed)) != (word, number) {
            index.store(TAKEN, Ordering::Release);
            mac.store(word, Ordering::Release);
            index.store(number, Ordering::Release);
        }
        Ok(())
    }

    /// The place that it has, else the first free one that it may take.
    fn place_of(&self, number: u64) -> Option<&[AtomicU64; WORDS]> {
        let places = (0..Interface::CHOICES).filter_map(|choice| {
            self.places().nth(usize::try_from(Interface::place(number, choice)).ok()?)
        });
        let is_its = |[_, index]: &&[AtomicU64; WORDS]| index.load(Ordering::Relaxed) == number;
        let is_free = |[_, index]: &&[AtomicU64; WORDS]| {
            index.compare_exchange(0, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        places.clone().find(is_its).or_else(|| places.clone().find(is_free))
    }

    fn places(&self) -> impl Iterator<Item = &[AtomicU64; WORDS]> {
        self.0.words().as_chunks::<WORDS>().0.iter()
    }
}

fn virtual_number(index: u32, mac: [u8; 6]) -> u64 {
    let [_, _, _, _, family, id] = mac;
    Interface::number(index, u16::from_be_bytes([family, id]))
}
