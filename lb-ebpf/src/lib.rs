//! The packet path of Sluice, free of the kernel: a pure library that also runs on the host.
//!
//! ```text
//! frame -> ethernet -> IP -> listener -> flow table -- hit --> backend -> rewrite -> leave
//!                                             \------- miss -> schedule, remember /
//! ```
//!
//! [`process`] takes a frame and the tables and says what happened, as a [`Verdict`], and where the frame
//! goes, as an [`Exit`]. The program in `main.rs` turns that into an XDP action. There is no global state,
//! no clock and no map here: all of it is behind [`tables::Tables`] and [`packet::Frame`].
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics, asm_experimental_arch),
    allow(internal_features, reason = "atomic operations of the BPF target")
)]
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_ptr_alignment,
    clippy::indexing_slicing,
    clippy::inline_always,
    reason = "every check that the compiler adds is an instruction of the packet path; indexes are constants"
)]

pub mod checksum;
pub mod ethernet;
pub mod family;
pub mod flight;
pub mod flow;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod icmp;
pub mod packet;
pub mod tables;
pub mod transport;
pub mod v4;
pub mod v6;

mod forward;
mod reply;
mod reset;
mod schedule;
mod verifier;

use lb_common::layout::Settings;
use lb_common::verdict::{Kind, Verdict};

use crate::ethernet::Ethernet;
use crate::family::{Family, Ip, Shape, TCP, UDP, VRRP};
use crate::flight::{Facts, Flight, Scratch};
use crate::packet::{Frame, Mac, Packet};
use crate::tables::Tables;
use crate::v4::V4;
use crate::v6::V6;

/// What happened to a packet, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened.
    pub verdict: Verdict,
    /// Where the packet goes.
    pub exit: Exit,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// To the host's own stack.
    Pass,
    /// Nowhere.
    Drop,
    /// Out of the interface that it came in by.
    Transmit,
    /// Out of another interface.
    Redirect(u32),
}

/// What surrounds the packet.
struct World<'t, T> {
    tables: &'t T,
    settings: &'t Settings,
    link: &'t Ethernet,
}

/// Decides on a packet, rewrites it and counts it.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T) -> Outcome {
    let bytes = packet.length() as u64;
    let outcome = match (tables.settings(), tables.scratch()) {
        (Some(settings), Some(scratch)) => {
            scratch.update(|scratch| dispatch(packet, tables, settings, scratch))
        }
        // The kernel has these maps, or it has none of us.
        _ => rest(Verdict::NotIp),
    };
    if let Some(count) = tables.verdict_count(outcome.verdict.number()) {
        count.update(|count| count.add(bytes));
    }
    outcome
}

#[inline(always)]
fn dispatch<F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    tables: &T,
    settings: &Settings,
    scratch: &mut Scratch,
) -> Outcome {
    if ethernet::parse(packet, &mut scratch.link).is_none() {
        return rest(Verdict::NotIp);
    }
    let world = World { tables, settings, link: &scratch.link };
    match world.link.kind {
        ethernet::IPV4 => balance::<V4, F, T>(packet, &world, &mut scratch.v4),
        ethernet::IPV6 => balance::<V6, F, T>(packet, &world, &mut scratch.v6),
        _ => rest(Verdict::NotIp),
    }
}

/// The packet stays as it is.
#[inline(always)]
fn rest(verdict: Verdict) -> Outcome {
    let exit = match verdict.kind() {
        Kind::Passed => Exit::Pass,
        Kind::Forwarded | Kind::Dropped => Exit::Drop,
    };
    Outcome { verdict, exit }
}

/// What is the same for both families, once for each.
#[inline(never)]
fn balance<A: Family, F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    world: &World<T>,
    facts: &mut Facts<A>,
) -> Outcome {
    let flight = &mut facts.flight;
    flight.bytes = packet.length() as u64;
    flight.tick = world.tables.tick();
    flight.interface = packet.interface();
    flight.hop.end = 0;
    let verdict = route(packet, world, facts);
    match verdict.kind() {
        Kind::Forwarded => leave(packet, verdict, world.link, &facts.flight),
        Kind::Passed | Kind::Dropped => rest(verdict),
    }
}

/// The packet goes where it was decided to.
#[inline(always)]
fn leave<A: Family, F: Frame>(
    packet: &mut Packet<F>,
    verdict: Verdict,
    link: &Ethernet,
    flight: &Flight<A>,
) -> Outcome {
    let hop = &flight.hop;
    if hop.end != 0 && !packet.extend(hop.end as i32 - packet.length() as i32) {
        return rest(Verdict::Malformed);
    }
    if ethernet::write(packet, link, hop).is_none() {
        return rest(Verdict::NoNextHop);
    }
    let exit = if hop.interface == flight.interface {
        Exit::Transmit
    } else {
        Exit::Redirect(hop.interface)
    };
    Outcome { verdict, exit }
}

/// Finds out whose packet it is, and rewrites it. Where the verdict is to forward, the hop is written.
#[inline(always)]
fn route<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<T>,
    facts: &mut Facts<A>,
) -> Verdict {
    let flight = &mut facts.flight;
    if let Err(verdict) = A::parse(packet, world.link.length, false, &mut flight.ip) {
        return verdict;
    }
    let (protocol, shape) = (flight.ip.protocol, flight.ip.shape);
    if protocol == A::ICMP && shape == Shape::WHOLE {
        return icmp::decide(packet, world, flight, &mut facts.quote);
    }
    if !matches!(protocol, TCP | UDP) || shape == Shape::LATER_FRAGMENT {
        return unbalanced(world.tables, &flight.ip);
    }
    let Some(transport) = transport::parse(packet, &flight.ip) else {
        return truncated(world.tables, &flight.ip);
    };
    flight.transport = transport;
    let port = transport.destination_port;
    match A::listener(world.tables, flight.ip.destination, port, protocol) {
        Some(_) if !is_for_us(world, flight.interface) => Verdict::NotOurs,
        Some(_) if shape != Shape::WHOLE => Verdict::Fragment,
        Some(listener) => {
            flight.listener = listener;
            forward::to_backend(packet, world, flight)
        }
        None => match A::vip(world.tables, flight.ip.destination) {
            Some(vip) if vip.closed != 0 => Verdict::PortClosed,
            Some(_) => Verdict::VipHostPort,
            None => reply::to_client(packet, world, flight),
        },
    }
}

/// Whether the frame was sent to this interface. A switch also floods frames for others, and another director
/// may be among those.
#[inline(never)]
fn is_for_us<T: Tables>(world: &World<T>, interface: u32) -> bool {
    let ours = world.tables.interface(interface);
    ours.is_some_and(|ours| Mac::from(ours.mac) == world.link.destination)
}

/// A packet without ports that could be balanced by.
#[inline(never)]
fn unbalanced<A: Family, T: Tables>(tables: &T, ip: &Ip<A>) -> Verdict {
    match A::vip(tables, ip.destination) {
        None => Verdict::NotOurs,
        Some(vip) if vip.closed == 0 => Verdict::VipHostPort,
        Some(_) if ip.shape == Shape::UNFOLLOWED => Verdict::ExtensionHeaders,
        Some(_) if ip.shape != Shape::WHOLE => Verdict::Fragment,
        Some(_) if ip.protocol == VRRP => Verdict::VipControl,
        Some(_) => Verdict::ProtocolClosed,
    }
}

/// A packet whose transport header is not all there.
#[inline(never)]
fn truncated<A: Family, T: Tables>(tables: &T, ip: &Ip<A>) -> Verdict {
    if A::vip(tables, ip.destination).is_some() { Verdict::Malformed } else { Verdict::NotOurs }
}
