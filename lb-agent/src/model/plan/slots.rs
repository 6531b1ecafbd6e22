//! Finds free slots for runs: first fit, never where a listener draws from now.

use lb_common::{MAX_SLOTS, layout};

use super::Full;
use crate::model::tables::Tables;

/// Free stretches of slots: first slot and number.
pub(super) struct Free(Vec<(u32, u32)>);

impl Free {
    /// What the runs of the installed tables leave free, those included that are about to be replaced.
    pub(super) fn of(installed: &Tables) -> Self {
        let mut stretches = Vec::new();
        let mut next = 0;
        for (base, backends) in &installed.runs {
            stretches.push((next, base.saturating_sub(next)));
            let length = u32::try_from(backends.len()).unwrap_or(u32::MAX);
            next = next.max(base.saturating_add(length));
        }
        stretches.push((next, MAX_SLOTS.saturating_sub(next)));
        stretches.retain(|(_, length)| *length > 0);
        Self(stretches)
    }

    /// Takes a run of `length` slots.
    pub(super) fn take(&mut self, length: usize) -> Result<u64, Full> {
        let length = u32::try_from(length).map_err(|_| Full::Slots)?;
        if length == 0 {
            return Ok(layout::run(0, 0));
        }
        let mut stretches = self.0.iter_mut();
        let stretch = stretches.find(|(_, free)| *free >= length).ok_or(Full::Slots)?;
        let base = stretch.0;
        *stretch = (base + length, stretch.1 - length);
        Ok(layout::run(base, length))
    }
}
