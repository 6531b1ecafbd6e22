//! The packet path of Sluice, free of the kernel: a pure library that also runs on the host.
//!
//! ```text
//! frame -> ethernet -> IP -> listener -> flow table -- hit --> backend -> rewrite -> leave
//!                                             \------- miss -> schedule, remember /
//! ```
//!
//! [`process`] takes a frame and the tables and says what happened, as a [`Verdict`], and where the frame
//! goes, as an [`Exit`]. In the kernel each of its stages is a program, which turns that into an XDP action
//! (`kernel.rs`). There is no global state, no clock and no map here: all of it is behind [`tables::Tables`]
//! and [`packet::Frame`].
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

#[cfg(not(target_arch = "bpf"))]
pub mod adopt;
pub mod checksum;
pub mod cookie;
pub mod decap;
pub mod detail;
pub mod draw;
pub mod ethernet;
pub mod family;
pub mod firewall;
pub mod flight;
pub mod flow;
mod guard;
mod hold;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod icmp;
mod lookup;
pub mod migrate;
mod nat;
pub mod packet;
mod quick;
pub mod tables;
pub mod transport;
pub mod v4;
pub mod v6;

mod forward;
mod fragment;
mod identify;
pub mod parts;
mod place;
pub mod relay;
mod remember;
mod reply;
mod reset;
pub mod sample;
mod schedule;
mod send;
mod source;
pub mod too_big;
pub mod tunnel;
pub mod verifier;

use lb_common::layout::Settings;
use lb_common::verdict::{Kind, Verdict};

use crate::ethernet::Ethernet;
use crate::family::{Family, Shape};
use crate::flight::{Facts, Flight, Next, Scratch, Watch};
use crate::packet::{Frame, Packet};
use crate::tables::Tables;

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
pub struct World<'t, T> {
    tables: &'t T,
    settings: &'t Settings,
    link: &'t Ethernet,
}

/// Decides on a packet, rewrites it and counts it.
pub fn process<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T) -> Outcome {
    let decided = first(packet, tables).or_else(|| judge(packet, tables));
    let decided = decided.or_else(|| second(packet, tables));
    decided.unwrap_or_else(|| cookie::third(packet, tables))
}

/// Deals with a packet if that is done quickly. `None`: it is as it was, and left to [`second`].
///
/// Nothing is called from here but what the kernel offers, for calls cost as much as work does.
#[inline(always)]
pub fn first<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T) -> Option<Outcome> {
    let bytes = packet.length() as u64;
    let outcome = quick::quick(packet, tables)?;
    count(tables, outcome.verdict, bytes);
    Some(outcome)
}

/// Has the rules of the firewall judge a packet that [`first`] has left, where there are some. `None`: it is as it
/// was, and left to [`second`].
#[inline(always)]
pub fn judge<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T) -> Option<Outcome> {
    if !firewall::is_on(tables) {
        return None;
    }
    let bytes = verifier::needed(packet.length() as u64);
    let (settings, scratch) = (tables.settings()?, tables.scratch()?);
    let verdict = scratch.update(|Scratch { link, v4, v6 }| {
        if ethernet::parse(packet, link).is_none() {
            return Some(Verdict::NotIp);
        }
        let world = World { tables, settings, link };
        match world.link.kind {
            ethernet::IPV4 => firewall::stop(packet, &world, &mut v4.flight),
            ethernet::IPV6 => firewall::stop(packet, &world, &mut v6.flight),
            _ => Some(Verdict::NotIp),
        }
    })?;
    settle(tables, verdict, bytes);
    Some(rest(verdict))
}

/// Deals with any packet, but for those that SYN cookies may concern. `None`: it is one of these, left as it was to
/// [`cookie::third`], which goes on with what the scratch memory tells.
#[inline(always)]
pub fn second<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T) -> Option<Outcome> {
    let bytes = verifier::needed(packet.length() as u64);
    let outcome = match (tables.settings(), tables.scratch()) {
        (Some(settings), Some(scratch)) => {
            scratch.update(|scratch| of_any_kind(packet, tables, settings, scratch))?
        }
        // The kernel has these maps, or it has none of us.
        _ => rest(Verdict::NotIp),
    };
    settle(tables, outcome.verdict, bytes);
    Some(outcome)
}

/// Counts a packet, and tells of it where somebody wants to know.
#[inline(always)]
fn settle<T: Tables>(tables: &T, verdict: Verdict, bytes: u64) {
    count(tables, verdict, bytes);
    if verdict.kind() == Kind::Dropped || tables.explains() {
        tables.tell(verdict);
    }
}

#[inline(always)]
fn count<T: Tables>(tables: &T, verdict: Verdict, bytes: u64) {
    if let Some(count) = tables.verdict_count(verdict.number()) {
        count.update(|count| count.add(bytes));
    }
}

#[inline(always)]
fn of_any_kind<F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    tables: &T,
    settings: &Settings,
    scratch: &mut Scratch,
) -> Option<Outcome> {
    let Scratch { link, v4, v6 } = &mut *scratch;
    if ethernet::parse(packet, link).is_none() {
        return Some(rest(Verdict::NotIp));
    }
    let world = World { tables, settings, link };
    let (outcome, has_relay, asks_cookies) = match world.link.kind {
        ethernet::IPV4 => (balance(packet, &world, v4), has_relay(v4), v4.flight.asks_cookies),
        ethernet::IPV6 => (balance(packet, &world, v6), has_relay(v6), v6.flight.asks_cookies),
        _ => return Some(rest(Verdict::NotIp)),
    };
    if asks_cookies != 0 {
        return None;
    }
    Some(if has_relay { relay::relay(packet, tables, settings, scratch) } else { outcome })
}

#[inline(always)]
fn has_relay<A: Family>(facts: &Facts<A>) -> bool {
    facts.flight.relay.start != 0
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
    begin(packet, world, flight);
    if !firewall::is_on(world.tables) {
        flight.watch = Watch::NO;
    }
    let known = identify::identify(packet, world, flight);
    let verdict = match flight.next {
        _ if flight.asks_cookies != 0 => return rest(known),
        Next::NOTHING => return rest(known),
        Next::ICMP => icmp::decide(packet, world, flight, &mut facts.quote),
        Next::FRAGMENT => match fragment::follow(packet, world, flight) {
            Some(verdict) => verdict,
            None => identify::unbalanced(world.tables, &flight.ip),
        },
        Next::TO_BACKEND => forward::go_on(packet, world, flight),
        Next::TO_ANY_BACKEND => forward::begin(packet, world, flight),
        _ => reply::go_on(packet, world, flight),
    };
    let mut verdict = flight.decided(verdict);
    if flight.ip.shape == Shape::FIRST_FRAGMENT {
        fragment::remember(world, flight, verdict);
    }
    if verdict.kind() == Kind::Forwarded {
        verdict = leave(packet, verdict, world.settings, &facts.flight);
    }
    end(verdict, &facts.flight)
}

/// The packet goes where it was decided to.
#[inline(always)]
fn end<A: Family>(verdict: Verdict, flight: &Flight<A>) -> Outcome {
    if verdict.kind() != Kind::Forwarded {
        return rest(verdict);
    }
    let interface = flight.hop.interface;
    let exit =
        if interface == flight.interface { Exit::Transmit } else { Exit::Redirect(interface) };
    Outcome { verdict, exit }
}

/// What is known before the packet is parsed.
#[inline(always)]
fn begin<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<T>,
    flight: &mut Flight<A>,
) {
    flight.bytes = packet.length() as u64;
    flight.tick = world.tables.tick();
    flight.interface = packet.interface();
    flight.unremembered = 0;
    flight.is_translated = 0;
    flight.is_truncated = 0;
    flight.is_parsed = 0;
    flight.has_ports = 0;
    flight.report.kind = 0;
    flight.relay.start = 0;
    flight.hop.kind = world.link.kind;
    flight.hop.start = world.link.length;
    flight.hop.end = 0;
    flight.hop.room = 0;
}

/// Writes what is in front of the packet: the verdict is another one where that cannot be.
#[inline(always)]
fn leave<A: Family, F: Frame>(
    packet: &mut Packet<F>,
    verdict: Verdict,
    settings: &Settings,
    flight: &Flight<A>,
) -> Verdict {
    let hop = &flight.hop;
    if hop.end != 0 && !packet.extend(hop.end as i32 - packet.length() as i32) {
        return Verdict::Malformed;
    }
    let Some(length) = ethernet::write(packet, hop) else {
        return Verdict::NoNextHop;
    };
    let written = if hop.room == 0 {
        Some(())
    } else if flight.report.kind == 0 {
        tunnel::write(packet, length, settings, flight)
    } else {
        too_big::write(packet, length, flight)
    };
    if written.is_some() { verdict } else { Verdict::Malformed }
}
