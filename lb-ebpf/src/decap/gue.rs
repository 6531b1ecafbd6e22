//! Generic UDP encapsulation (draft-ietf-intarea-gue-09), as far as it carries IP and nothing else.

use lb_common::decap::Verdict;

use super::{IPV4_IN_IP, IPV6_IN_IP, Tunnel};
use crate::ethernet;
use crate::family::{Family, Ip};
use crate::packet::{Frame, Packet};

const UDP_LENGTH: usize = 8;

/// Bytes of a header of version 0 without options.
const HEADER_LENGTH: usize = 4;

/// Whether a UDP datagram or its first fragment is to this port, in network order; there is no port 0.
#[inline(always)]
pub(super) fn is_to<A: Family, F: Frame>(packet: &Packet<F>, ip: &Ip<A>, port: u16) -> bool {
    let Some(header) = packet.window::<UDP_LENGTH>(ip.payload) else { return false };
    port != 0 && ip.payload + UDP_LENGTH <= ip.end && header.u16_at::<2>() == port
}

/// Moves the start and the end of a tunnel from a UDP header to what GUE carries.
#[inline(always)]
pub(super) fn parse<F: Frame>(packet: &Packet<F>, tunnel: &mut Tunnel) -> Result<(), Verdict> {
    let udp = packet.window::<UDP_LENGTH>(tunnel.start).ok_or(Verdict::Malformed)?;
    let end = tunnel.start + usize::from(u16::from_be(udp.u16_at::<4>()));
    let start = tunnel.start + UDP_LENGTH;
    if end < start || end > tunnel.end {
        return Err(Verdict::Malformed);
    }
    let header = packet.window::<HEADER_LENGTH>(start).ok_or(Verdict::MalformedInner)?;
    if start + HEADER_LENGTH > end {
        return Err(Verdict::MalformedInner);
    }
    let carried = header.u8_at::<1>();
    // Section 3.1 has the version in the first two bits, then a bit of control messages and the length of
    // options; then the protocol, then flags. Section 4: version 1 is the first bits of an IP header.
    let (protocol, length) = match header.u8_at::<0>() {
        0x40..=0x4f => (IPV4_IN_IP, 0),
        0x60..=0x6f => (IPV6_IN_IP, 0),
        0 if header.u16_at::<2>() == 0 => (carried, HEADER_LENGTH),
        _ => return Err(Verdict::OtherGue),
    };
    tunnel.kind = match protocol {
        IPV4_IN_IP => ethernet::IPV4,
        IPV6_IN_IP => ethernet::IPV6,
        _ => return Err(Verdict::OtherGue),
    };
    tunnel.start = start + length;
    tunnel.end = end;
    Ok(())
}
