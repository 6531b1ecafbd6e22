//! How many flows each source has open, in the kernel: exact over all CPUs, whichever way flows end.
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
use std::sync::Barrier;

use lb_agent::model::firewall::compile::{Names, Size, compile};
use lb_agent::model::firewall::{Action, Firewall, Over, Per, Rule, Sets};
use lb_common::cell::{Cell, State};
use lb_common::verdict::Verdict;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};

use packet_path::frames::{ACK, Ends, FIN, Link, RST, SYN, tcp_frame, v4};
use packet_path::{PacketPath, cells, pin_to_cpu};

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const BACKEND: SocketAddr = v4([10, 0, 0, 1], 8080);
const VIP_V6: SocketAddr = v6(1, 80);
const BACKEND_V6: SocketAddr = v6(2, 8080);
const LOOPBACK: u32 = 1;
const BUCKETS: usize = 4_096;
const CELLS: u32 = 8;
const XDP_DROP: u32 = 1;
/// How many flows a source may have.
const MOST: u32 = 100;

/// The tenth host of a subnet.
const fn v6(subnet: u16, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, 10)), port)
}

fn link() -> Link {
    Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: vec![] }
}

/// A director whose rule lets each source have [`MOST`] flows.
fn director() -> PacketPath {
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut tables = HostTables::with_buckets(BUCKETS, [1, 2]);
    tables.settings.generation = 1;
    tables.add_interface(LOOPBACK, [2; 6]);
    for (vip, backend) in [(VIP, BACKEND), (VIP_V6, BACKEND_V6)] {
        tables.add_vip(vip.ip(), CLOSED);
        let listener = tables.add_listener(vip, TCP);
        let backend = tables.add_backend(listener, backend, hop);
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

/// Two sources, of which each is a prefix: addresses differ by CPU.
#[derive(Clone, Copy)]
enum Source {
    V4,
    V6,
}

impl Source {
    fn ends(self, cpu: u8, port: u16) -> (Ends, Ends) {
        let (client, vip, backend): (SocketAddr, _, _) = match self {
            Self::V4 => ((Ipv4Addr::new(198, 51, 100, cpu), port).into(), VIP, BACKEND),
            Self::V6 => {
                let client = Ipv6Addr::new(0x2001, 0xdb8, 9, 9, cpu.into(), 0, 0, 7);
                ((client, port).into(), VIP_V6, BACKEND_V6)
            }
        };
        let request = Ends { source: client, destination: vip };
        (request, Ends { source: backend, destination: client })
    }
}

fn send(path: &PacketPath, ends: Ends, flags: u8) -> bool {
    path.run(&tcp_frame(&link(), ends, flags, &[]), LOOPBACK).action != XDP_DROP
}

/// Tries to begin a flow.
fn begins(path: &PacketPath, source: Source, (cpu, port): (u8, u16)) -> bool {
    let (request, reply) = source.ends(cpu, port);
    send(path, request, SYN) && send(path, reply, SYN | ACK) && send(path, request, ACK)
}

/// How many flows begin that are tried, one for each port.
fn begin(path: &PacketPath, source: Source, cpu: u8, ports: Range<u16>) -> usize {
    ports.filter(|port| begins(path, source, (cpu, *port))).count()
}

/// Cells from client to backend that are not closing, with their index.
fn open(path: &PacketPath) -> Vec<(usize, Cell)> {
    let is_open =
        |cell: &Cell| cell.state().is_some_and(|state| state != State::Closing) && !cell.is_reply();
    cells(path).into_iter().enumerate().filter(|(_, cell)| is_open(cell)).collect()
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

#[test]
fn two_cpus_at_once_let_each_source_have_as_many_flows_as_the_rule_says() {
    let path = director();
    let start = Barrier::new(2);
    let begun: Vec<[usize; 2]> = std::thread::scope(|scope| {
        let (path, start) = (&path, &start);
        let live = |cpu: u8| {
            move || {
                pin_to_cpu(cpu.into());
                start.wait();
                let mut begun = [0; 2];
                for port in 1..=300 {
                    for (source, begun) in [Source::V4, Source::V6].into_iter().zip(&mut begun) {
                        *begun += usize::from(begins(path, source, (cpu, port)));
                        // What one CPU has seen begin, the other sees end; there is time to begin others.
                        let (request, _) = source.ends(1 - cpu, port / 2);
                        if port % 10 == 0 && port <= 200 {
                            send(path, request, RST);
                        }
                    }
                }
                begun
            }
        };
        let threads = [0, 1].map(|cpu| scope.spawn(live(cpu)));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let n_open = open(&path).len();
    println!("{begun:?} have begun, {n_open} are open");
    // Each CPU may let one through that the other is about to count.
    let most = 2 * usize::try_from(MOST).unwrap();
    assert!(n_open.abs_diff(most) <= most / 20, "{n_open} are open");
    let refused = path.verdict(Verdict::FirewallDrop.number()).packets;
    assert_eq!(
        begun.as_flattened().iter().sum::<usize>() + usize::try_from(refused).unwrap(),
        1_200
    );
}

#[test]
fn what_ends_makes_room_and_what_never_ends_does_not() {
    pin_to_cpu(0);
    for source in [Source::V4, Source::V6] {
        let mut path = director();
        let most = usize::try_from(MOST).unwrap();
        assert_eq!(begin(&path, source, 0, 1..200), most);
        for port in 1..=10 {
            let (request, reply) = source.ends(0, port);
            send(&path, request, RST);
            let (request, reply_too) = source.ends(0, port + 10);
            send(&path, request, FIN | ACK);
            send(&path, reply_too, FIN | ACK);
            send(&path, reply, RST);
        }
        assert_eq!(begin(&path, source, 0, 200..300), 20, "flows that have ended");
        expire(&mut path, &(30..60));
        assert_eq!(begin(&path, source, 0, 300..310), 0, "nobody has seen them end");
        sweep(&path);
        assert_eq!(begin(&path, source, 0, 310..400), 30, "flows that were idle for too long");
        for _ in 0..3 {
            sweep(&path);
            assert_eq!(begin(&path, source, 0, 400..410), 0, "flows that never end");
        }
        assert_eq!(open(&path).len(), most);
    }
}
