//! What most packets need, and nothing else: of known flows, or none of ours.

use lb_common::layout::Settings;
use lb_common::verdict::{Kind, Verdict};

use crate::ethernet;
use crate::family::{Family, Shape};
use crate::flight::{Flight, Next, Scratch};
use crate::identify::identify;
use crate::packet::{Frame, Packet};
use crate::tables::Tables;
use crate::{Outcome, World, begin, end, firewall, forward, leave, reply, rest};

/// Identifies a packet; deals with it unless there is more to do.
#[inline(always)]
pub(crate) fn quick<F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    tables: &T,
    settings: &Settings,
    scratch: &mut Scratch,
) -> Option<Outcome> {
    let Scratch { link, v4, v6 } = scratch;
    if ethernet::parse(packet, link).is_none() {
        return Some(rest(Verdict::NotIp));
    }
    let world = World { tables, settings, link };
    match world.link.kind {
        ethernet::IPV4 => of_family(packet, &world, &mut v4.flight),
        ethernet::IPV6 => of_family(packet, &world, &mut v6.flight),
        _ => Some(rest(Verdict::NotIp)),
    }
}

#[inline(always)]
fn of_family<A: Family, F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    world: &World<T>,
    flight: &mut Flight<A>,
) -> Option<Outcome> {
    begin(packet, world, flight);
    let verdict = identify(packet, world, flight);
    // The way of a first fragment is to be noted.
    if flight.next == Next::NOTHING {
        flight.verdict = verdict.number();
        let is_asked = verdict.kind() == Kind::Passed && firewall::asks(world.tables, flight);
        return if is_asked { None } else { Some(rest(verdict)) };
    }
    if flight.ip.shape != Shape::WHOLE {
        return None;
    }
    let verdict = match flight.next {
        Next::TO_BACKEND => forward::go_on_quickly(packet, world, flight)?,
        Next::TO_CLIENT => reply::go_on_quickly(packet, world, flight)?,
        _ => return None,
    };
    if verdict.kind() != Kind::Forwarded {
        return Some(rest(verdict));
    }
    Some(end(leave(packet, verdict, world.settings, flight), flight))
}
