//! The firewall: the first rule that matches a packet decides.
//!
//! What it costs does not depend on how many rules and prefixes there are: each property of the packet leads to a set
//! of rules, and the first rule in all of these sets is the one.

use lb_common::layout::firewall::{Firewall, NO_COUNT};
use lb_common::verdict::{Kind, Verdict};

use crate::family::Family;
use crate::flight::{Flight, Next, Watch};
use crate::packet::{Frame, Packet};
use crate::tables::Tables;
use crate::{World, begin, detail, fragment, identify, quick};

pub mod address;
mod close;
mod judge;
pub mod limit;
pub mod maps;
pub mod open;
pub(crate) mod outcome;
pub mod rows;
mod subject;

use judge::judge;
pub use maps::Maps;
pub use subject::Subject;

/// The word of the firewall, if there is one that is on.
#[inline(always)]
fn word<M: Maps>(maps: &M) -> Option<u64> {
    let firewall = core::ptr::from_ref(maps.firewall()?);
    // SAFETY: a field of a value that lives as long as the packet is worked on.
    let word = unsafe { &raw const (*firewall).word };
    // SAFETY: as above; volatile, since the agent changes it.
    let word = unsafe { word.read_volatile() };
    (word & Firewall::ON != 0).then_some(word)
}

/// Whether there is a firewall.
#[inline(always)]
pub fn is_on<M: Maps>(maps: &M) -> bool {
    word(maps).is_some()
}

/// What becomes of a packet with which nothing is to be done any more: the rules refuse it, or it is not for us.
///
/// A flow that they accepted before goes on, until they change; then its next packet, in either direction, is judged.
/// A flow that they accept no more is forgotten.
#[inline(never)]
pub(crate) fn stop<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Option<Verdict> {
    begin(packet, world, flight);
    flight.rule = NO_COUNT;
    flight.is_over = 0;
    flight.watch = Watch::AS_BEFORE;
    let known = match quick::stranger(packet, world, flight) {
        Some(verdict) => verdict,
        None => identify::identify(packet, world, flight),
    };
    let is_done = flight.next == Next::NOTHING;
    if is_done && known.kind() != Kind::Passed {
        return Some(known);
    }
    flight.opens_flow = open::opens(packet, world, flight).into();
    match asked(packet, world, flight) {
        Asked::Rules => {}
        Asked::Nobody => return None,
        Asked::Refused(verdict) => return Some(verdict),
    }
    flight.watch = Watch::NO;
    match judge(world.tables, flight) {
        // What exceeds a limit ends nothing: others of its flow may go on.
        Some(verdict) if flight.is_over != 0 => Some(verdict),
        Some(verdict) => {
            close::close(world, flight);
            Some(verdict)
        }
        None => is_done.then_some(known),
    }
}

/// Who is asked about a packet.
enum Asked {
    /// The rules, about the flight's subject.
    Rules,
    /// It goes on.
    Nobody,
    /// It does not, by this verdict.
    Refused(Verdict),
}

#[inline(always)]
fn asked<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Asked {
    let is_of_flow = matches!(flight.next, Next::TO_BACKEND | Next::TO_CLIENT);
    let is_accepted = flight.found.cell.generation() == world.settings.generation;
    if is_of_flow && is_accepted && flight.opens_flow == 0 {
        return Asked::Nobody;
    }
    // What the rules said of the first fragment of a packet holds for the others.
    if flight.next == Next::FRAGMENT && fragment::is_known(world, flight) {
        return Asked::Nobody;
    }
    if flight.next == Next::TO_CLIENT {
        return answered(world, flight);
    }
    match Subject::of(packet, flight) {
        Ok(subject) => {
            flight.subject = subject;
            Asked::Rules
        }
        Err(verdict) => Asked::Refused(verdict),
    }
}

/// Of a reply it is asked whether its client may still send.
#[inline(always)]
fn answered<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Asked {
    let cell = flight.found.place.index();
    let Some(backend) = world.tables.backend(flight.backend) else { return Asked::Nobody };
    if !detail::read_way_back(world, flight, cell) {
        return Asked::Nobody;
    }
    flight.subject = Subject::of_client(flight, backend);
    Asked::Rules
}
