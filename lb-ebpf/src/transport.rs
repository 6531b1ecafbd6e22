//! TCP and UDP headers: ports, flags and checksums.

use core::mem::offset_of;

use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::checksum::Sum;
use crate::family::{Family, Ip, TCP};
use crate::packet::{Frame, Packet};

/// TCP's FIN flag.
pub const FIN: u8 = 0x01;
/// TCP's SYN flag.
pub const SYN: u8 = 0x02;
/// TCP's RST flag.
pub const RST: u8 = 0x04;
/// TCP's ACK flag.
pub const ACK: u8 = 0x10;

/// Offset of the byte with TCP's flags.
pub const TCP_FLAGS: usize = 13;
/// Offset of TCP's checksum.
pub const TCP_CHECK: usize = offset_of!(TcpHdr, check);
const UDP_CHECK: usize = offset_of!(UdpHdr, check);

/// What balancing needs of the transport header.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    /// Source port, network order.
    pub source_port: u16,
    /// Destination port, network order.
    pub destination_port: u16,
    /// TCP's flags; 0 for UDP.
    pub flags: u8,
}

impl Transport {
    /// Whether a new connection is asked for.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN
    }

    /// Whether a new connection is agreed to.
    #[inline(always)]
    pub fn accepts(&self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN | ACK
    }

    /// Whether the connection is being ended.
    #[inline(always)]
    pub fn closes(&self) -> bool {
        self.flags & (FIN | RST) != 0
    }
}

/// Which of the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The source port.
    Source,
    /// The destination port.
    Destination,
}

/// Parses the header behind `ip`; `None` where it is not all there.
#[inline(always)]
pub fn parse<A: Family, F: Frame>(packet: &Packet<F>, ip: &Ip<A>) -> Option<Transport> {
    let ports = packet.window::<{ UdpHdr::LEN }>(ip.payload)?;
    let (length, flags) = if ip.protocol == TCP {
        let header = packet.window::<{ TcpHdr::LEN }>(ip.payload)?;
        (TcpHdr::LEN, header.u8_at::<TCP_FLAGS>())
    } else {
        (UdpHdr::LEN, 0)
    };
    (ip.payload + length <= ip.end).then(|| Transport {
        source_port: ports.u16_at::<0>(),
        destination_port: ports.u16_at::<2>(),
        flags,
    })
}

/// Writes a port; the checksum stays as it is.
#[inline(always)]
pub fn set_port<A: Family, F: Frame>(
    packet: &Packet<F>,
    ip: &Ip<A>,
    port: Port,
    value: u16,
) -> Option<()> {
    let ports = packet.window::<{ UdpHdr::LEN }>(ip.payload)?;
    match port {
        Port::Source => ports.set_u16::<0>(value),
        Port::Destination => ports.set_u16::<2>(value),
    }
    Some(())
}

/// Writes a port and updates the checksum by `change`, which covers ports and addresses.
#[inline(always)]
pub fn rewrite<A: Family, F: Frame>(
    packet: &Packet<F>,
    ip: &Ip<A>,
    port: Port,
    value: u16,
    change: Sum,
) -> Option<()> {
    set_port(packet, ip, port, value)?;
    if ip.protocol == TCP {
        let header = packet.window::<{ TcpHdr::LEN }>(ip.payload)?;
        header.set_u16::<TCP_CHECK>(change.applied_to(header.u16_at::<TCP_CHECK>()));
    } else {
        let ports = packet.window::<{ UdpHdr::LEN }>(ip.payload)?;
        ports.set_u16::<UDP_CHECK>(udp_checksum(ports.u16_at::<UDP_CHECK>(), change));
    }
    Some(())
}

/// RFC 768: zero means that the sender did not compute one, and a computed zero is sent as all ones.
#[inline(always)]
pub fn udp_checksum(old: u16, change: Sum) -> u16 {
    match (old, change.applied_to(old)) {
        (0, _) => 0,
        (_, 0) => 0xffff,
        (_, new) => new,
    }
}
