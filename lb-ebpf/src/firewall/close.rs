//! A flow that the rules accept no more.

use lb_common::layout::Backend;

use crate::World;
use crate::family::Family;
use crate::flight::{Flight, Next};
use crate::flow::Found;
use crate::lookup::{find_flow, find_reply, reply_tuple};
use crate::nat::is_full_nat;
use crate::reply::forward_tuple;
use crate::tables::Tables;
use crate::{detail, draw};

/// Forgets the flow of a packet, if it is of one, in both directions.
#[inline(never)]
pub(crate) fn close<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) {
    if flight.next != Next::TO_BACKEND && flight.next != Next::TO_CLIENT {
        return;
    }
    let Some(backend) = world.tables.backend(flight.backend) else { return };
    let is_reply = flight.next == Next::TO_CLIENT;
    let partner =
        if is_reply { request(world, flight, backend) } else { reply(world, flight, backend) };
    let found = flight.found;
    let flows = flight.flows(world.tables, world.settings);
    let ends = flows.remove(&found);
    let is_pair = !partner.is_none() && partner.cell.backend() == found.cell.backend();
    let partner_ends = is_pair && flows.remove(&partner);
    // Of a reply whose client's cell is gone nothing is known to have ended.
    if if is_reply { partner_ends } else { ends } {
        let client = if is_reply { &flight.peer } else { &flight.ip.source };
        draw::ended_of::<A, T>(world, backend.listener, client, flight.backend);
    }
}

/// The cell of a client's packets.
#[inline(always)]
fn request<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    backend: &Backend,
) -> Found {
    let hash = forward_tuple(flight, backend).hash(&world.settings.hash_key);
    find_flow(&flight.flows(world.tables, world.settings), hash, backend.listener)
}

/// The cell of the replies to a client's packet, if they pass here.
#[inline(always)]
fn reply<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    backend: &Backend,
) -> Found {
    if !backend.is_nat() {
        return Found::NONE;
    }
    if !is_full_nat(backend) {
        detail::keep_source(flight);
    } else if !detail::read_own_source(world, flight, flight.found.place.index()) {
        return Found::NONE;
    }
    flight.reply = reply_tuple(flight, backend);
    let hash = flight.reply.hash(&world.settings.hash_key);
    find_reply(&flight.flows(world.tables, world.settings), &flight.reply, hash)
}
