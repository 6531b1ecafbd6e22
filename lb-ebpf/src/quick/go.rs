//! Where quick packets go. They were parsed, so no window that is asked for here can be missing.

use lb_common::filter;
use lb_common::layout::{Detail, Forward};
use lb_common::verdict::Verdict;
use network_types::eth::EthHdr;

use super::{Plain, may_be};
use crate::family::Family;
use crate::nat::rewrite;
use crate::packet::{Frame, Mac, Packet};
use crate::send::count;
use crate::tables::Tables;
use crate::transport::Port;
use crate::tunnel::{Inside, Tunnel, overhead, put};
use crate::v4::V4;
use crate::v6::V6;
use crate::{Exit, Outcome};

/// Sends a packet to the other end of its flow; `None` where there is a doubt about that.
#[inline(always)]
pub(super) fn go<A: Family, F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    tables: &T,
    plain: &Plain<'_, A>,
) -> Option<Outcome> {
    let (verdict, interface) = if plain.cell.is_reply() {
        (Verdict::ToClient, to_client(packet, tables, plain)?)
    } else {
        (Verdict::ToBackend, to_backend(packet, tables, plain)?)
    };
    let exit =
        if interface == plain.interface { Exit::Transmit } else { Exit::Redirect(interface) };
    Some(Outcome { verdict, exit })
}

/// Says by which interface.
#[inline(always)]
fn to_backend<A: Family, F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    tables: &T,
    plain: &Plain<'_, A>,
) -> Option<u32> {
    let backend = plain.backend;
    let forward = Forward::from_number(backend.forward)?;
    let length = plain.ip.end - plain.ip.start;
    let is_its = A::same(A::from_words(&backend.vip), plain.ip.destination)
        && backend.vip_port == plain.transport.destination_port;
    let fits = backend.mtu == 0 || length + overhead(forward) <= usize::from(backend.mtu);
    if !is_its || !fits || backend.interface == 0 {
        return None;
    }
    let inside = Inside { settings: plain.settings, hash: plain.hash, length };
    let destination = backend.address;
    match forward {
        Forward::Nat | Forward::FullNat => {
            let peer = source(tables, plain, forward)?;
            let headers = (&plain.ip, &plain.transport);
            rewrite(packet, headers, peer, backend, Port::Destination)?;
        }
        Forward::Dsr => {}
        Forward::IpipV4 => put::<V4, A, F>(packet, &Tunnel::bare(destination), &inside)?,
        Forward::IpipV6 => put::<V6, A, F>(packet, &Tunnel::bare(destination), &inside)?,
        Forward::GueV4 => put::<V4, A, F>(packet, &Tunnel::in_udp(destination), &inside)?,
        Forward::GueV6 => put::<V6, A, F>(packet, &Tunnel::in_udp(destination), &inside)?,
    }
    packet.window::<{ EthHdr::LEN }>(0)?.set_macs(&backend.macs);
    let bytes = plain.bytes;
    count(tables, backend.listener, plain.cell.backend(), |traffic| traffic.forward.add(bytes));
    Some(backend.interface)
}

/// The source that the backend sees; `None` where the detail is not yet the flow's.
#[inline(always)]
fn source<A: Family, T: Tables>(
    tables: &T,
    plain: &Plain<'_, A>,
    forward: Forward,
) -> Option<(A::Address, u16)> {
    let (client, port) = (plain.ip.source, plain.transport.source_port);
    if forward != Forward::FullNat {
        return Some((client, port));
    }
    tables.detail(plain.place.index())?.update(|detail| {
        let is_its = A::same(A::from_words(&detail.client), client) && detail.client_port == port;
        is_its.then_some((A::from_words(&detail.source), detail.source_port))
    })
}

/// Says by which interface.
#[inline(always)]
fn to_client<A: Family, F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    tables: &T,
    plain: &Plain<'_, A>,
) -> Option<u32> {
    let backend = plain.backend;
    let is_its = A::same(A::from_words(&backend.address), plain.ip.source)
        && backend.port == plain.transport.source_port;
    // What a VIP is sent is no reply, and an address that shares its bit may be one.
    let is_vip = may_be(tables, filter::of_vip(&A::to_words(plain.ip.destination)));
    if !is_its || is_vip {
        return None;
    }
    let (client, link) = tables.detail(plain.place.index())?.update(|detail| {
        let is_its = A::same(A::from_words(&detail.source), plain.ip.destination)
            && detail.source_port == plain.transport.destination_port
            && detail.hop_tags[0] == 0;
        is_its.then(|| way_back::<A>(detail))
    })?;
    let (interface, neighbour) = link;
    let ours = if interface == plain.interface {
        plain.mac
    } else {
        tables.interface(interface.into())?.mac.into()
    };
    rewrite(packet, (&plain.ip, &plain.transport), client, backend, Port::Source)?;
    let header = packet.window::<{ EthHdr::LEN }>(0)?;
    header.set_mac::<0>(neighbour);
    header.set_mac::<6>(ours);
    let bytes = plain.bytes;
    count(tables, backend.listener, plain.cell.backend(), |traffic| traffic.reply.add(bytes));
    Some(interface)
}

/// A client, and the way that its last packet came: interface and neighbour.
type WayBack<A> = ((<A as Family>::Address, u16), (u32, Mac));

#[inline(always)]
fn way_back<A: Family>(detail: &Detail) -> WayBack<A> {
    let client = (A::from_words(&detail.client), detail.client_port);
    (client, (detail.hop_interface, detail.hop_neighbour.into()))
}
