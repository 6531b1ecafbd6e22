//! How many flows each source has open, in the kernel: exact over all CPUs, by whichever way flows go and end.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod packet_path;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use lb_agent::model::firewall::compile::{Names, Size, compile};
use lb_agent::model::firewall::{Action, Firewall, Over, Per, Rule, Sets};
use lb_common::cell::{Cell, State};
use lb_common::layout::{Forward, Settings, address};
use lb_common::verdict::Verdict;
use lb_ebpf::family::{TCP, UDP};
use lb_ebpf::host::{CLOSED, HostTables, NextHop};

use packet_path::frames::{ACK, Ends, FIN, Link, RST, SYN, ends, ip_headers, kind, tcp_frame, udp};
use packet_path::shop::on_two_cpus;
use packet_path::{PacketPath, cells, pin_to_cpu};

const LOOPBACK: u32 = 1;
const BUCKETS: usize = 8_192;
const CELLS: u32 = 8;
const XDP_DROP: u32 = 1;
/// How many flows a source may have.
const MOST: u32 = 100;
const WAYS: [Forward; 5] =
    [Forward::Nat, Forward::FullNat, Forward::Dsr, Forward::IpipV4, Forward::IpipV6];

/// A service of its own, and a source that uses it alone: a prefix, of which addresses differ by CPU.
#[derive(Clone, Copy, Debug)]
struct Service {
    number: u8,
    forward: Forward,
    protocol: u8,
    is_v4: bool,
}

/// One for each way of forwarding, protocol and family.
fn services() -> Vec<Service> {
    let kinds = [(TCP, true), (TCP, false), (UDP, true), (UDP, false)];
    let all =
        WAYS.into_iter().flat_map(|forward| kinds.map(|(protocol, v4)| (forward, protocol, v4)));
    let numbered = (0..).zip(all);
    let service =
        |(number, (forward, protocol, is_v4))| Service { number, forward, protocol, is_v4 };
    numbered.map(service).collect()
}

impl Service {
    fn vip(self) -> SocketAddr {
        let host = if self.is_v4 { v4(203, 1) } else { v6(0xf, 1) };
        (host, 80 + u16::from(self.number)).into()
    }

    /// Behind a tunnel it has an address of the outer family.
    fn backend(self) -> SocketAddr {
        let is_v4 = match self.forward {
            Forward::IpipV4 => true,
            Forward::IpipV6 => false,
            Forward::Nat | Forward::FullNat | Forward::Dsr | Forward::GueV4 | Forward::GueV6 => {
                self.is_v4
            }
        };
        let host = if is_v4 { v4(10, 2) } else { v6(0xb, 2) };
        (host, 8_080 + u16::from(self.number)).into()
    }

    fn request(self, cpu: u8, port: u16) -> Ends {
        let client: IpAddr = if self.is_v4 {
            Ipv4Addr::new(198, 51, self.number, cpu).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 9, self.number.into(), cpu.into(), 0, 0, 7).into()
        };
        Ends { source: (client, port).into(), destination: self.vip() }
    }

    fn replies_pass(self) -> bool {
        matches!(self.forward, Forward::Nat | Forward::FullNat)
    }

    /// Sends a packet of its protocol; how it left, if it did.
    fn send(self, path: &PacketPath, ends: Ends, flags: u8) -> Option<Vec<u8>> {
        let link = Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: vec![] };
        let frame = if self.protocol == TCP {
            tcp_frame(&link, ends, flags, &[])
        } else {
            let (from, to) = (ends.source, ends.destination);
            let headers = ip_headers(from.ip(), to.ip(), 64);
            link.frame(kind(from.ip()), &udp(headers, (from.port(), to.port()), b"question"))
        };
        let ran = path.run(&frame, LOOPBACK);
        (ran.action != XDP_DROP).then_some(ran.frame)
    }

    /// Sends a client's packet, and where replies pass its answer; whether both went on.
    fn exchange(self, path: &PacketPath, (cpu, port): (u8, u16), [asks, answers]: [u8; 2]) -> bool {
        let Some(request) = self.send(path, self.request(cpu, port), asks) else { return false };
        let reply = ends(&request).filter(|_| self.replies_pass()).map(Ends::turned);
        reply.is_none_or(|reply| self.send(path, reply, answers).is_some())
    }

    /// Tries to begin a flow.
    fn begins(self, path: &PacketPath, (cpu, port): (u8, u16)) -> bool {
        self.exchange(path, (cpu, port), [SYN, SYN | ACK])
            && self.exchange(path, (cpu, port), [ACK, ACK])
    }

    /// How many flows begin that are tried, one for each port.
    fn begin(self, path: &PacketPath, ports: Range<u16>) -> usize {
        ports.filter(|port| self.begins(path, (0, *port))).count()
    }

    /// Sends what ends twenty TCP flows; tells how many flows it ends.
    fn end_some(self, path: &PacketPath) -> usize {
        if self.protocol != TCP {
            return 0;
        }
        for port in 1..=20 {
            let flags = if port <= 10 { [RST, RST] } else { [FIN | ACK, FIN | ACK] };
            self.exchange(path, (0, port), flags);
        }
        20
    }
}

/// A host of a network of IPv4.
const fn v4(network: u8, host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(network, 0, 113, host))
}

/// A host of a network of IPv6.
const fn v6(network: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host))
}

/// What the director sends from by full NAT and into tunnels.
fn set_sources(settings: &mut Settings) {
    let [(v4, _), (v6, _)] = [v4(10, 1), v6(0xb, 1)].map(address);
    (settings.nat_sources, settings.cpus) = ([1, 1], 2);
    (settings.nat_v4[0], settings.nat_v6[0]) = (v4[0], v6);
    (settings.nat_first_port, settings.nat_ports) = (10_000, 50_000);
    (settings.tunnel_v4, settings.tunnel_v6) = (v4[0], v6);
}

/// A director of all services, whose rule lets each source have [`MOST`] flows.
fn director() -> PacketPath {
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut tables = HostTables::with_buckets(BUCKETS, [1, 2]);
    tables.settings.generation = 1;
    set_sources(&mut tables.settings);
    tables.add_interface(LOOPBACK, [2; 6]);
    for service in services() {
        tables.add_vip(service.vip().ip(), CLOSED);
        let listener = tables.add_listener(service.vip(), service.protocol);
        let backend = tables.add_backend_by(service.forward, listener, service.backend(), hop);
        tables.set_slots(listener, &[backend]);
    }
    let mut path = PacketPath::load_with(BUCKETS, Size::for_prefixes(1_024));
    path.install(&tables);
    let per = Per { prefix_v4: 24, prefix_v6: 64 };
    let over = Some(Over::Flows { most: MOST, per });
    let rule = Rule { name: "open".to_owned(), over, ..Rule::any(Action::Drop) };
    let names = Names { counters: [(rule.name.clone(), 1)].into(), ..Names::default() };
    let firewall = Firewall { rules: vec![rule], max_prefixes: 1_024, ..Firewall::default() };
    path.firewall.write(&compile(&firewall, &Sets::new(), &names).unwrap()).unwrap();
    path
}

/// Cells from client to backend that are not closing.
fn open(path: &PacketPath) -> Vec<Cell> {
    let is_open =
        |cell: &Cell| cell.state().is_some_and(|state| state != State::Closing) && !cell.is_reply();
    cells(path).into_iter().filter(is_open).collect()
}

/// Counts all flows, as a sweep of the flow table does.
fn sweep(path: &PacketPath) {
    let key = path.settings.get(&0, 0).unwrap().hash_key;
    let open = path.firewall.open_flows();
    let mut count = open.begin();
    for (index, cell) in (0..).zip(cells(path)) {
        count.add(&key, cell, || path.details.get(&index, 0).ok());
    }
    open.settle(count);
}

/// Frees a flow that was idle for too long, as a sweep does.
fn expire(path: &mut PacketPath, ports: &Range<u16>) {
    for (index, cell) in (0..).zip(cells(path)) {
        let detail = path.details.get(&index, 0).unwrap();
        if !cell.is_empty() && ports.contains(&u16::from_be(detail.client_port)) {
            let (bucket, slot) = (index / CELLS, usize::try_from(index % CELLS).unwrap());
            let mut words = path.flows.get(&bucket, 0).unwrap();
            *words.get_mut(slot).unwrap() = Cell::EMPTY.0;
            path.flows.set(bucket, words, 0).unwrap();
        }
    }
}

/// What both CPUs do at once: each tries to begin 300 flows of each service; how many have begun.
fn live(path: &PacketPath, cpu: u8) -> usize {
    let mut begun = 0;
    for port in 1..=300 {
        for service in services() {
            begun += usize::from(service.begins(path, (cpu, port)));
            // What one CPU has seen begin, the other sees end; there is time to begin others.
            if service.protocol == TCP && port % 10 == 0 && port <= 200 {
                service.send(path, service.request(1 - cpu, port / 2), RST);
            }
        }
    }
    begun
}

#[test]
fn two_cpus_at_once_let_each_source_have_as_many_flows_as_the_rule_says() {
    let path = director();
    let begun: usize = on_two_cpus(|cpu| live(&path, cpu)).into_iter().sum();
    let open = open(&path);
    for service in services() {
        // The id of its only backend.
        let of_service = open.iter().filter(|cell| cell.backend() == u32::from(service.number));
        let n_open = u32::try_from(of_service.count()).unwrap();
        // Each CPU may let one through that the other is about to count.
        assert!(n_open.abs_diff(MOST) <= MOST / 20, "{n_open} are open of {service:?}");
    }
    let refused = path.verdict(Verdict::FirewallDrop.number()).packets;
    println!("{begun} have begun, {refused} were refused, {} are open", open.len());
    let tried = services().len() * 2 * 300;
    assert_eq!(begun + usize::try_from(refused).unwrap(), tried);
}

#[test]
fn what_ends_makes_room_and_what_never_ends_does_not() {
    pin_to_cpu(0);
    let mut path = director();
    let begin = |path: &PacketPath, ports: Range<u16>, wanted: usize, why: &str| {
        for service in services() {
            assert_eq!(service.begin(path, ports.clone()), wanted, "{why}, of {service:?}");
        }
    };
    let most = usize::try_from(MOST).unwrap();
    begin(&path, 1..200, most, "as many as the rule lets");
    for service in services() {
        let ended = service.end_some(&path);
        assert_eq!(service.begin(&path, 200..300), ended, "ended, of {service:?}");
    }
    expire(&mut path, &(30..60));
    begin(&path, 300..310, 0, "nobody has seen them end");
    sweep(&path);
    begin(&path, 310..400, 30, "they were idle for too long");
    for _ in 0..3 {
        sweep(&path);
        begin(&path, 400..410, 0, "they never end");
    }
    assert_eq!(open(&path).len(), services().len() * most);
}
