//! The ways of forwarding and the protocols of the flows, and frames of both.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use etherparse::{IpHeaders, PacketBuilder, ip_number};

use crate::frames::{ACK, Ends, Link, SYN, ip_headers, kind, tcp_frame, v4};

/// MAC address of the director.
pub const MAC: [u8; 6] = [2; 6];
/// The VIPs.
pub const VIPS: [SocketAddr; 2] = [v4([203, 0, 113, 10], 80), v6(0xf, 0x10, 80)];

/// How a service is served.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// `forward` of the service.
    pub forward: &'static str,
    /// `protocol` of the service.
    pub protocol: &'static str,
}

const fn v6(network: u16, host: u16, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host)), port)
}

/// The address of a client of the VIP's family, in one of eight networks.
pub fn client(vip: SocketAddr, network: u8, port: u16) -> SocketAddr {
    if vip.is_ipv4() {
        v4([198, 51, network, 7], port)
    } else {
        v6(0x100 + u16::from(network), 7, port)
    }
}

/// Which backend has the address.
pub fn number(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    }
}

impl Way {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let by = |protocol| {
            let ways = ["nat", "full-nat", "dsr", "ipip", "gue"].into_iter();
            ways.map(move |forward| Self { forward, protocol })
        };
        by("tcp").chain(by("udp"))
    }

    /// Whether replies pass the director.
    pub fn answers(self) -> bool {
        self.forward.ends_with("nat")
    }

    pub fn is_tcp(self) -> bool {
        self.protocol == "tcp"
    }

    /// The addresses of a backend: of both families, but where IPv6 goes over IPv4.
    pub fn addresses(self, number: u8) -> Vec<SocketAddr> {
        let port = if self.answers() { 8080 } else { 80 };
        let v4 = v4([192, 0, 2, number], port);
        if self.forward == "gue" { vec![v4] } else { vec![v4, v6(2, u16::from(number), port)] }
    }

    /// The configuration with these backends.
    pub fn config(self, scheduler: &str, backends: std::ops::RangeInclusive<u8>) -> String {
        let Self { forward, protocol } = self;
        let [vip_v4, vip_v6] = VIPS;
        let head = format!(
            "version = 1\ndatapath.interfaces = ['eth0']\n\
             datapath.full_nat = {{ sources = ['192.0.2.200', '2001:db8:2::200'] }}\n\
             datapath.tunnel = {{ sources = ['192.0.2.200', '2001:db8:2::200'] }}\n\
             [[service]]\nname = 'shop'\nlisten = ['{vip_v4}', '{vip_v6}']\nprotocol = '{protocol}'\n\
             forward = '{forward}'\nscheduler = '{scheduler}'\nslow_start = '20s'\n\
             affinity = {{ prefix_v4 = 24, timeout = '10s' }}\n\
             health_check = {{ type = 'tcp', interval = '2s', rise = 1, fall = 1 }}\n"
        );
        backends.fold(head, |text, number| {
            let addresses: Vec<_> =
                self.addresses(number).iter().map(ToString::to_string).collect();
            text + &format!("[[service.backend]]\nname = 'web{number}'\naddress = {addresses:?}\n")
        })
    }

    /// The first packet of a flow.
    pub fn opening(self, ends: Ends) -> Vec<u8> {
        self.frame(ends, SYN)
    }

    /// What a backend answers to that.
    pub fn answer(self, ends: Ends) -> Vec<u8> {
        self.frame(ends, SYN | ACK)
    }

    /// Any later packet of the client.
    pub fn more(self, ends: Ends) -> Vec<u8> {
        self.frame(ends, ACK)
    }

    fn frame(self, ends: Ends, flags: u8) -> Vec<u8> {
        let link = Link { destination: MAC, source: [7; 6], tags: Vec::new() };
        if self.is_tcp() { tcp_frame(&link, ends, flags, &[]) } else { udp_frame(&link, ends) }
    }
}

fn udp_frame(link: &Link, ends: Ends) -> Vec<u8> {
    let (source, destination) = (ends.source.ip(), ends.destination.ip());
    let mut headers = ip_headers(source, destination, 64);
    match &mut headers {
        IpHeaders::Ipv4(header, _) => header.protocol = ip_number::UDP,
        IpHeaders::Ipv6(header, _) => header.next_header = ip_number::UDP,
    }
    let mut packet = Vec::new();
    let datagram = PacketBuilder::ip(headers).udp(ends.source.port(), ends.destination.port());
    datagram.write(&mut packet, b"question").unwrap();
    link.frame(kind(source), &packet)
}
