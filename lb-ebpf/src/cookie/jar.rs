//! The cookies themselves: initial sequence numbers that tell what a client's SYN has said, and that only we can
//! make.
//!
//! ```text
//! 31                                8 7       4    3     2     1       0
//! | keyed hash of all else          | scale   | parity | SACK | segment |
//! ```
//!
//! The hash is over the 5-tuple, the client's initial sequence number, the period, and the lower eight bits. A
//! cookie is good in its period and in the next: its parity tells which of the two it is of. Directors that share
//! the key take each other's cookies; the clock of one may be a tick ahead of the other's.

use super::options::{NO_SCALE, Options};
use super::siphash::SipHash;
use crate::World;
use crate::family::Family;
use crate::flight::Flight;

/// A period is 2^4 ticks, 69 s: a client has at least that long to answer, less a tick.
const PERIOD_SHIFT: u32 = 4;
const LAST_TICK: u64 = (1 << PERIOD_SHIFT) - 1;

const PARITY: u32 = 1 << 3;
const SACK: u32 = 1 << 2;
const TERMS: u32 = 0xff;

/// What has been agreed on with a client: the lowest eight bits of its cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms(u32);

impl Terms {
    /// What the client offers, as far as a cookie can tell it.
    #[inline(always)]
    pub(super) fn of<A: Family>(options: &Options) -> Self {
        let [_, second, third, fourth] = segments::<A>();
        let segment = u32::from(options.segment >= second)
            + u32::from(options.segment >= third)
            + u32::from(options.segment >= fourth);
        let sack = if options.sack != 0 { SACK } else { 0 };
        Self((u32::from(options.scale) << 4) | sack | segment)
    }

    /// What the cookie tells.
    #[inline(always)]
    pub(super) fn told_by(cookie: u32) -> Self {
        Self(cookie & TERMS)
    }

    /// Most bytes of data in the segments that the client takes; no more than it said, unless that was less than
    /// the least of all.
    #[inline(always)]
    pub(super) fn segment<A: Family>(self) -> u16 {
        let [first, second, third, fourth] = segments::<A>();
        match self.0 & 3 {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        }
    }

    /// By how many bits the client's windows are shifted.
    #[inline(always)]
    pub(super) fn scale(self) -> u8 {
        (self.0 >> 4) as u8
    }

    /// Whether the client shifts windows, so that those of the other side are shifted too.
    #[inline(always)]
    pub(super) fn has_scale(self) -> bool {
        self.scale() != NO_SCALE
    }

    /// Whether the client takes SACK.
    #[inline(always)]
    pub(super) fn has_sack(self) -> bool {
        self.0 & SACK != 0
    }
}

/// Sizes of segments that are told apart: the least that all take, tunnels and `PPPoE`, Ethernet.
#[inline(always)]
const fn segments<A: Family>() -> [u16; 4] {
    if A::NUMBER == 4 { [536, 1360, 1440, 1460] } else { [1220, 1340, 1420, 1440] }
}

/// The size of segments that clients are asked for: that of Ethernet. Where the way to a backend takes less, they
/// are told when they send more.
#[inline(always)]
pub(super) const fn our_segment<A: Family>() -> u16 {
    segments::<A>()[3]
}

/// The cookie for a SYN with this sequence number, and the timestamp that goes with it.
#[inline(always)]
pub(super) fn make<A: Family, T>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    sequence: u32,
    terms: Terms,
) -> (u32, u32) {
    let period = clock(world, flight) >> PERIOD_SHIFT;
    let parity = if period & 1 == 0 { 0 } else { PARITY };
    stamp(world, flight, sequence, (period, terms.0 | parity))
}

/// Whether we have sent the cookie to the packet's sender, in answer to a SYN with this sequence number.
#[inline(always)]
pub(super) fn is_ours<A: Family, T>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    sequence: u32,
    cookie: u32,
) -> bool {
    let clock = clock(world, flight);
    let now = clock >> PERIOD_SHIFT;
    let is_of_now = (now & 1 == 0) == (cookie & PARITY == 0);
    let other = if clock & LAST_TICK == LAST_TICK { now + 1 } else { now.wrapping_sub(1) };
    let period = if is_of_now { now } else { other };
    stamp(world, flight, sequence, (period, cookie & TERMS)).0 == cookie
}

#[inline(always)]
fn clock<A: Family, T>(world: &World<'_, T>, flight: &Flight<A>) -> u64 {
    flight.tick.wrapping_add(world.settings.cookie_clock)
}

#[inline(always)]
fn stamp<A: Family, T>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    sequence: u32,
    (period, terms): (u64, u32),
) -> (u32, u32) {
    let tuple = flight.tuple();
    let (from, to) = (A::to_words(tuple.source), A::to_words(tuple.destination));
    let ports = (u32::from(tuple.source_port) << 16) | u32::from(tuple.destination_port);
    let mut hash = SipHash::keyed(&world.settings.cookie_key).with(pair(from[0], to[0]));
    if A::NUMBER == 6 {
        hash =
            hash.with(pair(from[1], to[1])).with(pair(from[2], to[2])).with(pair(from[3], to[3]));
    }
    let hash = hash.with(pair(ports, sequence)).with(pair(period as u32, terms)).finish();
    ((hash as u32 & !TERMS) | terms, (hash >> 32) as u32)
}

#[inline(always)]
fn pair(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}
