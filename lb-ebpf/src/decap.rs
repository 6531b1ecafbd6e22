//! Decapsulation, on a backend: takes off the outer headers that a director has put before a client's packet.
//!
//! ```text
//! frame -> ethernet -> outer IP -> UDP, GUE -> inner IP -> is it for a VIP? -> ethernet, inner IP ...
//! ```
//!
//! [`process`] says what happened, as a [`Verdict`]; whatever it does not know passes as it came. A packet is
//! looked at once, so a tunnel within a tunnel stays one. It is a program of its own beside the packet path
//! of a director, and shares its headers.

mod clamp;
mod gue;
#[cfg(not(target_arch = "bpf"))]
mod host;

use lb_common::decap::{HOST, Key, Settings, VIP, Verdict};
use lb_common::layout::Count;

use crate::checksum::Sum;
use crate::ethernet::{self, Ethernet, Hop};
use crate::family::{Family, Ip, Shape, UDP};
use crate::packet::{Frame, Packet};
use crate::tables::Entry;
use crate::v4::V4;
use crate::v6::V6;

pub use clamp::{Segment, clamp};
#[cfg(not(target_arch = "bpf"))]
pub use host::HostMaps;

/// IPv4 within IP (RFC 2003).
const IPV4_IN_IP: u8 = V4::ENCAPSULATED;
/// IPv6 within IP (RFC 2473, RFC 4213).
const IPV6_IN_IP: u8 = V6::ENCAPSULATED;

/// The maps and counters.
pub trait Maps {
    /// What is the same for all packets.
    fn settings(&self) -> Option<Settings>;
    /// What an address is: a sum of [`HOST`] and [`VIP`].
    fn roles(&self, address: &Key) -> u32;
    /// Whether an outer source is listed.
    fn is_listed(&self, source: &Key) -> bool;
    /// This CPU's memory for the packet at hand.
    fn scratch(&self) -> Option<Entry<Scratch>>;
    /// This CPU's memory for a number.
    fn number(&self) -> Option<Entry<u64>>;
    /// This CPU's counter of a verdict.
    fn count(&self, number: u32) -> Option<Entry<Count>>;
}

/// What is known of the packet at hand; see [`crate::flight`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    link: Ethernet,
    tunnel: Tunnel,
    outer: Headers,
    inner: Headers,
}

/// The IP header of a packet, in the field of its family.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Headers {
    v4: Ip<V4>,
    v6: Ip<V6>,
}

/// What the outer headers say.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Tunnel {
    /// Where the outer packet came from.
    source: Key,
    /// 1 where it is marked for congestion.
    congested: u32,
    /// `EtherType` of what it carries, network order.
    kind: u16,
    /// Where that begins.
    start: usize,
    /// Where it must have ended.
    end: usize,
}

/// Decides on a packet, takes off its outer headers where it has some for us, and counts it.
#[inline(always)]
pub fn process<F: Frame, M: Maps>(packet: &mut Packet<F>, maps: &M) -> Verdict {
    let bytes = packet.length() as u64;
    let verdict = match (maps.settings(), maps.scratch()) {
        (Some(settings), Some(scratch)) => {
            scratch.update(|scratch| decide(packet, maps, settings, scratch))
        }
        // The kernel has these maps, or it has none of us.
        _ => Verdict::NotIp,
    };
    count(maps, verdict, bytes);
    verdict
}

#[inline(always)]
fn count<M: Maps>(maps: &M, verdict: Verdict, bytes: u64) {
    if let Some(count) = maps.count(verdict.number()) {
        count.update(|count| count.add(bytes));
    }
}

#[inline(always)]
fn decide<F: Frame, M: Maps>(
    packet: &mut Packet<F>,
    maps: &M,
    settings: Settings,
    scratch: &mut Scratch,
) -> Verdict {
    let Scratch { link, tunnel, outer, inner } = scratch;
    if ethernet::parse(packet, link).is_none() {
        return Verdict::NotIp;
    }
    tunnel.start = link.length;
    let found = match link.kind {
        ethernet::IPV4 => find_tunnel::<V4, F, M>(packet, maps, settings, &mut outer.v4, tunnel),
        ethernet::IPV6 => find_tunnel::<V6, F, M>(packet, maps, settings, &mut outer.v6, tunnel),
        _ => Err(Verdict::NotIp),
    };
    let done = match (found, tunnel.kind) {
        (Err(verdict), _) => Err(verdict),
        (Ok(()), ethernet::IPV4) => {
            examine::<V4, F, M>(packet, maps, settings, &mut inner.v4, tunnel)
        }
        (Ok(()), _) => examine::<V6, F, M>(packet, maps, settings, &mut inner.v6, tunnel),
    };
    match done.and_then(|()| strip(packet, link, tunnel)) {
        Ok(()) => Verdict::Decapsulated,
        Err(verdict) => verdict,
    }
}

/// Reads the outer headers, from where the tunnel is said to start.
#[inline(never)]
fn find_tunnel<A: Family, F: Frame, M: Maps>(
    packet: &Packet<F>,
    maps: &M,
    settings: Settings,
    ip: &mut Ip<A>,
    tunnel: &mut Tunnel,
) -> Result<(), Verdict> {
    A::parse(packet, tunnel.start, false, ip).map_err(|_| Verdict::Malformed)?;
    let is_tunnel = match ip.protocol {
        IPV4_IN_IP | IPV6_IN_IP => true,
        UDP => ip.shape != Shape::LATER_FRAGMENT && gue::is_to(packet, ip, settings.gue_port),
        _ => false,
    };
    if !is_tunnel {
        return Err(Verdict::NotTunnel);
    }
    if maps.roles(&key::<A>(ip.destination)) & HOST == 0 {
        return Err(Verdict::NotHere);
    }
    if ip.shape != Shape::WHOLE {
        return Err(Verdict::Fragment);
    }
    tunnel.source = key::<A>(ip.source);
    tunnel.congested = u32::from(congestion(packet, ip) == CONGESTED);
    tunnel.start = ip.payload;
    tunnel.end = ip.end;
    match ip.protocol {
        IPV4_IN_IP => tunnel.kind = ethernet::IPV4,
        IPV6_IN_IP => tunnel.kind = ethernet::IPV6,
        _ => gue::parse(packet, tunnel)?,
    }
    Ok(())
}

/// Looks at what the tunnel carries: whether it is whole, and for us.
#[inline(never)]
fn examine<A: Family, F: Frame, M: Maps>(
    packet: &Packet<F>,
    maps: &M,
    settings: Settings,
    ip: &mut Ip<A>,
    tunnel: &Tunnel,
) -> Result<(), Verdict> {
    A::parse(packet, tunnel.start, false, ip).map_err(|_| Verdict::MalformedInner)?;
    if ip.end > tunnel.end {
        return Err(Verdict::MalformedInner);
    }
    if maps.roles(&key::<A>(ip.destination)) & VIP == 0 {
        return Err(Verdict::NotVip);
    }
    if settings.restricted != 0 && !maps.is_listed(&tunnel.source) {
        return Err(Verdict::ForbiddenSource);
    }
    if tunnel.congested == 0 { Ok(()) } else { pass_congestion_on(packet, ip) }
}

/// RFC 3168 section 5: the sender does not heed marks.
const HEEDLESS: u8 = 0;
/// The packet has met congestion.
const CONGESTED: u8 = 3;

/// Where the two bits of congestion are in the header's second byte.
const fn congestion_shift<A: Family>() -> u8 {
    if A::NUMBER == 4 { 0 } else { 4 }
}

#[inline(always)]
fn congestion<A: Family, F: Frame>(packet: &Packet<F>, ip: &Ip<A>) -> u8 {
    A::header(packet, ip.start).map_or(HEEDLESS, A::traffic_class) & CONGESTED
}

/// RFC 6040 section 4.2: the mark goes to the inner header, or the packet is dropped.
#[inline(always)]
fn pass_congestion_on<A: Family, F: Frame>(packet: &Packet<F>, ip: &Ip<A>) -> Result<(), Verdict> {
    if congestion(packet, ip) == HEEDLESS {
        return Err(Verdict::Congestion);
    }
    let header = A::header(packet, ip.start).ok_or(Verdict::MalformedInner)?;
    let bytes = packet.window::<2>(ip.start).ok_or(Verdict::MalformedInner)?;
    let old = bytes.u16_at::<0>();
    bytes.set_u8::<1>(bytes.u8_at::<1>() | CONGESTED << congestion_shift::<A>());
    A::fix(header, Sum::default().change(old, bytes.u16_at::<0>()));
    Ok(())
}

/// Writes the Ethernet header anew before what the tunnel carries, which alone is kept.
#[inline(always)]
fn strip<F: Frame>(
    packet: &mut Packet<F>,
    link: &Ethernet,
    tunnel: &Tunnel,
) -> Result<(), Verdict> {
    let hop = Hop {
        interface: 0,
        destination: link.destination,
        source: link.source,
        tags: link.tags,
        kind: tunnel.kind,
        start: tunnel.start,
        end: 0,
        room: 0,
    };
    ethernet::write(packet, &hop).map(drop).ok_or(Verdict::Malformed)
}

#[inline(always)]
fn key<A: Family>(address: A::Address) -> Key {
    Key { family: A::NUMBER.into(), address: A::to_words(address) }
}
