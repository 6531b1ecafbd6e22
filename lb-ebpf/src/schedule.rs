//! Choosing a backend for a new flow.

use lb_common::layout::BACKEND_UP;
use lb_common::verdict::Verdict;

use crate::draw::{CANDIDATES, LOOKS};
use crate::family::Family;
use crate::flight::Flight;
use crate::tables::Tables;
use crate::verifier::rolled;
use crate::{World, draw, guard, hold};

/// [`schedule`], if the packet's flow may begin now.
#[inline(always)]
pub(crate) fn admit<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Verdict {
    if draw::begins(flight) && !guard::admits(world.tables, flight.listener) {
        return Verdict::NewFlowsLimited;
    }
    world.tables.schedule(world, flight)
}

/// Chooses a backend for the packet's flow, notes it as the packet's, and takes the flow's cells; says
/// [`Verdict::ToBackend`], or why not. A cell that was found before is taken over: its backend cannot serve
/// the flow any more.
#[inline(always)]
pub(crate) fn schedule<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    if !draw::draw(world, flight) {
        return Verdict::NoBackend;
    }
    let mut refusal = Verdict::NoBackend;
    for step in rolled(LOOKS + CANDIDATES) {
        let Some(id) = flight.choice.candidate(world.tables, step) else { continue };
        // The port of a connection that is ending is taken over only where no other backend has it free.
        refusal = attempt(world, flight, id, step >= LOOKS);
        if !may_fit_another(refusal) {
            return refusal;
        }
    }
    refusal
}

/// Another backend may not know the client's port, or have a source left.
#[inline(always)]
fn may_fit_another(refusal: Verdict) -> bool {
    matches!(refusal, Verdict::ReplyConflict | Verdict::SourcesUsedUp)
}

/// Takes the cells of the packet's flow to a backend.
#[inline(always)]
fn attempt<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    id: u32,
    takes_over: bool,
) -> Verdict {
    if !is_serving(world.tables, flight, id) {
        return Verdict::NoBackend;
    }
    if hold::waits(world, flight) {
        return Verdict::HeldForPeer;
    }
    let verdict = world.tables.remember(world, flight, takes_over);
    if verdict == Verdict::ToBackend {
        draw::began(world, flight);
    }
    if verdict == Verdict::ToBackendUnremembered {
        return unremembered(world.tables, flight);
    }
    verdict
}

/// Without a place in the flow table all packets of a flow go by its hash.
#[inline(always)]
fn unremembered<A: Family, T: Tables>(tables: &T, flight: &mut Flight<A>) -> Verdict {
    flight.unremembered = 1;
    match flight.choice.by_hash(tables, flight.hash) {
        Some(id) if is_serving(tables, flight, id) => Verdict::ToBackend,
        _ => Verdict::NoBackend,
    }
}

/// Notes a backend as the packet's; says whether it can take new flows of the listener.
#[inline(always)]
fn is_serving<A: Family, T: Tables>(tables: &T, flight: &mut Flight<A>, id: u32) -> bool {
    flight.backend = id;
    let Some(backend) = tables.backend(id) else { return false };
    backend.state == BACKEND_UP && backend.listener == flight.listener
}
