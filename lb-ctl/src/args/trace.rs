//! `lb-ctl explain`

use std::net::IpAddr;

use clap::Args;
use lb_common::api::MadePacket;

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// Source address
    #[arg(long, value_name = "ADDRESS")]
    src: IpAddr,
    /// Destination address
    #[arg(long, value_name = "ADDRESS")]
    dst: IpAddr,
    /// tcp, udp, icmp, icmpv6 or a number
    #[arg(long, value_name = "PROTOCOL")]
    proto: String,
    /// Destination port; tcp and udp need one
    #[arg(long, value_name = "PORT")]
    dport: Option<u16>,
    /// Source port [default: 40000]
    #[arg(long, value_name = "PORT")]
    sport: Option<u16>,
    /// Flags of TCP, as `syn,ack` [default: syn]
    #[arg(long, value_name = "FLAGS")]
    tcp_flags: Option<String>,
    /// Name or number of a type of ICMP [default: echo-request]
    #[arg(long, value_name = "TYPE")]
    icmp_type: Option<String>,
    /// The interface that it comes by [default: the first in the configuration]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
}

impl From<Explain> for MadePacket {
    fn from(asked: Explain) -> Self {
        let Explain { src, dst, proto, dport, sport, tcp_flags, icmp_type, interface } = asked;
        Self {
            source: src,
            destination: dst,
            protocol: proto,
            source_port: sport,
            destination_port: dport,
            tcp_flags,
            icmp_type,
            interface,
        }
    }
}
