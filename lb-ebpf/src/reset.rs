//! Telling a client that its backend is gone: its own packet is turned into a TCP reset and sent back.

use core::mem::offset_of;

use lb_common::verdict::Verdict;
use network_types::tcp::TcpHdr;

use crate::checksum::Sum;
use crate::ethernet::{Ethernet, Hop};
use crate::family::{Family, Ip, TCP};
use crate::flight::Flight;
use crate::packet::{Frame, Packet, Window};
use crate::transport::{ACK, FIN, RST, SYN, TCP_CHECK, TCP_FLAGS};

const SEQUENCE: usize = offset_of!(TcpHdr, seq);
const ACKNOWLEDGEMENT: usize = offset_of!(TcpHdr, ack_seq);
const OFFSET: usize = 12;
const WINDOW: usize = offset_of!(TcpHdr, window);
const URGENT: usize = offset_of!(TcpHdr, urg_ptr);

/// Header length without options, in the upper half of its byte.
const NO_OPTIONS: u8 = 5 << 4;

/// Turns the packet into a reset for its sender (RFC 9293 section 3.5.2).
#[inline(never)]
pub fn answer<A: Family, F: Frame>(
    packet: &Packet<F>,
    link: &Ethernet,
    flight: &mut Flight<A>,
) -> Verdict {
    let ip = &flight.ip;
    let (Some(header), Some(outer)) =
        (packet.window::<{ TcpHdr::LEN }>(ip.payload), A::header(packet, ip.start))
    else {
        return Verdict::Malformed;
    };
    let received = Received {
        flags: header.u8_at::<TCP_FLAGS>(),
        sequence: u32::from_be(header.u32_at::<SEQUENCE>()),
        acknowledgement: header.u32_at::<ACKNOWLEDGEMENT>(),
        length: segment_length(ip, header.u8_at::<OFFSET>()),
    };
    write(header, &received, ip);
    A::set_source(outer, ip.destination);
    A::set_destination(outer, ip.source);
    let end = ip.payload + TcpHdr::LEN;
    A::renew(outer, (end - ip.start) as u16);
    flight.hop = Hop {
        interface: flight.interface,
        destination: link.source,
        source: link.destination,
        tags: link.tags,
        end: end as u32,
        ..flight.hop
    };
    Verdict::ResetSent
}

/// Writes the TCP header in place of the one received.
#[inline(always)]
fn write<A: Family>(header: Window<'_, { TcpHdr::LEN }>, received: &Received, ip: &Ip<A>) {
    let (sequence, acknowledgement, flags) = received.answer();
    let (source_port, destination_port) = (header.u16_at::<2>(), header.u16_at::<0>());
    header.set_u16::<0>(source_port);
    header.set_u16::<2>(destination_port);
    header.set_u32::<SEQUENCE>(sequence);
    header.set_u32::<ACKNOWLEDGEMENT>(acknowledgement);
    header.set_u8::<OFFSET>(NO_OPTIONS);
    header.set_u8::<TCP_FLAGS>(flags);
    header.set_u16::<WINDOW>(0);
    header.set_u16::<URGENT>(0);
    let pseudo = A::sum(A::sum(Sum::default(), ip.source), ip.destination)
        .with(u16::from(TCP).to_be())
        .with((TcpHdr::LEN as u16).to_be());
    let sum = pseudo
        .with(source_port)
        .with(destination_port)
        .with_u32(sequence)
        .with_u32(acknowledgement)
        .with(u16::from_ne_bytes([NO_OPTIONS, flags]));
    header.set_u16::<TCP_CHECK>(sum.checksum());
}

struct Received {
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    length: u32,
}

impl Received {
    /// Sequence and acknowledgement numbers in network order, and flags.
    #[inline(always)]
    fn answer(&self) -> (u32, u32, u8) {
        if self.flags & ACK != 0 {
            return (self.acknowledgement, 0, RST);
        }
        let phantom = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        (0, self.sequence.wrapping_add(self.length + phantom).to_be(), RST | ACK)
    }
}

/// Bytes of payload.
#[inline(always)]
fn segment_length<A: Family>(ip: &Ip<A>, offset: u8) -> u32 {
    let header = usize::from(offset >> 4) * 4;
    ip.end.saturating_sub(ip.payload + header) as u32
}
