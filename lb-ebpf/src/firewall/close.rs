//! A flow that the rules accept no more.

use lb_common::cell::State;

use crate::World;
use crate::family::Family;
use crate::flight::Flight;
use crate::lookup::{find_reply, reply_tuple};
use crate::nat::is_full_nat;
use crate::tables::Tables;
use crate::{detail, draw};

/// Forgets the flow of a client's packet, in both directions.
#[inline(never)]
pub(crate) fn close<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) {
    let Some(backend) = world.tables.backend(flight.backend) else { return };
    let found = flight.found;
    let flows = flight.flows(world.tables, world.settings);
    let is_known = if is_full_nat(backend) {
        detail::read_own_source(world, flight, found.place.index())
    } else {
        detail::keep_source(flight);
        true
    };
    if backend.is_nat() && is_known {
        flight.reply = reply_tuple(flight, backend);
        let hash = flight.reply.hash(&world.settings.hash_key);
        let partner = find_reply(&flows, &flight.reply, hash);
        if !partner.is_none() && partner.cell.backend() == found.cell.backend() {
            flows.remove(&partner);
        }
    }
    flows.remove(&found);
    draw::follow(world.tables, flight.listener, &found, State::Closing);
}
