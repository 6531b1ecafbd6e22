//! A TCP segment of our own that takes the place of a packet: it has no data, but for one byte that asks for an answer,
//! and always as many options.

use core::mem::offset_of;

use network_types::tcp::TcpHdr;

use super::options::{TCP_LENGTH, Told};
use crate::World;
use crate::checksum::Sum;
use crate::family::{Family, NewHeader, TCP};
use crate::flight::Flight;
use crate::packet::{Frame, Packet};
use crate::transport::TCP_CHECK;

pub(super) const SEQUENCE: usize = offset_of!(TcpHdr, seq);
pub(super) const ACKNOWLEDGEMENT: usize = offset_of!(TcpHdr, ack_seq);
pub(super) const WINDOW: usize = offset_of!(TcpHdr, window);
const LENGTH_AND_FLAGS: usize = 12;
const URGENT: usize = offset_of!(TcpHdr, urg_ptr);

/// Bytes of the options.
const OPTIONS: usize = 20;
/// Bytes of the header.
const HEADER: usize = TCP_LENGTH + OPTIONS;
/// Bytes that the last word of options is longer than the data that may stand there.
const SPARE: usize = 3;

/// A segment. Plain numbers, see [`crate::flight`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Segment<A: Family> {
    /// 1 where there is one.
    pub(super) is_there: u32,
    pub(super) source: A::Address,
    pub(super) destination: A::Address,
    /// Source and destination port, network order.
    pub(super) ports: [u16; 2],
    pub(super) flags: u8,
    /// 1 where the last word of options is none: its first byte is data, and the rest is behind the packet.
    pub(super) asks: u8,
    pub(super) window: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    /// As they stand in the header.
    pub(super) options: [u32; 5],
}

/// What the ends of a segment are, whatever it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<A: Family> {
    pub(super) source: A::Address,
    pub(super) destination: A::Address,
    pub(super) ports: [u16; 2],
}

/// What a segment says, besides options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Says {
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) window: u16,
}

/// The packet at hand is to be replaced by this segment; the hop says where it goes.
#[inline(always)]
pub(super) fn replace<A: Family>(flight: &mut Flight<A>, ends: Ends<A>, says: Says, told: Told) {
    flight.segment = Segment {
        is_there: 1,
        source: ends.source,
        destination: ends.destination,
        ports: ends.ports,
        flags: says.flags,
        asks: 0,
        window: says.window,
        sequence: says.sequence,
        acknowledgement: says.acknowledgement,
        options: told.words(),
    };
    // The shortest packet is kept, every byte of which is written, and the options find room before it.
    flight.hop.start = flight.ip.start;
    flight.hop.end = (flight.ip.start + A::LENGTH + TCP_LENGTH) as u32;
    flight.hop.room = OPTIONS as u32;
}

/// The segment brings a byte that its receiver has had, so that it answers at once (RFC 1122 section 4.2.3.6).
#[inline(always)]
pub(super) fn ask<A: Family>(flight: &mut Flight<A>) {
    flight.segment.asks = 1;
    flight.segment.options[4] = 0;
}

/// The segment goes back to where the packet came from.
#[inline(always)]
pub(super) fn turn_back<A: Family, T>(world: &World<'_, T>, flight: &mut Flight<A>) -> Ends<A> {
    flight.hop.interface = flight.interface;
    flight.hop.destination = world.link.source;
    flight.hop.source = world.link.destination;
    flight.hop.tags = world.link.tags;
    let (ip, transport) = (&flight.ip, &flight.transport);
    Ends {
        source: ip.destination,
        destination: ip.source,
        ports: [transport.destination_port, transport.source_port],
    }
}

/// Writes the segment at `at`, where the room for it is.
#[inline(never)]
pub(super) fn write<A: Family, F: Frame>(
    packet: &Packet<F>,
    at: usize,
    segment: &Segment<A>,
) -> Option<()> {
    let asks = segment.asks != 0;
    let (length, data_offset) = if asks { (HEADER - SPARE, HEADER - 4) } else { (HEADER, HEADER) };
    let header = NewHeader {
        source: segment.source,
        destination: segment.destination,
        protocol: TCP,
        traffic_class: 0,
        length,
        flow_label: 0,
    };
    A::write(A::header(packet, at)?, &header);
    let header = packet.window::<HEADER>(at + A::LENGTH)?;
    let (sequence, acknowledgement) = (segment.sequence.to_be(), segment.acknowledgement.to_be());
    let flags = u16::from_ne_bytes([(data_offset as u8 / 4) << 4, segment.flags]);
    let [source, destination] = segment.ports;
    let options = segment.options;
    let sum = A::sum(A::sum(Sum::default(), segment.source), segment.destination)
        .with(u16::from(TCP).to_be())
        .with((length as u16).to_be())
        .with(source)
        .with(destination)
        .with(flags)
        .with(segment.window.to_be());
    let of_options = options.iter().fold(Sum::default(), |sum, word| sum.with_u32(*word));
    let sum = sum.join(of_options).with_u32(sequence).with_u32(acknowledgement);
    header.set_u16::<0>(source);
    header.set_u16::<2>(destination);
    header.set_u32::<SEQUENCE>(sequence);
    header.set_u32::<ACKNOWLEDGEMENT>(acknowledgement);
    header.set_u16::<LENGTH_AND_FLAGS>(flags);
    header.set_u16::<WINDOW>(segment.window.to_be());
    header.set_u16::<TCP_CHECK>(sum.checksum());
    header.set_u16::<URGENT>(0);
    header.set_u32::<20>(options[0]);
    header.set_u32::<24>(options[1]);
    header.set_u32::<28>(options[2]);
    header.set_u32::<32>(options[3]);
    header.set_u32::<36>(options[4]);
    Some(())
}
