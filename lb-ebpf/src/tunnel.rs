//! Encapsulation: a header in front of the packet brings it to its backend as the client sent it.
//!
//! IP in IP after RFC 2003, 2473 and 4213, and GUE in its variant 1 (draft-ietf-intarea-gue section 4): an IP
//! packet directly behind a UDP header. The source varies with the flow, by the bits that the settings leave
//! free and in GUE by the port, so that routers and NICs spread the flows (ECMP, RSS). The inner packet is
//! not touched, its TTL neither. UDP checksums are zero (RFC 6935 allows it in IPv6 for tunnels).

use lb_common::layout::{Address, Backend, Forward, Settings};
use network_types::eth::EthHdr;
use network_types::udp::UdpHdr;

use crate::ethernet;
use crate::family::{Family, NewHeader, UDP};
use crate::flight::Flight;
use crate::packet::{Frame, Packet};
use crate::v4::V4;
use crate::v6::V6;

/// Where an encapsulated packet goes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tunnel {
    /// The backend's address, of the outer family.
    pub destination: Address,
    /// 0 where there is a UDP header between the two IP headers, else [`NO_UDP`].
    pub udp: u32,
}

/// See [`Tunnel::udp`].
const NO_UDP: u32 = u32::MAX;

/// First of the 16,384 source ports of GUE: the dynamic ports (RFC 6335 section 6).
const FIRST_SOURCE_PORT: u16 = 0xc000;

/// Sends the packet through the tunnel to a backend; returns the bytes that are put in front of it.
#[inline(always)]
pub(crate) fn choose<A: Family>(flight: &mut Flight<A>, backend: &Backend) -> usize {
    let forward = backend.forward;
    let is_v4 = forward == Forward::IpipV4.number() || forward == Forward::GueV4.number();
    let is_gue = forward >= Forward::GueV4.number();
    flight.tunnel.destination = backend.address;
    flight.tunnel.udp = if is_gue { 0 } else { NO_UDP };
    flight.hop.kind = if is_v4 { ethernet::IPV4 } else { ethernet::IPV6 };
    let room = if is_v4 { room::<V4>(is_gue) } else { room::<V6>(is_gue) };
    flight.hop.room = room as u32;
    room
}

/// Bytes that this way of forwarding puts in front of a packet.
#[inline(always)]
pub(crate) fn overhead(forward: Forward) -> usize {
    match forward {
        Forward::Nat | Forward::FullNat | Forward::Dsr => 0,
        Forward::IpipV4 => room::<V4>(false),
        Forward::IpipV6 => room::<V6>(false),
        Forward::GueV4 => room::<V4>(true),
        Forward::GueV6 => room::<V6>(true),
    }
}

/// Bytes of headers with an outer one of this family.
#[inline(always)]
fn room<O: Family>(is_gue: bool) -> usize {
    if is_gue { O::LENGTH + UdpHdr::LEN } else { O::LENGTH }
}

/// What the headers in front of a packet are made of, beside the tunnel.
pub(crate) struct Inside<'t> {
    pub(crate) settings: &'t Settings,
    /// Hash of the packet's flow.
    pub(crate) hash: u64,
    /// Length of the packet.
    pub(crate) length: usize,
}

impl Tunnel {
    /// One of IP in IP.
    #[inline(always)]
    pub(crate) fn bare(destination: Address) -> Self {
        Self { destination, udp: NO_UDP }
    }

    /// One with a UDP header.
    #[inline(always)]
    pub(crate) fn in_udp(destination: Address) -> Self {
        Self { destination, udp: 0 }
    }

    #[inline(always)]
    fn room<O: Family>(&self) -> usize {
        room::<O>(self.udp != NO_UDP)
    }
}

/// Puts headers in front of the packet of a frame without tags, whose MAC addresses are to be written after it.
/// `None`: there is no room, and nothing has changed.
#[inline(always)]
pub(crate) fn put<O: Family, A: Family, F: Frame>(
    packet: &mut Packet<F>,
    tunnel: &Tunnel,
    inside: &Inside<'_>,
) -> Option<()> {
    if !packet.grow(tunnel.room::<O>() as i32) {
        return None;
    }
    packet.window::<{ EthHdr::LEN }>(0)?.set_u16::<12>(O::KIND);
    write_header::<O, A, F>(packet, EthHdr::LEN, tunnel, inside)
}

/// Writes the headers at `at`, where the room for them is.
#[inline(always)]
pub(crate) fn write<A: Family, F: Frame>(
    packet: &Packet<F>,
    at: usize,
    settings: &Settings,
    flight: &Flight<A>,
) -> Option<()> {
    let length = flight.ip.end - flight.ip.start;
    let inside = Inside { settings, hash: flight.hash, length };
    if flight.hop.kind == ethernet::IPV4 {
        write_header::<V4, A, F>(packet, at, &flight.tunnel, &inside)
    } else {
        write_header::<V6, A, F>(packet, at, &flight.tunnel, &inside)
    }
}

#[inline(always)]
fn write_header<O: Family, A: Family, F: Frame>(
    packet: &Packet<F>,
    at: usize,
    tunnel: &Tunnel,
    inside: &Inside<'_>,
) -> Option<()> {
    let (length, hash) = (inside.length, inside.hash);
    let is_gue = tunnel.udp != NO_UDP;
    let inner = A::header(packet, at + tunnel.room::<O>())?;
    let outer = O::header(packet, at)?;
    O::write(
        outer,
        &NewHeader {
            source: O::tunnel_source(inside.settings, hash),
            destination: O::from_words(&tunnel.destination),
            protocol: if is_gue { UDP } else { A::ENCAPSULATED },
            traffic_class: A::traffic_class(inner),
            length: if is_gue { length + UdpHdr::LEN } else { length },
            flow_label: hash as u32,
        },
    );
    if is_gue {
        let udp = packet.window::<{ UdpHdr::LEN }>(at + O::LENGTH)?;
        udp.set_u16::<0>((FIRST_SOURCE_PORT | (hash >> 32) as u16).to_be());
        udp.set_u16::<2>(inside.settings.gue_port);
        udp.set_u16::<4>(((length + UdpHdr::LEN) as u16).to_be());
        udp.set_u16::<6>(0);
    }
    Some(())
}
