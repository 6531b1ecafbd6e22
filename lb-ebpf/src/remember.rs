//! Remembering a new flow: its cell, and that of its replies where they pass the director.

use lb_common::cell::{Cell, State};
use lb_common::layout::Backend;
use lb_common::verdict::Verdict;

use crate::detail;
use crate::family::{Family, TCP};
use crate::flight::Flight;
use crate::flow::{Found, Kind};
use crate::lookup::{find_reply, reply_tuple};
use crate::nat::is_full_nat;
use crate::source;
use crate::tables::Tables;
use crate::{World, draw};

/// Takes the cells of the packet's flow to the packet's backend; says [`Verdict::ToBackend`] where it could.
#[inline(always)]
pub(crate) fn remember<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    takes_over: bool,
) -> Verdict {
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    flight.partner.cell = Cell::EMPTY;
    if !is_full_nat(backend) {
        detail::keep_source(flight);
    }
    if backend.is_nat() {
        let verdict = if is_full_nat(backend) {
            source::take(world, flight)
        } else {
            take_reply_cell(world, flight, backend, takes_over)
        };
        if verdict != Verdict::ToBackend {
            return verdict;
        }
        detail::write(world, flight, flight.partner.place.index());
    }
    if take_forward_cell(world, flight) {
        return Verdict::ToBackend;
    }
    world.tables.report_full_table(flight.tick);
    if flight.partner.is_none() {
        return Verdict::ToBackendUnremembered;
    }
    flight.flows(world.tables, world.settings).remove(&flight.partner);
    Verdict::FlowTableFull
}

/// Takes the cell of the reply; says why not if it cannot.
#[inline(never)]
fn take_reply_cell<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    backend: &Backend,
    takes_over: bool,
) -> Verdict {
    let flows = flight.flows(world.tables, world.settings);
    let (id, kind) = (flight.backend, first_kind(flight));
    flight.reply = reply_tuple(flight, backend);
    let hash = flight.reply.hash(&world.settings.hash_key);
    flows.fetch(hash);
    let found = find_reply(&flows, &flight.reply, hash);
    flight.partner = if found.is_none() {
        flows.insert(hash, id, kind, true)
    } else if is_free_for(&found, id, takes_over) {
        flows.replace(&found, id, kind)
    } else {
        return Verdict::ReplyConflict;
    };
    if flight.partner.is_none() {
        world.tables.report_full_table(flight.tick);
        return Verdict::FlowTableFull;
    }
    Verdict::ToBackend
}

#[inline(always)]
pub(crate) fn first_kind<A: Family>(flight: &Flight<A>) -> Kind {
    let state = if flight.ip.protocol != TCP {
        State::Udp
    } else if flight.transport.closes() {
        State::Closing
    } else {
        State::Syn
    };
    Kind { state, is_translated: flight.is_translated != 0 }
}

/// Whether a reply's cell may be given to the backend id: it has it already, or its flow is ending and may be
/// taken over.
#[inline(always)]
fn is_free_for(found: &Found, id: u32, takes_over: bool) -> bool {
    found.cell.backend() == id || (takes_over && found.cell.state() == Some(State::Closing))
}

#[inline(never)]
fn take_forward_cell<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> bool {
    let flows = flight.flows(world.tables, world.settings);
    let (id, kind) = (flight.backend, first_kind(flight));
    let old = flight.found;
    let new = if old.is_none() {
        flows.insert(flight.hash, id, kind, false)
    } else {
        flows.replace(&old, id, kind)
    };
    if new.is_none() {
        return false;
    }
    // One that goes on elsewhere is about to be counted there.
    if old.cell.is_open() {
        draw::ended(world, flight, old.cell.backend());
    }
    // Flows that are not established make room, and so would the cell of the flow's own reply.
    let index = new.place.index();
    if !flight.partner.is_none() && index == flight.partner.place.index() {
        flows.remove(&new);
        return false;
    }
    flight.found = new;
    detail::write(world, flight, index);
    true
}
