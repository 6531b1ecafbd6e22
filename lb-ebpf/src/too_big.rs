//! Telling the sender of a packet that it is too long for the way to its backend: "fragmentation needed"
//! (RFC 1191) or "packet too big" (RFC 8201), from the VIP; or that there is no way: "host unreachable".
//!
//! The packet is turned into the error: its tail is cut, and the headers are written in front of what is left.

use lb_common::verdict::Verdict;

use crate::World;
use crate::checksum::Sum;
use crate::ethernet::Hop;
use crate::family::{Family, ICMP, NewHeader, Shape};
use crate::flight::Flight;
use crate::packet::{Frame, Packet};
use crate::tables::Tables;
use crate::verifier::rolled;

/// Bytes of the error's own header.
const HEADER: usize = 8;
/// What an error quotes behind the IP header (RFC 792).
const QUOTED: usize = 8;
/// Most bytes that are quoted; a multiple of four, as is what is quoted.
const MOST: usize = 128;
/// RFC 8200 section 5: every link takes packets of this length.
const LEAST_V6: usize = 1_280;

/// An error about a packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Report<A: Family> {
    /// Who reports: the packet's destination.
    source: A::Address,
    /// Who is told: its source.
    destination: A::Address,
    /// Type and code, network order; 0: there is nothing to report.
    pub kind: u16,
    /// What the way takes, in bytes; 0: nothing.
    mtu: u16,
}

/// Type and code of an error about a way that takes so many bytes, network order.
#[inline(always)]
fn kind<A: Family>(mtu: usize) -> u16 {
    u16::from_ne_bytes(match (A::ICMP == ICMP, mtu) {
        // RFC 792, RFC 1191 section 4: host unreachable, fragmentation needed.
        (true, 0) => [3, 1],
        (true, _) => [3, 4],
        // RFC 4443 sections 3.1 and 3.2: address unreachable, packet too big.
        (false, 0) => [1, 3],
        (false, _) => [2, 0],
    })
}

/// Whether a packet with so much in front of it is longer than the way takes; 0: that is not known.
#[inline(always)]
pub(crate) fn is_too_big<A: Family>(flight: &Flight<A>, mtu: u16, room: usize) -> bool {
    mtu != 0 && flight.ip.end - flight.ip.start + room > usize::from(mtu)
}

/// Reports the packet back to where it came from, unless that was done too often just now. RFC 1122 section 3.2.2:
/// no error is sent about a later fragment.
#[inline(never)]
pub(crate) fn report<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    mtu: usize,
) -> Verdict {
    if flight.ip.shape == Shape::LATER_FRAGMENT || !world.tables.may_report() {
        return Verdict::TooBig;
    }
    flight.hop = Hop {
        interface: flight.interface,
        destination: world.link.source,
        source: world.link.destination,
        tags: world.link.tags,
        ..flight.hop
    };
    prepare(world.link.kind, flight, mtu);
    Verdict::TooBigReported
}

/// Notes what is to be written about the packet of `flight.ip`, which the way takes so many bytes of; the hop says
/// where it goes.
#[inline(always)]
pub(crate) fn prepare<A: Family>(ethernet: u16, flight: &mut Flight<A>, mtu: usize) {
    let ip = &flight.ip;
    let quoted = (ip.payload + QUOTED - ip.start).min(MOST).min(ip.end - ip.start);
    let told = if A::NUMBER == 6 && mtu != 0 { mtu.max(LEAST_V6) } else { mtu };
    let kind = kind::<A>(mtu);
    flight.report =
        Report { source: ip.destination, destination: ip.source, kind, mtu: told as u16 };
    flight.hop.kind = ethernet;
    flight.hop.start = ip.start;
    flight.hop.end = (ip.start + (quoted & !3)) as u32;
    flight.hop.room = (A::LENGTH + HEADER) as u32;
}

/// Writes the headers at `at`, where the room for them is.
#[inline(never)]
pub(crate) fn write<A: Family, F: Frame>(
    packet: &Packet<F>,
    at: usize,
    flight: &Flight<A>,
) -> Option<()> {
    let report = &flight.report;
    let length = HEADER + flight.hop.end as usize - flight.hop.start;
    A::write(
        A::header(packet, at)?,
        &NewHeader {
            source: report.source,
            destination: report.destination,
            protocol: A::ICMP,
            traffic_class: 0,
            length,
            flow_label: 0,
        },
    );
    let mut sum = if A::ICMP == ICMP {
        Sum::default()
    } else {
        let addresses = A::sum(A::sum(Sum::default(), report.source), report.destination);
        let rest = Sum::default().with((length as u16).to_be()).with(u16::from(A::ICMP).to_be());
        addresses.join(rest)
    };
    let message = at + A::LENGTH;
    let mtu = u32::from(report.mtu).to_be();
    sum = sum.with(report.kind).with_u32(mtu);
    for word in rolled(MOST / 4) {
        if (word + 2) * 4 >= length {
            break;
        }
        sum = sum.with_u32(packet.window::<4>(message + HEADER + word * 4)?.u32_at::<0>());
    }
    let header = packet.window::<HEADER>(message)?;
    header.set_u16::<0>(report.kind);
    header.set_u16::<2>(sum.checksum());
    header.set_u32::<4>(mtu);
    Some(())
}
