//! Choosing a backend for a new flow.

use lb_common::layout::{BACKEND_UP, Listener, run_parts};
use lb_common::verdict::Verdict;

use crate::World;
use crate::family::{Family, TCP};
use crate::flight::Flight;
use crate::tables::Tables;
use crate::verifier::rolled;

/// Backends that are tried when replies of the first ones could not be told apart.
const TRIES: usize = 4;

/// Chooses a backend for the packet's flow, notes it as the packet's, and takes the flow's cells; says
/// [`Verdict::ToBackend`], or why not. A cell that was found before is taken over: its backend cannot serve
/// the flow any more.
#[inline(always)]
pub(crate) fn schedule<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    let tables = world.tables;
    let Some(listener) = tables.listener(flight.listener) else { return Verdict::NoBackend };
    let (base, length) = run_parts(current_run(listener));
    if length == 0 {
        return Verdict::NoBackend;
    }
    let drawn = if flight.ip.protocol != TCP || flight.transport.opens() {
        tables.draw(listener.cursor)
    } else {
        // A connection that is not known here, as after a failover: every director makes this choice alike.
        by_hash(flight)
    };
    for attempt in rolled(2 * TRIES) {
        let index = drawn.wrapping_add((attempt % TRIES) as u64) % u64::from(length);
        if !is_serving(tables, flight, base + index as u32) {
            return Verdict::NoBackend;
        }
        // The port of a connection that is ending is taken over only where no other backend has it free.
        let verdict = tables.remember(world, flight, attempt >= TRIES);
        if verdict == Verdict::ToBackendUnremembered {
            let index = by_hash(flight) % u64::from(length);
            flight.unremembered = 1;
            let is_serving = is_serving(tables, flight, base + index as u32);
            return if is_serving { Verdict::ToBackend } else { Verdict::NoBackend };
        }
        if verdict != Verdict::ReplyConflict {
            return verdict;
        }
    }
    Verdict::ReplyConflict
}

/// Notes the backend in a slot as the packet's; says whether it can take new flows of the listener.
#[inline(always)]
fn is_serving<A: Family, T: Tables>(tables: &T, flight: &mut Flight<A>, slot: u32) -> bool {
    let Some(id) = tables.slot(slot) else { return false };
    flight.backend = id;
    let Some(backend) = tables.backend(id) else { return false };
    backend.state == BACKEND_UP && backend.listener == flight.listener
}

/// A number that is the same for all packets of a flow, on every director.
#[inline(always)]
fn by_hash<A: Family>(flight: &Flight<A>) -> u64 {
    flight.hash >> 8
}

/// The run is swapped by the agent in one store; it is read in one load.
#[inline(always)]
fn current_run(listener: &Listener) -> u64 {
    let run: *const u64 = &raw const listener.run;
    // SAFETY: the pointer comes from a reference; volatile since the agent may change the word meanwhile.
    unsafe { run.read_volatile() }
}
