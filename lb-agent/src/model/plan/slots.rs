//! Finds free slots for runs: next fit, never where a listener draws from now.

use lb_common::{MAX_SLOTS, layout};

use super::Full;
use crate::model::tables::Tables;

/// Free stretches of slots, first slot and number, and the one that the search begins at: where the last run
/// fitted, for most runs are much alike, and a search from the first stretch would look at all used ones.
pub(super) struct Free {
    stretches: Vec<(u32, u32)>,
    at: usize,
}

impl Free {
    /// What the runs of the installed tables leave free, those included that are about to be replaced.
    pub(super) fn of(installed: &Tables) -> Self {
        let mut stretches = Vec::new();
        let mut next = 0;
        for (base, slots) in &installed.runs {
            stretches.push((next, base.saturating_sub(next)));
            let length = u32::try_from(slots.len()).unwrap_or(u32::MAX);
            next = next.max(base.saturating_add(length));
        }
        stretches.push((next, MAX_SLOTS.saturating_sub(next)));
        stretches.retain(|(_, length)| *length > 0);
        Self { stretches, at: 0 }
    }

    /// Takes a run of `length` slots.
    pub(super) fn take(&mut self, length: usize) -> Result<u64, Full> {
        let length = u32::try_from(length).map_err(|_| Full::Slots)?;
        if length == 0 {
            return Ok(layout::run(0, 0));
        }
        let order = (self.at..self.stretches.len()).chain(0..self.at);
        let fits = |index: &usize| self.stretches.get(*index).is_some_and(|(_, n)| *n >= length);
        self.at = order.into_iter().find(fits).ok_or(Full::Slots)?;
        let stretch = self.stretches.get_mut(self.at).ok_or(Full::Slots)?;
        let base = stretch.0;
        *stretch = (base + length, stretch.1 - length);
        Ok(layout::run(base, length))
    }
}
