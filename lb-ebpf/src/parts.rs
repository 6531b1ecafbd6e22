//! Parts of the packet path that need no packet, only the scratch memory: the kernel verifies each by itself.

use lb_common::verdict::Verdict;

use crate::firewall::limit;
use crate::flight::{Facts, Scratch};
use crate::tables::Tables;
use crate::v4::V4;
use crate::v6::V6;
use crate::{World, remember, schedule, source};

/// [`Tables::schedule`] as a function of its own, for the packet that the scratch memory tells of.
#[inline(always)]
pub fn schedule_v4<T: Tables>(tables: &T) -> Verdict {
    within(tables, |world, v4, _| schedule::schedule(world, &mut v4.flight))
}

/// The same for IPv6.
#[inline(always)]
pub fn schedule_v6<T: Tables>(tables: &T) -> Verdict {
    within(tables, |world, _, v6| schedule::schedule(world, &mut v6.flight))
}

/// [`Tables::remember`], likewise.
#[inline(always)]
pub fn remember_v4<T: Tables>(tables: &T, takes_over: bool) -> Verdict {
    within(tables, |world, v4, _| remember::remember(world, &mut v4.flight, takes_over))
}

/// The same for IPv6.
#[inline(always)]
pub fn remember_v6<T: Tables>(tables: &T, takes_over: bool) -> Verdict {
    within(tables, |world, _, v6| remember::remember(world, &mut v6.flight, takes_over))
}

/// [`Tables::try_source`], likewise.
#[inline(always)]
pub fn try_source_v4<T: Tables>(tables: &T, in_any_share: bool) -> Verdict {
    within(tables, |world, v4, _| source::try_source(world, &mut v4.flight, in_any_share))
}

/// The same for IPv6.
#[inline(always)]
pub fn try_source_v6<T: Tables>(tables: &T, in_any_share: bool) -> Verdict {
    within(tables, |world, _, v6| source::try_source(world, &mut v6.flight, in_any_share))
}

/// [`limit::exceeds`] of the packet that the scratch memory tells of.
#[inline(always)]
pub fn exceeds_v4<T: Tables>(tables: &T, place: u32) -> bool {
    on(tables, |_, v4, _| limit::exceeds(tables, &mut v4.flight, place)).unwrap_or(false)
}

/// The same for IPv6.
#[inline(always)]
pub fn exceeds_v6<T: Tables>(tables: &T, place: u32) -> bool {
    on(tables, |_, _, v6| limit::exceeds(tables, &mut v6.flight, place)).unwrap_or(false)
}

/// Goes on with the packet that the scratch memory tells of, to its verdict.
#[inline(always)]
fn within<T: Tables>(
    tables: &T,
    part: impl FnOnce(&World<T>, &mut Facts<V4>, &mut Facts<V6>) -> Verdict,
) -> Verdict {
    on(tables, part).unwrap_or(Verdict::NoBackend)
}

/// Asks about the packet that the scratch memory tells of.
#[inline(always)]
fn on<T: Tables, R>(
    tables: &T,
    part: impl FnOnce(&World<T>, &mut Facts<V4>, &mut Facts<V6>) -> R,
) -> Option<R> {
    let (settings, scratch) = (tables.settings()?, tables.scratch()?);
    let part = |scratch: &mut Scratch| {
        let Scratch { link, v4, v6 } = scratch;
        part(&World { tables, settings, link }, v4, v6)
    };
    Some(scratch.update(part))
}
