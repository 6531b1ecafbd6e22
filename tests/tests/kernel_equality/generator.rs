//! Valid frames: of clients, of backends that answer what they got, of routers that report what they got,
//! and of others. What follows from what is learnt from what the director sent.

use std::net::{IpAddr, SocketAddr};

use etherparse::NetSlice;
use lb_common::verdict::Verdict;
use lb_ebpf::family::TCP;

use crate::cast::{Cast, ELSEWHERE, MACS, Service, VIRTUAL_MACS};
use crate::mutation::network;
use crate::packet_path::frames::{
    ACK, Ends, FIN, Link, Numbers, PSH, RST, SYN, ends, ip_headers, kind, tcp, tcp_of, udp,
};
use crate::packets::{as_fragment, icmp, set_udp_checksum, with_extensions, with_options};
use crate::pair::{Arrival, Sent};
use crate::random::Random;
use crate::strays::stray;

/// Clients of a family; few, so that their packets meet the same flows.
const CLIENTS: usize = 60;
/// How much of what happened is remembered.
const MEMORY: usize = 512;
/// How many handshakes with cookies are.
const COOKIES: usize = 12;
/// The kernel runs programs on frames of one page, of which it keeps a part; mutations add some bytes.
const LONGEST: usize = 3_300;
/// Flags of a TCP packet, as often as they stand here.
const FLAGS: [u8; 12] =
    [SYN, SYN, ACK, ACK, ACK, PSH | ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, SYN | ACK, 0];
/// ICMP errors of each family: type and code.
const ERRORS_V4: [(u8, u8); 4] = [(3, 4), (3, 1), (11, 0), (12, 0)];
const ERRORS_V6: [(u8, u8); 4] = [(1, 4), (2, 0), (3, 0), (4, 1)];

/// TCP options: all of a SYN, timestamps at an even and at an odd place, SACK blocks at both, and some that end too
/// soon or too late.
const OPTIONS: [&[u8]; 9] = [
    &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 9],
    &[2, 4, 1, 0, 1, 3, 3, 15],
    &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
    &[1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0],
    &[1, 1, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8],
    &[5, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 1],
    &[1, 5, 7, 1, 2, 3, 4, 5],
    &[8, 1, 0, 0],
    &[8, 40, 0, 0],
];

/// Makes frames.
pub struct Generator {
    /// Where all choices come from.
    pub random: Random,
    services: Vec<Service>,
    interfaces: [u32; 3],
    /// UDP checksums that mean something: none, and those that become zero on the way to a backend and back.
    checksums: Vec<u16>,
    sent: Vec<Sent>,
    /// The latest cookies, and SYNs of those that were valid.
    cookies: Vec<Sent>,
    latest: usize,
}

impl Generator {
    /// For the services of a director.
    pub fn new(seed: u64, cast: &Cast) -> Self {
        let deltas = cast.tables.backends.iter().map(|backend| backend.delta);
        Self {
            random: Random::new(seed),
            services: cast.services.clone(),
            interfaces: cast.interfaces,
            checksums: deltas.flat_map(|delta| [0, delta, !delta]).collect(),
            sent: Vec::new(),
            cookies: Vec::new(),
            latest: 0,
        }
    }

    /// A valid frame.
    pub fn next(&mut self) -> Arrival {
        let (kind, packet) = match self.random.below(100) {
            0..32 => self.opening(),
            32..46 => self.following().unwrap_or_else(|| self.opening()),
            46..54 => self.handshake().unwrap_or_else(|| self.opening()),
            54..71 => self.answer().unwrap_or_else(|| self.opening()),
            71..75 => self.fragment(),
            75..81 => self.error(Verdict::ToBackend).unwrap_or_else(|| self.opening()),
            81..88 => self.error(Verdict::ToClient).unwrap_or_else(|| self.opening()),
            88..95 => stray(&mut self.random, &self.services),
            _ => match self.remembered(Verdict::ToBackend) {
                Some(sent) => return sent.arrival,
                None => self.opening(),
            },
        };
        self.arrive(kind, &packet)
    }

    /// Remembers what may be answered.
    pub fn learn(&mut self, sent: Sent) {
        let verdict = sent.outcome.verdict;
        if matches!(verdict, Verdict::SynCookieSent | Verdict::SynCookieAccepted) {
            self.cookies.truncate(COOKIES - 1);
            return self.cookies.insert(0, sent);
        }
        if !matches!(verdict, Verdict::ToBackend | Verdict::ToClient) {
            return;
        }
        if self.sent.len() < MEMORY {
            self.latest = self.sent.len();
            self.sent.push(sent);
        } else {
            self.latest = self.random.below(MEMORY);
            self.sent[self.latest] = sent;
        }
    }

    /// Something with this verdict, often the latest, so that conversations get on.
    fn remembered(&mut self, verdict: Verdict) -> Option<Sent> {
        let index = if self.random.chance(50) { self.latest } else { self.random.below(MEMORY) };
        let sent = self.sent.get(index)?;
        (sent.outcome.verdict == verdict).then(|| sent.clone())
    }

    /// Ethernet with up to two tags around a packet.
    fn arrive(&mut self, kind: u16, packet: &[u8]) -> Arrival {
        let random = &mut self.random;
        let way = if random.chance(3) { 2 } else { random.below(2) };
        let kinds: &[u16] = random.pick(&[&[][..], &[], &[0x8100], &[0x88a8, 0x8100]]);
        let tags = kinds.iter().map(|kind| (*kind, random.pick(&[0, 5, 0x2064, 0xe001]))).collect();
        let source = [2, 0, 0, 0, 8, u8::try_from(random.below(4)).unwrap()];
        // A switch floods some frames that are for the other interface, or for another director.
        let destination = match random.below(100) {
            0..94 => MACS[way % 2],
            94..97 => random.pick(&MACS),
            _ => random.pick(&VIRTUAL_MACS),
        };
        let mut frame = Link { destination, source, tags }.frame(kind, packet);
        frame.truncate(LONGEST);
        Arrival { frame, interface: self.interfaces[way] }
    }

    /// The first packet of a client, or what it sends as one.
    fn opening(&mut self) -> (u16, Vec<u8>) {
        let service = self.random.pick(&self.services);
        let number = self.random.below(CLIENTS);
        let (last, port) = (number % 3 + 1, u16::try_from(40_000 + number / 3).unwrap());
        let address = match service.vip {
            SocketAddr::V4(_) => format!("198.51.100.{last}"),
            SocketAddr::V6(_) => format!("2001:db8:99::{last}"),
        };
        let source = SocketAddr::new(address.parse().unwrap(), port);
        let flags = if self.random.chance(50) { SYN } else { self.random.pick(&FLAGS) };
        self.packet(Ends { source, destination: service.vip }, service.protocol == TCP, flags)
    }

    /// Another packet of a client whose last one went to a backend, or who got an answer.
    fn following(&mut self) -> Option<(u16, Vec<u8>)> {
        let (ends, is_tcp) = if self.random.chance(50) {
            let sent = self.remembered(Verdict::ToBackend)?;
            (ends(&sent.arrival.frame)?, is_tcp(&sent.arrival.frame)?)
        } else {
            let sent = self.remembered(Verdict::ToClient)?;
            (ends(&sent.frame)?.turned(), is_tcp(&sent.frame)?)
        };
        let flags = if self.random.chance(60) { ACK } else { self.random.pick(&FLAGS) };
        Some(self.packet(ends, is_tcp, flags))
    }

    /// What a backend answers, if that passes the director.
    fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
        let sent = self.remembered(Verdict::ToBackend)?;
        let (asked, is_tcp) = (ends(&sent.arrival.frame)?, is_tcp(&sent.frame)?);
        let ends = ends(&sent.frame)?;
        if ends == asked || sent.frame.len() > sent.arrival.frame.len() {
            return None;
        }
        let flags = if self.random.chance(60) { SYN | ACK } else { self.random.pick(&FLAGS) };
        Some(self.packet(ends.turned(), is_tcp, flags))
    }

    /// What a client sends that was sent a cookie, or a backend that was sent the SYN of such a client.
    fn handshake(&mut self) -> Option<(u16, Vec<u8>)> {
        let sent = self.cookies.get(self.random.below(COOKIES))?;
        let (ends, [sequence, acknowledgement]) =
            (ends(&sent.frame)?.turned(), numbers(&sent.frame)?);
        let is_client = sent.outcome.verdict == Verdict::SynCookieSent;
        let (flags, own) = if is_client { (ACK, acknowledgement) } else { (SYN | ACK, 77) };
        let flags = if self.random.chance(85) { flags } else { self.random.pick(&FLAGS) };
        let options = self.random.pick(&OPTIONS);
        let heard = sequence.wrapping_add(1);
        let numbers = Numbers { sequence: own, acknowledgement: heard, options };
        let headers = ip_headers(ends.source.ip(), ends.destination.ip(), 64);
        let ports = (ends.source.port(), ends.destination.port());
        let packet = tcp_of(headers, ports, (flags, numbers), &[]);
        Some((kind(ends.source.ip()), self.dressed(packet)))
    }

    /// One of those, as the first or a later fragment of a packet; all have the same identification, so that
    /// the later ones follow the first.
    fn fragment(&mut self) -> (u16, Vec<u8>) {
        let whole = match self.random.below(3) {
            0 => self.following(),
            1 => self.answer(),
            _ => None,
        };
        let (kind, packet) = whole.unwrap_or_else(|| self.opening());
        (kind, as_fragment(&packet, self.random.pick(&[0, 0, 1, 185])))
    }

    fn packet(&mut self, ends: Ends, is_tcp: bool, flags: u8) -> (u16, Vec<u8>) {
        let payload = vec![self.random.byte(); self.random.pick(&[0, 0, 1, 40, 333, 1200, 2500])];
        let ttl = if self.random.chance(2) { 1 } else { 64 };
        let headers = ip_headers(ends.source.ip(), ends.destination.ip(), ttl);
        let ports = (ends.source.port(), ends.destination.port());
        let mut packet = if is_tcp && self.random.chance(30) {
            let options = self.random.pick(&OPTIONS);
            let numbers = Numbers { sequence: 0x1234_5678, acknowledgement: 0x9abc_def0, options };
            tcp_of(headers, ports, (flags, numbers), &payload)
        } else if is_tcp {
            tcp(headers, ports, flags, &payload)
        } else {
            udp(headers, ports, &payload)
        };
        if !is_tcp && self.random.chance(30) {
            set_udp_checksum(&mut packet, self.random.pick(&self.checksums));
        }
        (kind(ends.source.ip()), self.dressed(packet))
    }

    /// With IPv4 options or IPv6 extension headers, now and then.
    fn dressed(&mut self, packet: Vec<u8>) -> Vec<u8> {
        if !self.random.chance(15) {
            return packet;
        }
        let count = 1 + self.random.below(6);
        if packet[0] >> 4 == 4 {
            // RFC 791: "no operation".
            with_options(&packet, &vec![1; 4 * count])
        } else {
            with_extensions(&mut self.random, &packet, count)
        }
    }

    /// What a router on the way, or the receiver, reports of a packet that the director forwarded; where that
    /// went through a tunnel, of the packet around it.
    fn error(&mut self, of: Verdict) -> Option<(u16, Vec<u8>)> {
        let sent = self.remembered(of)?;
        let start = network(&sent.frame)?;
        let quoted = &sent.frame[start..];
        let most = 28 + self.random.below(600);
        let (source, destination) = addresses(quoted)?;
        let quoted = &quoted[..quoted.len().min(most)];
        let is_v4 = source.is_ipv4();
        let router: IpAddr = ELSEWHERE[usize::from(!is_v4)].parse().unwrap();
        let from = if self.random.chance(50) { router } else { destination };
        let message = self.random.pick(if is_v4 { &ERRORS_V4 } else { &ERRORS_V6 });
        let packet = icmp(from, source, message, quoted);
        Some((kind(from), self.dressed(packet)))
    }
}

/// Source and destination of an IP packet.
fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match etherparse::SlicedPacket::from_ip(packet).ok()?.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        NetSlice::Arp(_) => None,
    }
}

/// Whether a frame is of TCP, if it is of TCP or UDP.
fn is_tcp(frame: &[u8]) -> Option<bool> {
    let packet = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
    Some(matches!(packet.transport?, etherparse::TransportSlice::Tcp(_)))
}

/// The numbers of a frame of TCP.
fn numbers(frame: &[u8]) -> Option<[u32; 2]> {
    let packet = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
    let etherparse::TransportSlice::Tcp(tcp) = packet.transport? else { return None };
    Some([tcp.sequence_number(), tcp.acknowledgment_number()])
}
