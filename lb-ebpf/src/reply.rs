//! From backend to client.

use lb_common::cell::State;
use lb_common::layout::Backend;
use lb_common::verdict::Verdict;

use crate::balance::partner_state;
use crate::checksum::Sum;
use crate::ethernet::{Hop, Tags};
use crate::family::{Family, Fragment, Ip, TCP};
use crate::flow::{Found, Tuple};
use crate::packet::{Frame, Packet};
use crate::schedule::{find_flow, find_reply};
use crate::tables::Tables;
use crate::transport::{self, ACK, Port, Transport};
use crate::Context;

/// Gives a reply of a balanced flow the VIP as its source; leaves everything else alone.
#[inline(always)]
pub fn to_client<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    context: &Context<'_, T>,
    ip: &Ip<A>,
    transport: &Transport,
    hop: &mut Hop,
) -> Verdict {
    let tuple = Tuple::<A> {
        source: ip.source,
        destination: ip.destination,
        source_port: transport.source_port,
        destination_port: transport.destination_port,
        protocol: ip.protocol,
    };
    let hash = tuple.hash(&context.flows.settings.hash_key);
    let Some((found, backend)) = find_reply(&context.flows, &tuple, hash) else {
        return Verdict::NotOurs;
    };
    if ip.fragment != Fragment::Whole {
        return Verdict::Fragment;
    }
    if ip.ttl <= 1 {
        return Verdict::TtlExceeded;
    }
    follow(context, &found, backend, &tuple, transport);
    if !hop_back(context, found.place.index(), hop) {
        return Verdict::NoNextHop;
    }
    if rewrite(packet, ip, backend).is_none() {
        return Verdict::Malformed;
    }
    count(context, backend.listener, found.cell.backend());
    Verdict::ToClient
}

#[inline(always)]
fn rewrite<A: Family, F: Frame>(packet: &Packet<F>, ip: &Ip<A>, backend: &Backend) -> Option<()> {
    let header = A::header(packet, ip.start)?;
    A::set_source(header, A::from_words(&backend.vip));
    A::pass_on(header, ip.ttl, Sum::of(!backend.address_delta));
    let change = Sum::of(!backend.transport_delta);
    transport::rewrite(packet, ip, Port::Source, backend.vip_port, change)
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
    let closes = tuple.protocol == TCP && transport.closes() && old != State::Closing;
    let answers = old == State::Syn && transport.flags & ACK != 0;
    let new = match old {
        _ if closes => State::Closing,
        State::Syn if answers => State::SynAck,
        State::Syn | State::SynAck | State::Established | State::Closing | State::Udp => old,
    };
    let aged = found.cell.idle_ticks(context.flows.tick) != 0;
    if new != old || aged {
        context.flows.touch(found, new);
    }
    if closes || aged {
        touch_forward(context, found, backend, tuple, new);
    }
}

/// Keeps the cell of the other direction alive, or it would expire under a flow that only ever answers.
#[inline(always)]
fn touch_forward<A: Family, T: Tables>(
    context: &Context<'_, T>,
    found: &Found,
    backend: &Backend,
    tuple: &Tuple<A>,
    state: State,
) {
    let forward = Tuple::<A> {
        source: tuple.destination,
        destination: A::from_words(&backend.vip),
        source_port: tuple.destination_port,
        destination_port: backend.vip_port,
        protocol: tuple.protocol,
    };
    let hash = forward.hash(&context.flows.settings.hash_key);
    if let Some((partner, _)) = find_flow(&context.flows, hash, backend.listener)
        && partner.cell.backend() == found.cell.backend()
    {
        context.flows.touch(&partner, partner_state(&partner, state));
    }
}

/// Writes the way that the client's last packet came; says whether it is known.
#[inline(always)]
pub fn hop_back<T: Tables>(context: &Context<'_, T>, index: u32, hop: &mut Hop) -> bool {
    let Some(detail) = context.flows.tables.detail(index) else { return false };
    detail.update(|detail| {
        hop.interface = detail.hop_interface;
        hop.destination = detail.hop_neighbour.into();
        hop.tags = Tags { control: detail.hop_tags, kind: detail.hop_tag_type };
    });
    hop.source = context.link.destination;
    if hop.interface != context.interface {
        let Some(interface) = context.flows.tables.interface(hop.interface) else { return false };
        hop.source = interface.mac.into();
    }
    true
}

#[inline(always)]
fn count<T: Tables>(context: &Context<'_, T>, listener: u32, backend: u32) {
    let tables = context.flows.tables;
    for entry in [tables.listener_traffic(listener), tables.backend_traffic(backend)] {
        if let Some(entry) = entry {
            entry.update(|traffic| {
                traffic.reply.packets += 1;
                traffic.reply.bytes += context.bytes;
            });
        }
    }
}
