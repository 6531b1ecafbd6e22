//! The attached interfaces, as the packet path knows them.
//!
//! Packets read a place while it is written, so its index is zero until the MAC address is whole.

use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::layout::Interface;
use lb_common::map;

use super::attach::Target;
use super::error::{OnMap, Result};
use super::maps::Maps;

/// Words of a place.
const WORDS: usize = size_of::<Interface>() / size_of::<AtomicU64>();

impl Maps {
    /// Tells the packet path its own MAC addresses.
    pub(super) fn add_interfaces(&self, targets: &[Target]) -> Result<()> {
        for link in targets.iter().map(|target| &target.link) {
            self.note_interface(link.index, link.mac.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Tells the packet path the MAC address of an interface, where that is news.
    pub(super) fn note_interface(&self, number: u32, mac: [u8; 6]) -> Result<()> {
        let [m0, m1, m2, m3, m4, m5] = mac;
        let word = u64::from_ne_bytes([m0, m1, m2, m3, m4, m5, 0, 0]);
        let [mac, index] =
            self.place_of(number).ok_or("its places are taken").on("write", map::INTERFACES)?;
        if (mac.load(Ordering::Relaxed), index.load(Ordering::Relaxed)) != (word, number.into()) {
            index.store(0, Ordering::Release);
            mac.store(word, Ordering::Release);
            index.store(number.into(), Ordering::Release);
        }
        Ok(())
    }

    /// Forgets all interfaces but these.
    pub(super) fn keep_interfaces(&self, attached: &[u32]) {
        for [_, index] in self.places() {
            let number = index.load(Ordering::Relaxed);
            if !attached.iter().any(|attached| u64::from(*attached) == number) {
                index.store(0, Ordering::Release);
            }
        }
    }

    /// The place that an interface has, else the first one that it may take.
    fn place_of(&self, number: u32) -> Option<&[AtomicU64; WORDS]> {
        let places = (0..Interface::CHOICES).filter_map(|choice| {
            self.places().nth(usize::try_from(Interface::place(number, choice)).ok()?)
        });
        let with = |wanted: u64| {
            places.clone().find(move |[_, index]| index.load(Ordering::Relaxed) == wanted)
        };
        with(number.into()).or_else(|| with(0))
    }

    fn places(&self) -> impl Iterator<Item = &[AtomicU64; WORDS]> {
        self.interfaces.words().as_chunks::<WORDS>().0.iter()
    }
}
