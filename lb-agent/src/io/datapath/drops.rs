//! Samples of the packets that were dropped.

use std::time::Duration;

use aya::maps::{Array, MapData, RingBuf};
use lb_common::layout::Sample;
use lb_common::map;
use zerocopy::FromBytes;

use super::Datapath;
use super::error::{OnMap, Result};
use super::maps::open;
use super::pins::Pins;
use crate::io::clock;

/// The samples, in the order in which they were taken, as long as there is room; nothing is taken unless
/// [`Drops::renew`] was called lately.
pub struct Drops {
    samples: RingBuf<MapData>,
    until: Array<MapData, u64>,
}

impl Datapath {
    /// What is told of dropped packets. There is one reader at a time.
    pub fn drops(&self) -> Result<Drops> {
        Drops::open(&self.pins)
    }
}

impl Drops {
    fn open(pins: &Pins) -> Result<Self> {
        let mut drops =
            Self { samples: open(pins, map::DROPS)?, until: open(pins, map::SAMPLE_UNTIL)? };
        // What an agent before this one did not read.
        while drops.take().is_some() {}
        Ok(drops)
    }

    /// Has samples taken for so long, from now on.
    pub fn renew(&mut self, duration: Duration) -> Result<()> {
        let end = clock::coarse().saturating_add(duration);
        let end = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
        self.until.set(0, end, 0).on("write", map::SAMPLE_UNTIL)
    }

    /// Has no more samples taken where nobody asked lately: as long as there is an end, even a past one, the packet path
    /// takes a longer way with each packet that it drops.
    pub fn stop_if_over(&mut self) -> Result<()> {
        let end = self.until.get(&0, 0).on("read", map::SAMPLE_UNTIL)?;
        let is_over = end != 0 && Duration::from_nanos(end) < clock::coarse();
        if is_over { self.stop() } else { Ok(()) }
    }

    /// Has no more samples taken.
    pub fn stop(&mut self) -> Result<()> {
        self.until.set(0, 0, 0).on("write", map::SAMPLE_UNTIL)
    }

    /// The next sample, if there is one now. The descriptor in [`Self::descriptor`] is readable when there is.
    pub fn take(&mut self) -> Option<Sample> {
        let item = self.samples.next()?;
        Sample::read_from_prefix(&item).ok().map(|(sample, _)| sample)
    }

    /// To wait for samples.
    pub fn descriptor(&self) -> impl std::os::fd::AsFd + '_ {
        &self.samples
    }
}
