//! Makes the frame of a packet that is to be explained.

use std::net::IpAddr;

use etherparse::{Icmpv4Type, Icmpv6Type, err::packet::BuildWriteError};
use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep};

use crate::model::made::{Made, Transport};

/// Somebody's: where a packet comes from does not matter.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TTL: u8 = 64;
const WINDOW: u16 = 65_535;
/// Of packets whose protocol we do not know.
const PAYLOAD: [u8; 8] = [0; 8];

/// The frame, from its Ethernet header on, for an interface with this address.
pub fn frame(made: &Made, interface: [u8; 6]) -> Result<Vec<u8>, BuildWriteError> {
    let builder = PacketBuilder::ethernet2(SENDER, interface);
    let builder = match (made.source, made.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            builder.ipv4(source.octets(), destination.octets(), TTL)
        }
        (source, destination) => builder.ipv6(octets(source), octets(destination), TTL),
    };
    let mut frame = Vec::new();
    match made.transport {
        Transport::Tcp { ports, flags } => tcp(builder, ports, flags).write(&mut frame, &[])?,
        Transport::Udp { ports: (source, destination) } => {
            builder.udp(source, destination).write(&mut frame, &[])?;
        }
        Transport::Icmp { kind } if made.source.is_ipv4() => {
            let kind = Icmpv4Type::Unknown { type_u8: kind, code_u8: 0, bytes5to8: [0; 4] };
            builder.icmpv4(kind).write(&mut frame, &[])?;
        }
        Transport::Icmp { kind } => {
            let kind = Icmpv6Type::Unknown { type_u8: kind, code_u8: 0, bytes5to8: [0; 4] };
            builder.icmpv6(kind).write(&mut frame, &[])?;
        }
        Transport::Other(protocol) => {
            builder.write(&mut frame, IpNumber(protocol.0), &PAYLOAD)?;
        }
    }
    Ok(frame)
}

fn tcp(
    builder: PacketBuilderStep<etherparse::IpHeaders>,
    (source, destination): (u16, u16),
    flags: u8,
) -> PacketBuilderStep<etherparse::TcpHeader> {
    let mut header = etherparse::TcpHeader::new(source, destination, 1, WINDOW);
    let is_set = |place: u32| flags & (1 << place) != 0;
    header.fin = is_set(0);
    header.syn = is_set(1);
    header.rst = is_set(2);
    header.psh = is_set(3);
    header.ack = is_set(4);
    header.urg = is_set(5);
    header.ece = is_set(6);
    header.cwr = is_set(7);
    builder.tcp_header(header)
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::firewall::IpProtocol;

    fn made(source: &str, destination: &str, transport: Transport) -> Vec<u8> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        frame(&Made { source, destination, transport }, [2, 0, 0, 0, 0, 9]).unwrap()
    }

    #[test]
    fn a_frame_has_the_headers_that_were_asked_for() {
        let syn = Transport::Tcp { ports: (40_000, 80), flags: 2 };
        let v4 = made("198.51.100.7", "203.0.113.10", syn);
        assert_eq!((v4.len(), &v4[12..14], v4[23]), (54, &[8, 0][..], 6));
        assert_eq!(v4[..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!((&v4[26..30], &v4[36..38], v4[47]), (&[198, 51, 100, 7][..], &[0, 80][..], 2));
        let v6 = made("2001:db8::7", "2001:db8::10", Transport::Icmp { kind: 128 });
        assert_eq!((&v6[12..14], v6[20], v6[54]), (&[0x86, 0xdd][..], 58, 128));
        let gre = made("198.51.100.7", "203.0.113.10", Transport::Other(IpProtocol(47)));
        assert_eq!((gre.len(), gre[23]), (42, 47));
    }
}
