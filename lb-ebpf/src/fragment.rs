//! Fragments: later ones follow the first one of their packet, which alone names the ports; where fragments are
//! dropped, into being dropped.

use lb_common::cell::Cell;
use lb_common::layout::{FragmentKey, FragmentWay};
use lb_common::verdict::{Kind, Verdict};

use crate::World;
use crate::detail;
use crate::draw::is_within;
use crate::family::{Family, Ip};
use crate::flight::Flight;
use crate::flow::tag_of;
use crate::identify::is_for_us;
use crate::nat::is_full_nat;
use crate::packet::{Frame, Packet};
use crate::place::Place;
use crate::reply;
use crate::send::send;
use crate::tables::Tables;

/// Ticks for which the fragments of a packet may come, at least: more than a receiver waits for them
/// (RFC 8200 section 4.5: 60 seconds at most; Linux: 30).
const TICKS: u32 = 8;

#[inline(always)]
fn key<A: Family>(ip: &Ip<A>) -> FragmentKey {
    FragmentKey {
        source: A::to_words(ip.source),
        destination: A::to_words(ip.destination),
        identification: ip.identification,
        protocol: if A::NUMBER == 4 { ip.protocol } else { 0 },
        family: A::NUMBER,
        reserved: 0,
    }
}

/// Whether the first fragment of a packet is known to have gone somewhere.
#[inline(always)]
pub(crate) fn is_known<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> bool {
    flight.fragment = key(&flight.ip);
    let way = world.tables.fragment(&flight.fragment);
    way.is_some_and(|way| is_within(flight.tick, way.tick, TICKS))
}

/// Notes where the first fragment of a packet went, if it was of a flow.
#[inline(never)]
pub(crate) fn remember<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    verdict: Verdict,
) {
    let is_of_flow = matches!(
        verdict,
        Verdict::ToBackend | Verdict::ToBackendUnremembered | Verdict::ToClient | Verdict::Fragment
    );
    if is_of_flow {
        flight.fragment = key(&flight.ip);
        flight.way = FragmentWay {
            hash: flight.hash,
            backend: flight.backend,
            cell: flight.found.place.index(),
            tick: flight.tick as u32,
            is_reply: u32::from(verdict == Verdict::ToClient),
        };
        world.tables.remember_fragment(&flight.fragment, &flight.way);
    }
}

/// Sends a later fragment after the first one; `None` where it is not known.
#[inline(never)]
pub(crate) fn follow<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Option<Verdict> {
    flight.fragment = key(&flight.ip);
    flight.way = world.tables.fragment(&flight.fragment)?;
    // IPv6 extension headers are followed into the padding.
    if !is_for_us(world, flight.interface) || flight.ip.payload > flight.ip.end {
        return None;
    }
    if !is_within(flight.tick, flight.way.tick, TICKS) || flight.ip.ttl <= 1 {
        return None;
    }
    if world.settings.follow_fragments == 0 {
        return Some(Verdict::Fragment);
    }
    let (id, cell) = (flight.way.backend, flight.way.cell);
    let backend = world.tables.backend(id)?;
    flight.backend = id;
    flight.listener = backend.listener;
    flight.hash = flight.way.hash;
    let verdict = if flight.way.is_reply != 0 {
        flight.reply.destination = flight.ip.destination;
        if !A::same(A::from_words(&backend.address), flight.ip.source) || !is_kept(world, flight) {
            return None;
        }
        reply::deliver(packet, world, flight, cell, backend)
    } else {
        let is_known = !is_full_nat(backend)
            || (is_kept(world, flight) && detail::read_own_source(world, flight, cell));
        if !A::same(A::from_words(&backend.vip), flight.ip.destination) || !is_known {
            return None;
        }
        send(packet, world, flight, backend)
    };
    Some(if verdict.kind() == Kind::Forwarded { Verdict::FragmentForwarded } else { verdict })
}

/// Whether the cell is still that of the flow: another may have it by now, and in a table of another size another has.
#[inline(always)]
fn is_kept<A: Family, T: Tables>(world: &World<'_, T>, flight: &Flight<A>) -> bool {
    let place = Place::at(flight.way.cell);
    let Some(bucket) = world.tables.bucket(place.bucket) else { return false };
    Cell(bucket.load(place.slot)).tag() == tag_of(flight.way.hash)
}
