//! Choosing a backend for a new flow, and remembering it in both directions.

use lb_common::cell::State;
use lb_common::layout::{BACKEND_UP, Backend, Listener, run_parts};
use lb_common::verdict::Verdict;

use crate::World;
use crate::family::{Family, TCP};
use crate::flight::Flight;
use crate::flow::{Flows, Found, Tuple};
use crate::tables::Tables;

/// Backends that are tried when replies of the first ones could not be told apart.
const TRIES: u64 = 4;

/// Chooses a backend for the packet's flow and takes both of its cells. A cell that was found before is
/// taken over: its backend cannot serve the flow any more.
#[inline(never)]
pub(crate) fn schedule<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Result<u32, Verdict> {
    let tables = world.tables;
    let listener = tables.listener(flight.listener).ok_or(Verdict::NoBackend)?;
    let (base, length) = run_parts(current_run(listener));
    if length == 0 {
        return Err(Verdict::NoBackend);
    }
    let drawn = if flight.ip.protocol != TCP || flight.transport.opens() {
        tables.draw(listener.cursor)
    } else {
        // A connection that is not known here, as after a failover: every director makes this choice alike.
        flight.hash >> 8
    };
    for attempt in 0..2 * TRIES {
        let index = drawn.wrapping_add(attempt % TRIES) % u64::from(length);
        let id = tables.slot(base + index as u32).ok_or(Verdict::NoBackend)?;
        let backend = tables.backend(id).ok_or(Verdict::NoBackend)?;
        if backend.state != BACKEND_UP || backend.listener != flight.listener {
            return Err(Verdict::NoBackend);
        }
        flight.reply = reply_tuple(flight, backend);
        // The port of a connection that is ending is taken over only where no other backend has it free.
        match remember(world, flight, id, attempt >= TRIES) {
            Remembered::Yes => return Ok(id),
            Remembered::NoRoom => {
                tables.report_full_table(flight.tick);
                return Err(Verdict::FlowTableFull);
            }
            Remembered::Conflict => {}
        }
    }
    Err(Verdict::ReplyConflict)
}

/// The run is swapped by the agent in one store; it is read in one load.
#[inline(always)]
fn current_run(listener: &Listener) -> u64 {
    let run: *const u64 = &raw const listener.run;
    // SAFETY: the pointer comes from a reference; volatile since the agent may change the word meanwhile.
    unsafe { run.read_volatile() }
}

#[inline(always)]
fn first_state<A: Family>(flight: &Flight<A>) -> State {
    if flight.ip.protocol != TCP {
        State::Udp
    } else if flight.transport.closes() {
        State::Closing
    } else {
        State::Syn
    }
}

enum Remembered {
    Yes,
    NoRoom,
    Conflict,
}

/// Takes the cell of the reply, then that of the flow.
#[inline(always)]
fn remember<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    id: u32,
    takes_over: bool,
) -> Remembered {
    let flows = flight.flows(world.tables, world.settings);
    let state = first_state(flight);
    let hash = flight.reply.hash(&world.settings.hash_key);
    let found = find_reply(&flows, &flight.reply, hash);
    flight.partner = if found.is_none() {
        flows.insert(hash, id, state, true)
    } else if is_free_for(&found, id, takes_over) {
        flows.replace(&found, id, state)
    } else {
        return Remembered::Conflict;
    };
    if flight.partner.is_none() {
        return Remembered::NoRoom;
    }
    write_reply_detail(world, flight, flight.partner.place.index());
    if take_forward_cell(&flows, flight, id, state) {
        return Remembered::Yes;
    }
    flows.remove(&flight.partner);
    Remembered::NoRoom
}

/// Whether a reply's cell may be given to the backend id: it has it already, or its flow is ending and may be
/// taken over.
#[inline(always)]
fn is_free_for(found: &Found, id: u32, takes_over: bool) -> bool {
    found.cell.backend() == id || (takes_over && found.cell.state() == Some(State::Closing))
}

#[inline(always)]
fn take_forward_cell<A: Family, T: Tables>(
    flows: &Flows<'_, T>,
    flight: &Flight<A>,
    id: u32,
    state: State,
) -> bool {
    let old = &flight.found;
    let new = if old.is_none() {
        flows.insert(flight.hash, id, state, false)
    } else {
        flows.replace(old, id, state)
    };
    // Flows that are not established make room, and so would the cell of the flow's own reply.
    let index = new.place.index();
    if !new.is_none() && index == flight.partner.place.index() {
        flows.remove(&new);
        return false;
    }
    if !new.is_none()
        && let Some(entry) = flows.tables.detail(index)
    {
        entry.update(|detail| flight.tuple().describe(detail));
    }
    !new.is_none()
}

/// The 5-tuple of replies.
#[inline(always)]
pub fn reply_tuple<A: Family>(flight: &Flight<A>, backend: &Backend) -> Tuple<A> {
    Tuple {
        source: A::from_words(&backend.address),
        destination: flight.ip.source,
        source_port: backend.port,
        destination_port: flight.transport.source_port,
        protocol: flight.ip.protocol,
    }
}

/// The live cell of a reply: one whose backend has the reply's source as address and port.
#[inline(always)]
pub fn find_reply<A: Family, T: Tables>(
    flows: &Flows<'_, T>,
    reply: &Tuple<A>,
    hash: u64,
) -> Found {
    flows.find(hash, |cell| {
        let Some(backend) = flows.tables.backend(cell.backend()) else { return false };
        cell.is_reply()
            && A::same(A::from_words(&backend.address), reply.source)
            && backend.port == reply.source_port
            && backend.protocol == reply.protocol
            && backend.family == A::NUMBER
    })
}

/// The live cell of a flow to a listener: one whose backend serves this listener. A free entry seems to serve
/// the first one.
#[inline(always)]
pub fn find_flow<T: Tables>(flows: &Flows<'_, T>, hash: u64, listener: u32) -> Found {
    flows.find(hash, |cell| {
        let Some(backend) = flows.tables.backend(cell.backend()) else { return false };
        !cell.is_reply() && backend.listener == listener && backend.state != 0
    })
}

/// Writes what a reply's cell stands for, and the way back to the client: the one that this packet came.
#[inline(never)]
pub(crate) fn write_reply_detail<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    index: u32,
) {
    let Some(entry) = world.tables.detail(index) else { return };
    entry.update(|detail| {
        flight.reply.describe(detail);
        detail.hop_interface = flight.interface;
        detail.hop_neighbour = world.link.source.into();
        detail.hop_tags = world.link.tags.control;
        detail.hop_tag_type = world.link.tags.kind;
    });
}
