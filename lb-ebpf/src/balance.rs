//! From client to backend.

use lb_common::cell::State;
use lb_common::layout::{BACKEND_DOWN_RESET, BACKEND_UP, Backend};
use lb_common::verdict::Verdict;

use crate::checksum::Sum;
use crate::ethernet::Hop;
use crate::family::{Family, Ip, TCP};
use crate::flow::{Found, Tuple};
use crate::packet::{Frame, Packet};
use crate::schedule::{
    Arrival, find_flow, find_reply, reply_tuple, schedule, write_reply_detail,
};
use crate::tables::Tables;
use crate::transport::{self, ACK, Port, RST, SYN, Transport};
use crate::{Context, reset};

/// Sends a packet for a listener to its flow's backend, or to one that is chosen now.
#[inline(always)]
pub fn to_backend<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    context: &Context<'_, T>,
    ip: &Ip<A>,
    transport: &Transport,
    listener_id: u32,
    hop: &mut Hop,
) -> Verdict {
    if ip.ttl <= 1 {
        return refuse(context, listener_id, Verdict::TtlExceeded);
    }
    let tuple = Tuple::<A> {
        source: ip.source,
        destination: ip.destination,
        source_port: transport.source_port,
        destination_port: transport.destination_port,
        protocol: ip.protocol,
    };
    let hash = tuple.hash(&context.flows.settings.hash_key);
    let found = find_flow(&context.flows, hash, listener_id);
    let (id, backend) = match &found {
        Some((found, backend)) if stays(found, backend, transport) => {
            if resets(backend, transport) {
                return reset::answer(packet, context, ip, hop, backend.listener);
            }
            follow(context, found, backend, &tuple, transport);
            (found.cell.backend(), *backend)
        }
        _ => {
            let old = found.map(|(found, _)| found);
            let arrival =
                Arrival { listener: listener_id, tuple, hash, transport: *transport, old };
            let id = match schedule(context, &arrival) {
                Ok(id) => id,
                Err(verdict) => return refuse(context, listener_id, verdict),
            };
            let Some(backend) = context.flows.tables.backend(id) else {
                return refuse(context, listener_id, Verdict::NoBackend);
            };
            count_flow(context, listener_id, id);
            (id, backend)
        }
    };
    forward(packet, context, ip, id, backend, hop)
}

/// Whether a packet goes to the backend of its flow; if not, the flow begins anew.
#[inline(always)]
fn stays(found: &Found, backend: &Backend, transport: &Transport) -> bool {
    match found.cell.state() {
        // The client takes its port again, while we remember the end of the last connection.
        Some(State::Closing) => !transport.opens(),
        // The backend died before it answered.
        Some(State::Syn | State::SynAck) => backend.state == BACKEND_UP || !transport.opens(),
        Some(State::Established) => true,
        Some(State::Udp) => backend.state == BACKEND_UP,
        None => false,
    }
}

/// Whether the client is told that its backend is gone. Never in answer to a reset.
#[inline(always)]
fn resets(backend: &Backend, transport: &Transport) -> bool {
    backend.state == BACKEND_DOWN_RESET && transport.flags & RST == 0
}

/// Keeps the cells of a known flow up to date: on a new tick or a new state only.
#[inline(never)]
fn follow<A: Family, T: Tables>(
    context: &Context<'_, T>,
    found: &Found,
    backend: &Backend,
    tuple: &Tuple<A>,
    transport: &Transport,
) {
    let Some(old) = found.cell.state() else { return };
    let confirms = old == State::Syn && transport.flags & (SYN | ACK) == ACK;
    let closes = tuple.protocol == TCP && transport.closes() && old != State::Closing;
    if !confirms && !closes && found.cell.idle_ticks(context.flows.tick) == 0 {
        return;
    }
    let reply = reply_tuple(tuple, backend);
    let hash = reply.hash(&context.flows.settings.hash_key);
    let partner = find_reply(&context.flows, &reply, hash)
        .filter(|(partner, _)| partner.cell.backend() == found.cell.backend());
    let answered =
        partner.is_some_and(|(partner, _)| partner.cell.state() == Some(State::SynAck));
    let new = match old {
        _ if closes => State::Closing,
        State::Syn if confirms && answered => State::Established,
        State::Syn | State::SynAck | State::Established | State::Closing | State::Udp => old,
    };
    context.flows.touch(found, new);
    let place = match partner {
        Some((partner, _)) => {
            context.flows.touch(&partner, partner_state(&partner, new));
            Some(partner.place)
        }
        None => context.flows.insert(hash, found.cell.backend(), new, true),
    };
    if let Some(place) = place {
        write_reply_detail(context, &reply, place.index());
    }
}

/// The state of the other direction's cell: only these two are decided for both.
#[inline(always)]
pub fn partner_state(partner: &Found, state: State) -> State {
    match state {
        State::Established | State::Closing => state,
        State::Syn | State::SynAck | State::Udp => partner.cell.state().unwrap_or(state),
    }
}

/// Rewrites the packet for the backend.
#[inline(always)]
fn forward<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    context: &Context<'_, T>,
    ip: &Ip<A>,
    id: u32,
    backend: &Backend,
    hop: &mut Hop,
) -> Verdict {
    if !hop_to(context, backend, hop) {
        return refuse(context, backend.listener, Verdict::NoNextHop);
    }
    if rewrite(packet, ip, backend).is_none() {
        return refuse(context, backend.listener, Verdict::Malformed);
    }
    count_forward(context, backend.listener, id);
    Verdict::ToBackend
}

#[inline(always)]
fn rewrite<A: Family, F: Frame>(packet: &Packet<F>, ip: &Ip<A>, backend: &Backend) -> Option<()> {
    let header = A::header(packet, ip.start)?;
    A::set_destination(header, A::from_words(&backend.address));
    A::pass_on(header, ip.ttl, Sum::of(backend.address_delta));
    let change = Sum::of(backend.transport_delta);
    transport::rewrite(packet, ip, Port::Destination, backend.port, change)
}

/// Writes the way to a backend; says whether it is known.
#[inline(always)]
pub fn hop_to<T: Tables>(context: &Context<'_, T>, backend: &Backend, hop: &mut Hop) -> bool {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = backend.macs;
    hop.interface = backend.interface;
    hop.destination = [d0, d1, d2, d3, d4, d5].into();
    hop.source = [s0, s1, s2, s3, s4, s5].into();
    // A frame keeps its tags on the NIC that it came in by; on another one they would mean another network.
    if backend.interface == context.interface {
        hop.tags = context.link.tags;
    }
    backend.interface != 0
}

/// Counts a drop at its listener.
#[inline(always)]
fn refuse<T: Tables>(context: &Context<'_, T>, listener: u32, verdict: Verdict) -> Verdict {
    if let Some(entry) = context.flows.tables.listener_traffic(listener) {
        entry.update(|traffic| traffic.dropped += 1);
    }
    verdict
}

#[inline(always)]
fn count_flow<T: Tables>(context: &Context<'_, T>, listener: u32, backend: u32) {
    let tables = context.flows.tables;
    for entry in [tables.listener_traffic(listener), tables.backend_traffic(backend)] {
        if let Some(entry) = entry {
            entry.update(|traffic| traffic.flows += 1);
        }
    }
}

#[inline(always)]
fn count_forward<T: Tables>(context: &Context<'_, T>, listener: u32, backend: u32) {
    let tables = context.flows.tables;
    for entry in [tables.listener_traffic(listener), tables.backend_traffic(backend)] {
        if let Some(entry) = entry {
            entry.update(|traffic| {
                traffic.forward.packets += 1;
                traffic.forward.bytes += context.bytes;
            });
        }
    }
}
