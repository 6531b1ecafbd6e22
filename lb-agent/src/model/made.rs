//! A packet that is made to see what would become of it.

use std::net::IpAddr;

use lb_common::api;

use super::agent::Refusal;
use super::config::{icmp_type_of, protocol_of, tcp_flags_of};
use super::firewall::IpProtocol;

/// The source port of packets for which none is given: of the host's ephemeral ones.
const SOURCE_PORT: u16 = 40_000;
/// The first packet of a connection.
const SYN: &str = "syn";
/// What `ping` sends.
const ECHO_REQUEST: &str = "echo-request";

/// What a packet is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// What follows the IP header.
    pub transport: Transport,
}

/// What follows the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP
    Tcp {
        /// Source and destination port.
        ports: (u16, u16),
        /// FIN is the lowest bit.
        flags: u8,
    },
    /// UDP
    Udp {
        /// Source and destination port.
        ports: (u16, u16),
    },
    /// ICMP of the packet's family.
    Icmp {
        /// Its type.
        kind: u8,
    },
    /// Anything else.
    Other(IpProtocol),
}

/// Reads what is asked for.
pub fn read(asked: &api::MadePacket) -> Result<Made, Refusal> {
    let api::MadePacket { source, destination, .. } = *asked;
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(Refusal::Invalid("source and destination are of different families".into()));
    }
    let protocol = protocol_of(&asked.protocol).map_err(Refusal::Invalid)?;
    let transport = match protocol {
        IpProtocol::TCP => {
            let flags = asked.tcp_flags.as_deref().unwrap_or(SYN);
            let flags = tcp_flags_of(flags).map_err(Refusal::Invalid)?.value;
            Transport::Tcp { ports: ports(asked)?, flags }
        }
        IpProtocol::UDP => Transport::Udp { ports: ports(asked)? },
        IpProtocol::ICMP | IpProtocol::ICMPV6 => {
            if (protocol == IpProtocol::ICMP) != source.is_ipv4() {
                let message = "icmp is of IPv4, and icmpv6 of IPv6".to_owned();
                return Err(Refusal::Invalid(message));
            }
            let kind = asked.icmp_type.as_deref().unwrap_or(ECHO_REQUEST);
            Transport::Icmp { kind: icmp_type_of(kind, protocol).map_err(Refusal::Invalid)? }
        }
        other => Transport::Other(other),
    };
    Ok(Made { source, destination, transport })
}

fn ports(asked: &api::MadePacket) -> Result<(u16, u16), Refusal> {
    let destination = asked.destination_port.ok_or_else(|| {
        Refusal::Invalid(format!("packets of protocol {} have a destination port", asked.protocol))
    })?;
    Ok((asked.source_port.unwrap_or(SOURCE_PORT), destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(source: &str, destination: &str, protocol: &str) -> api::MadePacket {
        api::MadePacket {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: protocol.into(),
            source_port: None,
            destination_port: Some(80),
            tcp_flags: None,
            icmp_type: None,
            interface: None,
        }
    }

    fn refused(asked: &api::MadePacket) -> String {
        read(asked).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_given_is_that_of_a_new_connection() {
        let made = read(&asked("198.51.100.7", "203.0.113.10", "tcp")).unwrap();
        assert_eq!(made.transport, Transport::Tcp { ports: (40_000, 80), flags: 2 });
        let made = read(&asked("2001:db8::7", "2001:db8::10", "icmpv6")).unwrap();
        assert_eq!(made.transport, Transport::Icmp { kind: 128 });
        let made = read(&asked("198.51.100.7", "203.0.113.10", "47")).unwrap();
        assert_eq!(made.transport, Transport::Other(IpProtocol(47)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let v4 = |protocol| asked("198.51.100.7", "203.0.113.10", protocol);
        assert!(refused(&asked("::1", "10.0.0.1", "tcp")).contains("different families"));
        assert!(refused(&v4("icmpv6")).contains("icmp is of IPv4"));
        assert!(refused(&v4("tpc")).contains("no protocol \"tpc\""));
        let flags = api::MadePacket { tcp_flags: Some("sin".into()), ..v4("tcp") };
        assert!(refused(&flags).contains("no TCP flag \"sin\""));
        let no_port = api::MadePacket { destination_port: None, ..v4("udp") };
        assert!(refused(&no_port).contains("have a destination port"));
    }
}
