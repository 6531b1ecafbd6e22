//! The cast of the tests: a client, a VIP, three backends, routers, and the worlds that they play in.
#![allow(dead_code, reason = "each test target uses its part")]

mod build;
pub mod error;
pub mod firewall;
pub mod packet;
pub mod ways;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::cell::{Cell, State};
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;
use lb_ebpf::host::{CLOSED, HostFrame, HostTables, NextHop};

use packet::{Body, Mac, Packet, tcp, udp};

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// The interface towards clients.
pub const FRONT: u32 = 2;
/// The interface towards backends.
pub const BACK: u32 = 3;

pub const DIRECTOR_FRONT: Mac = [0x02, 0, 0, 0, 0xd1, 0x02];
pub const DIRECTOR_BACK: Mac = [0x02, 0, 0, 0, 0xd1, 0x03];
/// The router between client and director.
pub const ROUTER: Mac = [0x02, 0, 0, 0, 0x70, 0x01];
/// The backends' MAC addresses.
pub const SERVERS: [Mac; 3] =
    [[0x02, 0, 0, 0, 0xbe, 1], [0x02, 0, 0, 0, 0xbe, 2], [0x02, 0, 0, 0, 0xbe, 3]];

pub const HASH_KEY: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// The addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub backends: [SocketAddr; 3],
    /// A second VIP in front of the same backends.
    pub other_vip: SocketAddr,
    /// A router on the way from director to backend or to client.
    pub router: IpAddr,
    /// The director's own address on the backends' side.
    pub director: IpAddr,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

const fn v6(net: u16, host: u16, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0xa1b2, host)), port)
}

pub const V4: Cast = Cast {
    client: v4(198, 51, 100, 7, 40_000),
    vip: v4(203, 0, 113, 10, 80),
    backends: [v4(192, 0, 2, 11, 8080), v4(192, 0, 2, 12, 8080), v4(192, 0, 2, 13, 8080)],
    other_vip: v4(203, 0, 113, 20, 443),
    router: IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7)),
    director: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
};

pub const V6: Cast = Cast {
    client: v6(0xc, 7, 40_000),
    vip: v6(0, 10, 80),
    backends: [v6(1, 11, 8080), v6(1, 12, 8080), v6(1, 13, 8080)],
    other_vip: v6(0, 20, 443),
    router: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 8, 7, 6, 5, 4)),
    director: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
};

/// Both families.
pub const FAMILIES: [Cast; 2] = [V4, V6];
/// Both protocols.
pub const PROTOCOLS: [u8; 2] = [TCP, UDP];

impl Cast {
    /// The client with another port, and with another address every 50,000.
    pub fn client_number(&self, number: u32) -> SocketAddr {
        let mut client = self.client;
        client.set_port(u16::try_from(10_000 + number % 50_000).unwrap());
        client.set_ip(match client.ip() {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() + number / 50_000)),
            IpAddr::V6(ip) => {
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() + u128::from(number / 50_000)))
            }
        });
        client
    }
}

/// The first packet of a flow.
pub fn opening(protocol: u8, client: SocketAddr, vip: SocketAddr) -> Packet {
    if protocol == TCP { tcp(client, vip).syn() } else { udp(client, vip) }
}

/// The first answer to it.
pub fn answer(protocol: u8, backend: SocketAddr, client: SocketAddr) -> Packet {
    let packet =
        if protocol == TCP { tcp(backend, client).syn().ack() } else { udp(backend, client) };
    packet.link(SERVERS[0], DIRECTOR_BACK)
}

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct Sent {
    pub verdict: Verdict,
    pub exit: Exit,
    pub bytes: Vec<u8>,
}

impl Sent {
    /// The index of the backend that the frame was sent to, by its MAC address.
    pub fn backend(&self) -> usize {
        SERVERS.iter().position(|mac| self.bytes[..6] == *mac).expect("the MAC of a backend")
    }
}

/// A director with one service of three backends.
pub struct World {
    pub cast: Cast,
    pub protocol: u8,
    pub tables: HostTables,
    pub listener: u32,
    pub backends: Vec<u32>,
}

impl World {
    /// Backends on another interface than clients.
    pub fn new(cast: Cast, protocol: u8) -> Self {
        Self::of(cast, protocol, HostTables::new(1024, HASH_KEY), BACK)
    }

    /// All on one interface.
    pub fn one_armed(cast: Cast, protocol: u8) -> Self {
        Self::of(cast, protocol, HostTables::new(1024, HASH_KEY), FRONT)
    }

    pub fn of(cast: Cast, protocol: u8, mut tables: HostTables, interface: u32) -> Self {
        tables.add_interface(FRONT, DIRECTOR_FRONT);
        tables.add_interface(BACK, DIRECTOR_BACK);
        tables.add_vip(cast.vip.ip(), CLOSED);
        let listener = tables.add_listener(cast.vip, protocol);
        let mut world = Self { cast, protocol, tables, listener, backends: Vec::new() };
        for index in 0..3 {
            let id = world.add_backend(listener, index, interface);
            world.backends.push(id);
        }
        world.tables.set_slots(listener, &world.backends);
        world
    }

    /// Puts a backend behind a listener.
    pub fn add_backend(&mut self, listener: u32, index: usize, interface: u32) -> u32 {
        let source = if interface == FRONT { DIRECTOR_FRONT } else { DIRECTOR_BACK };
        let hop = NextHop { interface, neighbour: SERVERS[index], source };
        self.tables.add_backend(listener, self.cast.backends[index], hop)
    }

    /// A second VIP, in front of the first `n` backends; returns the listener and the backend ids.
    pub fn add_other_vip(&mut self, n: usize) -> (u32, Vec<u32>) {
        self.tables.add_vip(self.cast.other_vip.ip(), CLOSED);
        let listener = self.tables.add_listener(self.cast.other_vip, self.protocol);
        let ids: Vec<_> = (0..n).map(|index| self.add_backend(listener, index, BACK)).collect();
        self.tables.set_slots(listener, &ids);
        (listener, ids)
    }

    /// A frame comes in by an interface.
    pub fn frame(&self, bytes: &[u8], interface: u32) -> Sent {
        let (outcome, frame) = self.tables.send(HostFrame::new(bytes, interface));
        Sent { verdict: outcome.verdict, exit: outcome.exit, bytes: frame.bytes() }
    }

    /// A packet comes in on the clients' side.
    pub fn front(&self, packet: &Packet) -> Sent {
        self.frame(&packet.bytes(), FRONT)
    }

    /// A packet comes in on the backends' side.
    pub fn back(&self, packet: &Packet) -> Sent {
        self.frame(&packet.bytes(), BACK)
    }

    /// The first packet of a flow; returns the index of its backend.
    pub fn begin(&self, client: SocketAddr) -> usize {
        let sent = self.front(&opening(self.protocol, client, self.cast.vip));
        assert_eq!(sent.verdict, Verdict::ToBackend, "{client}");
        sent.backend()
    }

    /// A whole handshake; returns the index of the backend.
    pub fn establish(&self, client: SocketAddr) -> usize {
        let index = self.begin(client);
        let sent = self.back(&answer(self.protocol, self.cast.backends[index], client));
        assert_eq!(sent.verdict, Verdict::ToClient, "{client}");
        if self.protocol == TCP {
            assert_eq!(self.more(client), index);
        }
        index
    }

    /// A further packet of the client; returns the index of the backend.
    pub fn more(&self, client: SocketAddr) -> usize {
        let packet = opening(self.protocol, client, self.cast.vip);
        let packet = match packet.body {
            Body::Tcp(..) => tcp(client, self.cast.vip).ack().payload(b"more"),
            Body::Udp { .. } | Body::Icmp { .. } | Body::Other(..) => packet,
        };
        let sent = self.front(&packet);
        assert_eq!(sent.verdict, Verdict::ToBackend, "{client}");
        sent.backend()
    }

    /// The states of all cells that hold a flow: of the client's direction, and of the other one.
    pub fn states(&self) -> (Vec<State>, Vec<State>) {
        let cells = self.tables.cells().into_iter().filter(|cell| !cell.is_empty());
        let (replies, flows): (Vec<Cell>, Vec<Cell>) = cells.partition(|cell| cell.is_reply());
        let states = |cells: Vec<Cell>| cells.iter().filter_map(|cell| cell.state()).collect();
        (states(flows), states(replies))
    }
}

/// Compares frames, and shows the first byte that differs.
#[track_caller]
pub fn assert_frame(actual: &[u8], expected: &Packet) {
    let expected = expected.bytes();
    let differs = actual.iter().zip(&expected).position(|(a, b)| a != b);
    assert!(
        actual == expected,
        "{} bytes, expected {}; first difference at {differs:?}\n{actual:02x?}\n{expected:02x?}",
        actual.len(),
        expected.len(),
    );
}
