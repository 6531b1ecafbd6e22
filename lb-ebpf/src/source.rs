//! Source addresses and ports of full NAT.
//!
//! Each CPU has a share of the ports of every source and takes them one after the other, without locks. A CPU
//! whose share is in use looks into the others' too. What keeps a source and port from being given twice is
//! the reply's cell: after it is taken, the flow table is asked whether there is another one.

use lb_common::layout::{MAX_NAT_SOURCES, Settings};
use lb_common::verdict::Verdict;

use crate::World;
use crate::family::{Family, mix};
use crate::flight::Flight;
use crate::lookup::{find_other_reply, find_reply, reply_tuple};
use crate::remember::first_kind;
use crate::tables::Tables;
use crate::verifier::rolled;

/// Sources that are tried in the CPU's own share.
const OWN_SOURCES: usize = 4;
/// Sources that are tried in all. Where a part u of them is in use, u^124 of the new flows are refused: at 90% two
/// in a million, at 95% one in 600, at 97% one in 44.
const SOURCES: usize = 128;

/// Finds a source that the backend does not know a flow of, and takes the cell of its replies; says
/// [`Verdict::ToBackend`] where it could.
#[inline(always)]
pub(crate) fn take<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Verdict {
    for attempt in rolled(SOURCES) {
        let verdict = world.tables.try_source(world, flight, attempt >= OWN_SOURCES);
        if verdict != Verdict::ReplyConflict {
            return verdict;
        }
    }
    Verdict::SourcesUsedUp
}

/// Tries the next source; says [`Verdict::ReplyConflict`] where it is in use.
#[inline(always)]
pub(crate) fn try_source<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    in_any_share: bool,
) -> Verdict {
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    if !choose(world.tables, world.settings, flight, in_any_share) {
        return Verdict::SourcesUsedUp;
    }
    flight.reply = reply_tuple(flight, backend);
    let hash = flight.reply.hash(&world.settings.hash_key);
    let flows = flight.flows(world.tables, world.settings);
    flows.fetch(hash);
    if !find_reply(&flows, &flight.reply, hash).is_none() {
        return Verdict::ReplyConflict;
    }
    let taken = flows.insert(hash, flight.backend, first_kind(flight), true);
    if taken.is_none() {
        world.tables.report_full_table(flight.tick);
        return Verdict::FlowTableFull;
    }
    if !find_other_reply(&flows, &flight.reply, hash, &taken).is_none() {
        flows.remove(&taken);
        return Verdict::ReplyConflict;
    }
    flight.partner = taken;
    Verdict::ToBackend
}

/// Whether full NAT may have given an address and port to a flow.
#[inline(always)]
pub(crate) fn may_be_given<A: Family>(settings: &Settings, address: A::Address, port: u16) -> bool {
    let offset = u16::from_be(port).wrapping_sub(settings.nat_first_port);
    let mut is_given = false;
    for index in rolled(MAX_NAT_SOURCES) {
        is_given |= index < A::nat_sources(settings).into()
            && A::same(A::nat_source(settings, index), address);
    }
    is_given && offset < settings.nat_ports
}

/// Writes the next source; says whether there are any at all.
#[inline(always)]
fn choose<A: Family, T: Tables>(
    tables: &T,
    settings: &Settings,
    flight: &mut Flight<A>,
    in_any_share: bool,
) -> bool {
    let (sources, cpus) = (u64::from(A::nat_sources(settings)), u64::from(settings.cpus));
    if sources == 0 || cpus == 0 {
        return false;
    }
    let share = u64::from(settings.nat_ports) / cpus;
    if share == 0 {
        return false;
    }
    let mut drawn = tables.draw_source();
    let mut cpu = u64::from(tables.cpu());
    // At random: sources in use lie in long runs, which a step from one to the next would not leave, and flows
    // that are refused draw at a steady pace and would meet the same few over and over.
    if in_any_share {
        drawn = mix(drawn);
        cpu += drawn >> 40;
    }
    let port = (cpu % cpus) * share + (drawn / sources) % share;
    flight.peer = A::nat_source(settings, (drawn % sources) as usize);
    flight.peer_port = settings.nat_first_port.wrapping_add(port as u16).to_be();
    true
}
