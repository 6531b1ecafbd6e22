//! TCP options that both ends of a connection agree on (RFC 9293 section 3.2, RFC 7323, RFC 2018), and those with
//! numbers in them.

use crate::family::{Family, Ip};
use crate::packet::{Frame, Packet};
use crate::verifier::{by_memory, rolled};

/// Bytes of a TCP header without options.
pub(super) const TCP_LENGTH: usize = 20;
/// Where the header's length is, in words of 32 bits.
const DATA_OFFSET: usize = 12;
/// Bytes of the longest options, and as many steps as there can be among them.
const MOST: usize = 40;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const BLOCKS: u8 = 5;
const TIMESTAMPS: u8 = 8;
/// Bytes of a timestamps option.
pub(super) const TIMESTAMPS_LENGTH: usize = 10;
/// RFC 7323 section 2.3: a greater shift counts as this one.
const MOST_SCALE: u8 = 14;
/// In the place of a window scale: there is none.
pub(super) const NO_SCALE: u8 = 15;
/// Words of the numbers in a SACK option, at most.
pub(super) const MOST_BLOCK_WORDS: usize = 8;

/// Four options of one byte that say nothing.
const NOTHING: u32 = 0x0101_0101;

/// The options of a packet. Plain numbers, see [`crate::flight`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Options {
    /// Where the next one is.
    next: u64,
    /// Most bytes of data in a segment; 0: not said.
    pub(super) segment: u16,
    /// By how many bits windows are shifted; [`NO_SCALE`]: not said.
    pub(super) scale: u8,
    /// 1 where SACK is permitted.
    pub(super) sack: u8,
    /// Where the timestamps are; 0: nowhere.
    pub(super) timestamps: u32,
    /// The sender's own timestamp.
    pub(super) timestamp: u32,
    /// The timestamp that it sends back.
    pub(super) echo: u32,
    /// Where the numbers of the SACK option are; 0: nowhere.
    pub(super) blocks: u32,
    /// How many they are.
    pub(super) n_blocks: u32,
}

/// Reads the options of a segment; `None` where its header is not all there.
#[inline(never)]
pub(super) fn read<A: Family, F: Frame>(
    packet: &Packet<F>,
    ip: &Ip<A>,
    options: &mut Options,
) -> Option<()> {
    let header = packet.window::<TCP_LENGTH>(ip.payload)?;
    let end = ip.payload + usize::from(header.u8_at::<DATA_OFFSET>() >> 4) * 4;
    let mut next = ip.payload + TCP_LENGTH;
    if end < next || end > ip.end {
        return None;
    }
    options.segment = 0;
    options.scale = NO_SCALE;
    options.sack = 0;
    options.timestamps = 0;
    options.timestamp = 0;
    options.echo = 0;
    options.blocks = 0;
    options.n_blocks = 0;
    for _ in rolled(MOST) {
        // Else the verifier would follow every way to every place.
        let at = by_memory(&mut options.next, next as u64) as usize;
        if at + 2 > end {
            break;
        }
        let option = packet.window::<2>(at)?;
        let (kind, length) = (option.u8_at::<0>(), usize::from(option.u8_at::<1>()));
        if kind == END {
            break;
        }
        if kind == NO_OPERATION {
            next = at + 1;
            continue;
        }
        next = at + length;
        if length < 2 || next > end {
            break;
        }
        note(packet, options, at, (kind, length))?;
    }
    Some(())
}

/// Notes what the option at `at` says, if it is one that matters here.
#[inline(always)]
fn note<F: Frame>(
    packet: &Packet<F>,
    options: &mut Options,
    at: usize,
    option: (u8, usize),
) -> Option<()> {
    match option {
        (SEGMENT_SIZE, 4) => {
            options.segment = u16::from_be(packet.window::<4>(at)?.u16_at::<2>());
        }
        (WINDOW_SCALE, 3) => {
            options.scale = packet.window::<3>(at)?.u8_at::<2>().min(MOST_SCALE);
        }
        (SACK_PERMITTED, 2) => options.sack = 1,
        (TIMESTAMPS, TIMESTAMPS_LENGTH) => {
            let numbers = packet.window::<TIMESTAMPS_LENGTH>(at)?;
            options.timestamps = at as u32;
            options.timestamp = u32::from_be(numbers.u32_at::<2>());
            options.echo = u32::from_be(numbers.u32_at::<6>());
        }
        (BLOCKS, length) => {
            options.blocks = at as u32 + 2;
            options.n_blocks = (length as u32 - 2) / 4;
        }
        _ => {}
    }
    Some(())
}

/// What a segment of our own tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// The sender's timestamp, and the one that it sends back; only with `has_timestamps`.
    pub(super) timestamps: [u32; 2],
    pub(super) has_timestamps: bool,
    /// 0: the segment is no SYN.
    pub(super) segment: u16,
    pub(super) scale: u8,
    pub(super) has_sack: bool,
}

impl Told {
    /// The words as they stand in the header.
    #[inline(always)]
    pub(super) fn words(&self) -> [u32; 5] {
        let mut words = [NOTHING; 5];
        let (mut sack, mut stamps) = ([NO_OPERATION; 2], [NO_OPERATION; 2]);
        if self.segment != 0 {
            let [high, low] = self.segment.to_be_bytes();
            words[0] = u32::from_ne_bytes([SEGMENT_SIZE, 4, high, low]);
        }
        if self.has_sack {
            sack = [SACK_PERMITTED, 2];
        }
        if self.has_timestamps {
            stamps = [TIMESTAMPS, TIMESTAMPS_LENGTH as u8];
            words[2] = self.timestamps[0].to_be();
            words[3] = self.timestamps[1].to_be();
        }
        words[1] = u32::from_ne_bytes([sack[0], sack[1], stamps[0], stamps[1]]);
        if self.segment != 0 && self.scale != NO_SCALE {
            words[4] = u32::from_ne_bytes([NO_OPERATION, WINDOW_SCALE, 3, self.scale]);
        }
        words
    }
}
