//! Finding the cells of flows: a tag that fits is not enough, the backend must fit too.

use lb_common::layout::Backend;

use crate::family::Family;
use crate::flight::Flight;
use crate::flow::{Flows, Found, Tuple};
use crate::tables::Tables;

/// The 5-tuple of replies.
#[inline(always)]
pub fn reply_tuple<A: Family>(flight: &Flight<A>, backend: &Backend) -> Tuple<A> {
    Tuple {
        source: A::from_words(&backend.address),
        destination: flight.peer,
        source_port: backend.port,
        destination_port: flight.peer_port,
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
    flows.find(hash, |found| answers_from(flows, reply, found))
}

/// Another live cell of the same reply than this one.
#[inline(always)]
pub fn find_other_reply<A: Family, T: Tables>(
    flows: &Flows<'_, T>,
    reply: &Tuple<A>,
    hash: u64,
    than: &Found,
) -> Found {
    flows.find(hash, |found| found.place != than.place && answers_from(flows, reply, found))
}

#[inline(always)]
fn answers_from<A: Family, T: Tables>(
    flows: &Flows<'_, T>,
    reply: &Tuple<A>,
    found: &Found,
) -> bool {
    let Some(backend) = flows.tables.backend(found.cell.backend()) else { return false };
    found.cell.is_reply()
        && A::same(A::from_words(&backend.address), reply.source)
        && backend.port == reply.source_port
        && backend.protocol == reply.protocol
        && backend.family == A::NUMBER
}

/// The live cell of a flow to a listener: one whose backend serves this listener. A free entry seems to serve
/// the first one.
#[inline(always)]
pub fn find_flow<T: Tables>(flows: &Flows<'_, T>, hash: u64, listener: u32) -> Found {
    flows.find(hash, |found| serves(flows, listener, found))
}

#[inline(always)]
fn serves<T: Tables>(flows: &Flows<'_, T>, listener: u32, found: &Found) -> bool {
    let Some(backend) = flows.tables.backend(found.cell.backend()) else { return false };
    !found.cell.is_reply() && backend.listener == listener && backend.state != 0
}
