//! When a cell is worth telling, and ages in seconds, since a tick begins at another moment on every host.

use lb_common::cell::{Cell, TICK_SHIFT};

const NANOS: u64 = 1_000_000_000;

/// Whether a cell is to be told once `told` was: another flow or state, or seen so much later that whoever was
/// told would soon take it for idle.
pub fn is_news(told: Cell, now: Cell, timeouts: &[u16; 8]) -> bool {
    if now.is_news_to(told) {
        return true;
    }
    let state = usize::try_from(now.state_number()).unwrap_or_default();
    let timeout = timeouts.get(state).copied().unwrap_or_default();
    // A quarter of the timeout, so that two that are lost do no harm.
    younger_by(told, now) > u64::from(timeout / 4)
}

/// Ticks between what two states of a cell were last seen at; 0 where the second is not the later one.
fn younger_by(told: Cell, now: Cell) -> u64 {
    let ticks = Cell::EMPTY.idle_ticks(told.idle_ticks(0).wrapping_sub(now.idle_ticks(0)));
    if ticks > u64::from(lb_common::cell::MAX_TIMEOUT_TICKS) { 0 } else { ticks }
}

/// Whole seconds, rounded up.
pub fn seconds(ticks: u64) -> u16 {
    u16::try_from((ticks << TICK_SHIFT).div_ceil(NANOS)).unwrap_or(u16::MAX)
}

/// Ticks that are no shorter, so that a flow that is told back and forth never grows younger.
pub fn ticks(seconds: u16) -> u64 {
    (u64::from(seconds) * NANOS).div_ceil(1 << TICK_SHIFT)
}
