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
    clippy::indexing_slicing,
    clippy::inline_always,
    reason = "every check that the compiler adds is an instruction of the packet path; indexes are constants"
)]

pub mod checksum;
pub mod family;
pub mod flow;
pub mod packet;
pub mod tables;

mod balance;
mod ethernet;
mod icmp;
mod reply;
mod reset;
mod schedule;
mod transport;
mod verifier;

use lb_common::verdict::{Kind, Verdict};

use crate::ethernet::{Ethernet, Hop};
use crate::family::{Family, Fragment, Ip, TCP, UDP, V4, V6, VRRP};
use crate::flow::Flows;
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

/// What is known of a packet before its addresses are looked at.
#[derive(Clone, Copy)]
struct Context<'t, T> {
    flows: Flows<'t, T>,
    link: &'t Ethernet,
    interface: u32,
    bytes: u64,
}

/// Decides on a packet, rewrites it and counts it.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T) -> Outcome {
    let bytes = packet.length() as u64;
    let outcome = match ethernet::parse(packet) {
        Some(link) => balance(packet, tables, &link),
        None => rest(Verdict::NotIp),
    };
    if let Some(count) = tables.verdict_count(outcome.verdict.number()) {
        count.update(|count| {
            count.packets += 1;
            count.bytes += bytes;
        });
    }
    outcome
}

#[inline(always)]
fn balance<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T, link: &Ethernet) -> Outcome {
    let Some(settings) = tables.settings() else { return rest(Verdict::NotOurs) };
    let context = Context {
        flows: Flows { tables, settings, tick: tables.tick() },
        link,
        interface: packet.interface(),
        bytes: packet.length() as u64,
    };
    let mut hop = Hop::NONE;
    let verdict = match link.kind {
        ethernet::IPV4 => route::<V4, F, T>(packet, &context, &mut hop),
        ethernet::IPV6 => route::<V6, F, T>(packet, &context, &mut hop),
        _ => Verdict::NotIp,
    };
    match verdict.kind() {
        Kind::Forwarded => leave(packet, verdict, link, &hop),
        Kind::Passed | Kind::Dropped => rest(verdict),
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

/// The packet goes where it was decided to.
#[inline(never)]
fn leave<F: Frame>(packet: &mut Packet<F>, verdict: Verdict, link: &Ethernet, hop: &Hop) -> Outcome {
    if hop.end != 0 && !packet.extend(hop.end as i32 - packet.length() as i32) {
        return rest(Verdict::Malformed);
    }
    if ethernet::write(packet, link, hop).is_none() {
        return rest(Verdict::NoNextHop);
    }
    let exit = if hop.interface == packet.interface() {
        Exit::Transmit
    } else {
        Exit::Redirect(hop.interface)
    };
    Outcome { verdict, exit }
}

/// Finds out whose packet it is, and rewrites it. Where the verdict is to forward, the hop is written.
#[inline(never)]
fn route<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    context: &Context<T>,
    hop: &mut Hop,
) -> Verdict {
    let ip = match A::parse(packet, context.link.length, false) {
        Ok(ip) => ip,
        Err(verdict) => return verdict,
    };
    if ip.protocol == A::ICMP && ip.fragment == Fragment::Whole {
        return icmp::decide(packet, context, &ip, hop);
    }
    if !matches!(ip.protocol, TCP | UDP) || ip.fragment == Fragment::Later {
        return unbalanced(context, &ip);
    }
    let Some(transport) = transport::parse(packet, &ip) else {
        return truncated(context, &ip);
    };
    match A::listener(context.flows.tables, ip.destination, transport.destination_port, ip.protocol) {
        Some(listener) if ip.fragment == Fragment::Whole => {
            balance::to_backend(packet, context, &ip, &transport, listener, hop)
        }
        Some(_) => Verdict::Fragment,
        None => match A::vip(context.flows.tables, ip.destination) {
            Some(vip) if vip.closed != 0 => Verdict::PortClosed,
            Some(_) => Verdict::VipHostPort,
            None => reply::to_client(packet, context, &ip, &transport, hop),
        },
    }
}

/// A packet without ports that could be balanced by.
#[inline(never)]
fn unbalanced<A: Family, T: Tables>(context: &Context<T>, ip: &Ip<A>) -> Verdict {
    match A::vip(context.flows.tables, ip.destination) {
        None => Verdict::NotOurs,
        Some(vip) if vip.closed == 0 => Verdict::VipHostPort,
        Some(_) if ip.fragment != Fragment::Whole => Verdict::Fragment,
        Some(_) if ip.unfollowed => Verdict::ExtensionHeaders,
        Some(_) if ip.protocol == VRRP => Verdict::VipControl,
        Some(_) => Verdict::ProtocolClosed,
    }
}

/// A packet whose transport header is not all there.
#[inline(never)]
fn truncated<A: Family, T: Tables>(context: &Context<T>, ip: &Ip<A>) -> Verdict {
    if A::vip(context.flows.tables, ip.destination).is_some() {
        Verdict::Malformed
    } else {
        Verdict::NotOurs
    }
}
