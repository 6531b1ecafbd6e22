//! Translating the numbers of a connection whose two ends have agreed on other ones.
//!
//! The client's own numbers are the same on both sides. The backend's differ: sequence numbers and timestamps by a
//! constant, windows by a shift.

use lb_common::layout::Detail;

use super::options::{MOST_BLOCK_WORDS, TCP_LENGTH, TIMESTAMPS_LENGTH};
use super::segment::{ACKNOWLEDGEMENT, SEQUENCE, WINDOW};
use crate::World;
use crate::checksum::Sum;
use crate::family::Family;
use crate::flight::Flight;
use crate::packet::{Frame, Packet};
use crate::tables::Tables;
use crate::transport::{SYN, TCP_CHECK};
use crate::verifier::rolled;

/// How the numbers of a flow are translated. Plain numbers, see [`crate::flight`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Translation {
    /// See [`Detail::is_opening`](lb_common::layout::Detail::is_opening).
    pub(crate) is_opening: u8,
    /// By how many bits the backend's windows are shifted to the left.
    pub(crate) window_shift: i8,
    /// Added to the backend's sequence numbers.
    pub(crate) sequence: u32,
    /// Added to the backend's timestamps.
    pub(crate) timestamp: u32,
    /// The sequence number of the client's SYN, while its cookie is at hand.
    pub(super) first: u32,
    /// The window of the packet with it.
    pub(super) window: u16,
}

impl Translation {
    /// All numbers stay as they are.
    pub(crate) const NONE: Self =
        Self { is_opening: 0, window_shift: 0, sequence: 0, timestamp: 0, first: 0, window: 0 };
}

/// Reads how the flow of a cell is translated.
#[inline(always)]
pub(super) fn read<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>, index: u32) {
    let Some(entry) = world.tables.detail(index) else { return };
    flight.is_translated = 1;
    entry.update(|detail| {
        flight.translation = Translation {
            is_opening: detail.is_opening,
            window_shift: detail.window_shift,
            sequence: detail.sequence_delta,
            timestamp: detail.timestamp_delta,
            ..Translation::NONE
        };
    });
}

/// What is added to the sequence numbers of the backend of a cell's flow.
#[inline(always)]
pub(crate) fn sequence<T: Tables>(world: &World<'_, T>, index: u32) -> u32 {
    let numbers = |detail: &mut Detail| (detail.is_opening, detail.sequence_delta);
    match world.tables.detail(index).map(|entry| entry.update(numbers)) {
        // Before the backend has answered it has said nothing that could be quoted.
        Some((0, delta)) => delta,
        _ => 0,
    }
}

/// Notes how the flow of a cell is translated.
#[inline(always)]
pub(crate) fn write<A: Family, T: Tables>(world: &World<'_, T>, flight: &Flight<A>, index: u32) {
    let Some(entry) = world.tables.detail(index).filter(|_| !world.tables.explains()) else {
        return;
    };
    let Translation { is_opening, window_shift, sequence, timestamp, .. } = flight.translation;
    entry.update(|detail| {
        detail.is_opening = is_opening;
        detail.window_shift = window_shift;
        detail.sequence_delta = sequence;
        detail.timestamp_delta = timestamp;
    });
}

/// Gives the backend the numbers that it knows.
#[inline(never)]
pub(super) fn to_backend<A: Family, F: Frame>(
    packet: &Packet<F>,
    flight: &Flight<A>,
) -> Option<()> {
    let Translation { sequence, timestamp, .. } = flight.translation;
    let header = packet.window::<TCP_LENGTH>(flight.ip.payload)?;
    let old = header.u32_at::<ACKNOWLEDGEMENT>();
    let new = plus(old, sequence.wrapping_neg());
    header.set_u32::<ACKNOWLEDGEMENT>(new);
    let mut sum = Sum::default().change_u32(old, new);
    let options = &flight.options;
    if options.timestamps != 0 && options.echo != 0 {
        let at = options.timestamps as usize;
        let numbers = packet.window::<TIMESTAMPS_LENGTH>(at)?;
        let old = numbers.u32_at::<6>();
        let new = plus(old, timestamp.wrapping_neg());
        numbers.set_u32::<6>(new);
        sum = sum.join(placed(at - flight.ip.payload, old, new));
    }
    for word in rolled(MOST_BLOCK_WORDS) {
        if word >= options.n_blocks as usize {
            break;
        }
        let at = options.blocks as usize + word * 4;
        let edge = packet.window::<4>(at)?;
        let old = edge.u32_at::<0>();
        let new = plus(old, sequence.wrapping_neg());
        edge.set_u32::<0>(new);
        sum = sum.join(placed(at - flight.ip.payload, old, new));
    }
    apply(packet, flight, sum)
}

/// Gives the client the numbers that it knows.
#[inline(never)]
pub(super) fn to_client<A: Family, F: Frame>(packet: &Packet<F>, flight: &Flight<A>) -> Option<()> {
    let Translation { sequence, timestamp, window_shift, .. } = flight.translation;
    let header = packet.window::<TCP_LENGTH>(flight.ip.payload)?;
    let old = header.u32_at::<SEQUENCE>();
    let new = plus(old, sequence);
    header.set_u32::<SEQUENCE>(new);
    let mut sum = Sum::default().change_u32(old, new);
    // RFC 7323 section 2.2: the window of a SYN is never scaled.
    if flight.transport.flags & SYN == 0 {
        let old = header.u16_at::<WINDOW>();
        let new = shifted(u16::from_be(old), window_shift).to_be();
        header.set_u16::<WINDOW>(new);
        sum = sum.change(old, new);
    }
    if flight.options.timestamps != 0 {
        let at = flight.options.timestamps as usize;
        let numbers = packet.window::<TIMESTAMPS_LENGTH>(at)?;
        let old = numbers.u32_at::<2>();
        let new = plus(old, timestamp);
        numbers.set_u32::<2>(new);
        sum = sum.join(placed(at - flight.ip.payload, old, new));
    }
    apply(packet, flight, sum)
}

#[inline(always)]
fn apply<A: Family, F: Frame>(packet: &Packet<F>, flight: &Flight<A>, sum: Sum) -> Option<()> {
    let header = packet.window::<TCP_LENGTH>(flight.ip.payload)?;
    header.set_u16::<TCP_CHECK>(sum.applied_to(header.u16_at::<TCP_CHECK>()));
    Some(())
}

/// A number in network order, and something added to it.
#[inline(always)]
pub(crate) fn plus(number: u32, addend: u32) -> u32 {
    u32::from_be(number).wrapping_add(addend).to_be()
}

/// What the change of a word means for the checksum.
#[inline(always)]
fn placed(at: usize, old: u32, new: u32) -> Sum {
    let change = Sum::default().change_u32(old, new).fold();
    // RFC 1071 section 2 (B): at an odd place the bytes count the other way round.
    Sum::of(if at & 1 == 0 { change } else { change.swap_bytes() })
}

/// A window in other units; never a larger one, and none that was open is closed.
#[inline(always)]
pub(super) fn shifted(window: u16, shift: i8) -> u16 {
    if shift >= 0 {
        return (u64::from(window) << (shift.unsigned_abs() & 15)).min(0xffff) as u16;
    }
    let smaller = window >> (shift.unsigned_abs() & 15);
    if smaller == 0 && window != 0 { 1 } else { smaller }
}
