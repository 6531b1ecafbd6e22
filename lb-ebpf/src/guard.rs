//! Limits of listeners: how many flows may begin, and how many SYNs may be followed by nothing.

use lb_common::layout::guard::{COOKIES_FOR, COOKIES_UNTIL, FLOODS, Guard, NEW_FLOWS, UNANSWERED};
use lb_common::layout::{Bucket, Listener, SynCookies};

use crate::tables::{Entry, Tables};
use crate::verifier::rolled;

/// How often a word is tried to be changed; other CPUs may be quicker each time.
const ATTEMPTS: usize = 8;
/// How much of [`COOKIES_FOR`] may pass before it begins anew, so that few write the word in a flood.
const GRACE: u64 = 1_000_000_000;

/// Whether a flow may begin now.
#[inline(never)]
pub(crate) fn admits<T: Tables>(tables: &T, id: u32) -> bool {
    let Some(listener) = tables.listener(id) else { return true };
    let cost = u64::from(listener.flow_cost);
    if cost == 0 {
        return true;
    }
    let Some(guard) = tables.guard(id) else { return true };
    let room = cost * u64::from(listener.flow_burst);
    take(tables, guard, NEW_FLOWS, tables.nanoseconds(), (cost, room))
}

/// Whether SYNs are answered with cookies now; `opens`: one is at hand.
#[inline(always)]
pub(crate) fn answers_with_cookies<T: Tables>(
    tables: &T,
    id: u32,
    listener: &Listener,
    opens: bool,
) -> bool {
    if listener.syn_cookies != SynCookies::Auto.number() {
        return listener.syn_cookies == SynCookies::Always.number();
    }
    let Some(guard) = tables.guard(id) else { return false };
    let (now, until) = (tables.nanoseconds(), guard.load(COOKIES_UNTIL));
    let was_flooded = now < until;
    let cost = u64::from(listener.syn_cost);
    let size = (cost, cost * u64::from(listener.syn_burst));
    if !opens || take(tables, guard, UNANSWERED, now, size) {
        return was_flooded;
    }
    if until < now + COOKIES_FOR - GRACE
        && tables.swap(guard, COOKIES_UNTIL, until, now + COOKIES_FOR)
        && !was_flooded
    {
        add_one(tables, guard, FLOODS);
    }
    true
}

/// A SYN has been followed by what a client sends that has heard its answer.
#[inline(never)]
pub(crate) fn answered<T: Tables>(tables: &T, id: u32) {
    let Some(listener) = tables.listener(id) else { return };
    if listener.syn_cookies != SynCookies::Auto.number() {
        return;
    }
    let Some(guard) = tables.guard(id) else { return };
    for _ in rolled(ATTEMPTS) {
        let full_at = guard.load(UNANSWERED);
        if tables.swap(guard, UNANSWERED, full_at, full_at.saturating_sub(listener.syn_cost.into()))
        {
            return;
        }
    }
}

/// Takes a token out of a bucket, which gets one after each `cost` nanoseconds, and all after `room`.
#[inline(always)]
pub(crate) fn take<T: Tables>(
    tables: &T,
    bucket: Entry<Bucket>,
    slot: usize,
    now: u64,
    (cost, room): (u64, u64),
) -> bool {
    for _ in rolled(ATTEMPTS) {
        let full_at = bucket.load(slot);
        let later = full_at.max(now) + cost;
        if later - now > room {
            return false;
        }
        if tables.swap(bucket, slot, full_at, later) {
            return true;
        }
    }
    false
}

#[inline(always)]
fn add_one<T: Tables>(tables: &T, guard: Entry<Guard>, slot: usize) {
    let number = guard.load(slot);
    tables.swap(guard, slot, number, number + 1);
}
