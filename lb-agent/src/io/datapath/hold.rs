//! Having packets of connections held that only another director may know.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lb_common::map;

use super::error::Result;
use super::mapping::Mapping;
use super::maps::words;
use super::pins::Pins;

/// Until when, to be written from any thread.
#[derive(Clone, Debug)]
pub struct Hold(Arc<Mapping>);

impl Hold {
    pub(super) fn open(pins: &Pins) -> Result<Self> {
        Ok(Self(Arc::new(words::<u64>(pins, map::HELD_UNTIL, 1)?)))
    }

    /// Has them held until then, since boot.
    pub fn until(&self, end: Duration) {
        let end = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
        // A map of one word, on a page of its own.
        self.0.words().iter().take(1).for_each(|word| word.store(end, Ordering::Release));
    }
}
