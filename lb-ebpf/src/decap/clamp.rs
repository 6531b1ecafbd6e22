//! The MSS of connections through a tunnel. Replies go past the director, so the backend itself must ask
//! clients for segments that still fit when the director has put an outer header before them.

use lb_common::decap::{Settings, VIP, Verdict};

use super::{Headers, Maps, Scratch, count, key};
use crate::ethernet;
use crate::family::{Family, Ip, Shape, TCP};
use crate::packet::{Frame, Packet};
use crate::transport::{self, SYN, TCP_CHECK};
use crate::v4::V4;
use crate::v6::V6;
use crate::verifier::rolled;

/// Bytes of a TCP header without options.
const TCP_LENGTH: usize = 20;
/// RFC 9293 section 3.1: where its length is, in words of 32 bits.
const DATA_OFFSET: usize = 12;
/// Bytes of the longest options, and as many steps as there can be among them.
const MOST_OPTIONS: usize = 40;

/// RFC 9293 section 3.2: the kinds of options that matter here, and the length of one.
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const SEGMENT_SIZE: u8 = 2;
const SEGMENT_SIZE_LENGTH: usize = 4;

/// A frame that leaves, whose checksum somebody else may still have to compute.
pub trait Segment: Frame {
    /// Tells that a word has changed to whoever looks after the checksum at an offset.
    fn fix_checksum(&mut self, at: usize, old: u16, new: u16);
}

/// Makes the MSS of a SYN from a VIP small enough, and counts that; all else is left alone.
#[inline(always)]
pub fn clamp<S: Segment, M: Maps>(packet: &mut Packet<S>, maps: &M) {
    let (Some(settings), Some(scratch)) = (maps.settings(), maps.scratch()) else { return };
    let bytes = packet.length() as u64;
    let found = scratch.update(|scratch| find(packet, maps, settings, scratch));
    let changed = found.and_then(|place| lower(packet, &place));
    if let Some(change) = changed {
        packet.frame_mut().fix_checksum(change.check, change.old, change.new);
        count(maps, Verdict::SegmentClamped, bytes);
    }
}

/// A segment size, and what it may be at most.
struct Place {
    /// Where the TCP header begins.
    header: usize,
    /// Where the option begins.
    option: usize,
    most: u16,
}

/// What has changed for the checksum at `check`.
struct Change {
    check: usize,
    old: u16,
    new: u16,
}

#[inline(always)]
fn find<F: Frame, M: Maps>(
    packet: &Packet<F>,
    maps: &M,
    settings: Settings,
    scratch: &mut Scratch,
) -> Option<Place> {
    ethernet::parse(packet, &mut scratch.link)?;
    let Headers { v4, v6 } = &mut scratch.outer;
    let (start, [most_v4, most_v6]) = (scratch.link.length, settings.segments);
    let (header, most) = match scratch.link.kind {
        ethernet::IPV4 => (opening::<V4, F, M>(packet, maps, start, v4)?, most_v4),
        ethernet::IPV6 => (opening::<V6, F, M>(packet, maps, start, v6)?, most_v6),
        _ => return None,
    };
    if most == 0 {
        return None;
    }
    Some(Place { header, option: find_option(packet, maps, header)?, most })
}

/// Where the TCP header of a SYN from a VIP begins.
#[inline(never)]
fn opening<A: Family, F: Frame, M: Maps>(
    packet: &Packet<F>,
    maps: &M,
    start: usize,
    ip: &mut Ip<A>,
) -> Option<usize> {
    // Partial: the data of a segment need not lie in the part of the frame that is seen here.
    A::parse(packet, start, true, ip).ok()?;
    if ip.protocol != TCP || ip.shape != Shape::WHOLE {
        return None;
    }
    let is_opening = transport::parse(packet, ip)?.flags & SYN != 0;
    (is_opening && maps.roles(&key::<A>(ip.source)) & VIP != 0).then_some(ip.payload)
}

/// Where the option begins that names the segment size, in the header at `header`.
#[inline(always)]
fn find_option<F: Frame, M: Maps>(packet: &Packet<F>, maps: &M, header: usize) -> Option<usize> {
    let memory = maps.number()?;
    let length = usize::from(packet.window::<TCP_LENGTH>(header)?.u8_at::<DATA_OFFSET>() >> 4) * 4;
    let end = header + length;
    let mut next = header + TCP_LENGTH;
    for _ in rolled(MOST_OPTIONS) {
        // Else the verifier would follow every way to every place.
        let at = memory.by_memory(next as u64) as usize;
        if at + SEGMENT_SIZE_LENGTH > end {
            return None;
        }
        let option = packet.window::<2>(at)?;
        let length = usize::from(option.u8_at::<1>());
        next = match option.u8_at::<0>() {
            END_OF_OPTIONS => return None,
            NO_OPERATION => at + 1,
            SEGMENT_SIZE if length == SEGMENT_SIZE_LENGTH => return Some(at),
            _ if length < 2 => return None,
            _ => at + length,
        };
    }
    None
}

/// Lowers a segment size, if it is too large.
#[inline(always)]
fn lower<F: Frame>(packet: &Packet<F>, place: &Place) -> Option<Change> {
    let option = packet.window::<SEGMENT_SIZE_LENGTH>(place.option)?;
    let (old, new) = (option.u16_at::<2>(), place.most.to_be());
    if u16::from_be(old) <= place.most {
        return None;
    }
    option.set_u16::<2>(new);
    // RFC 1071 section 2 (B): at an odd place the bytes of the word count the other way round.
    let is_odd = (place.option - place.header) & 1 != 0;
    let turned = |word: u16| if is_odd { word.swap_bytes() } else { word };
    Some(Change { check: place.header + TCP_CHECK, old: turned(old), new: turned(new) })
}
