//! Limits of rules in the kernel: exact over all CPUs, each source by itself, and no flow ends by one.
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

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use lb_agent::model::firewall::compile::{Names, Size, compile};
use lb_agent::model::firewall::{
    Action, Counted, Firewall, Match, Over, OverRate, Per, Rate, Rule, Sets, TcpFlags, Unit,
};
use lb_common::verdict::Verdict;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};
use lb_tests::clock::now;

use packet_path::frames::{ACK, Ends, Link, SYN, tcp_frame, v4};
use packet_path::shop::on_two_cpus;
use packet_path::{PacketPath, counted, pin_to_cpu};

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
/// The same without a limit.
const FREE: SocketAddr = v4([203, 0, 113, 10], 81);
const BACKEND: SocketAddr = v4([10, 0, 0, 1], 8080);
const BACKENDS_SIDE: u32 = 1;
const LOOPBACK: u32 = 1;
const BUCKETS: usize = 32_768;
const PER_SECOND: u32 = 500;
/// What comes in a second, so that a thread which waits for its CPU loses none.
const BURST: u32 = 500;
/// In which packets are counted that a rule let go on.
const XDP_PASS: u32 = 2;

fn link() -> Link {
    Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: vec![] }
}

fn over(count: Counted, per: Option<Per>) -> Over {
    let rate = Rate { amount: PER_SECOND, unit: Unit::Second };
    Over::Rate(OverRate { rate, burst: BURST, count, per })
}

/// A director with these rules, which count from 1 on.
fn director(rules: Vec<Rule>) -> PacketPath {
    let hop = NextHop { interface: BACKENDS_SIDE, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut tables = HostTables::with_buckets(BUCKETS, [1, 2]);
    tables.settings.generation = 1;
    tables.add_vip(VIP.ip(), CLOSED);
    tables.add_interface(LOOPBACK, [2; 6]);
    for vip in [VIP, FREE] {
        let listener = tables.add_listener(vip, TCP);
        let port = BACKEND.port() + u16::from(vip == FREE);
        let backend = tables.add_backend(listener, SocketAddr::new(BACKEND.ip(), port), hop);
        tables.set_slots(listener, &[backend]);
    }
    let mut path = PacketPath::load_with(BUCKETS, Size::for_prefixes(1_024));
    path.install(&tables);
    let counters = (1..).zip(&rules).map(|(number, rule)| (rule.name.clone(), number)).collect();
    let firewall = Firewall { rules, max_prefixes: 1_024, ..Firewall::default() };
    let names = Names { counters, ..Names::default() };
    let compiled = compile(&firewall, &Sets::new(), &names).unwrap();
    path.firewall.write(&compiled).unwrap();
    path
}

/// Has every flow be judged anew, as after a change of the rules.
fn judge_anew(path: &mut PacketPath) {
    let mut settings = path.settings.get(&0, 0).unwrap();
    settings.generation = settings.generation % 3 + 1;
    path.settings.set(0, settings, 0).unwrap();
}

fn rule(name: &str, over: Option<Over>) -> Rule {
    Rule { name: name.to_owned(), over, ..Rule::any(Action::Drop) }
}

/// Asserts that as many went on as the limit lets, within 5%.
fn exact(went_on: u64, since: Instant, what: &str) {
    let seconds = since.elapsed().as_secs_f64();
    let wanted = f64::from(BURST) + f64::from(PER_SECOND) * seconds;
    let went_on = f64::from(u32::try_from(went_on).unwrap());
    println!("{what}: {went_on} of {wanted:.0} in {seconds:.2} s");
    assert!((went_on - wanted).abs() <= wanted / 20.0, "{what}: {went_on} of {wanted}");
}

/// Of what sources of one prefix each send, how much goes on.
fn send_from(path: &PacketPath, cpu: u8, flags: u8) -> [u64; 5] {
    let mut went_on = [0; 5];
    for round in 0..6_000_u16 {
        let [high, low] = round.to_be_bytes();
        let mut sources: Vec<IpAddr> = vec![
            [10, 1, 1, low].into(),
            [10, 1, 2, low].into(),
            [0x2001, 0xdb8, 0, 1, 0, 0, high.into(), low.into()].into(),
            [0x2001, 0xdb8, 0, 2, 0, 0, high.into(), low.into()].into(),
        ];
        // One that stays below the limit all the time.
        if round % 100 == 0 {
            sources.push([10, 1, 3 + cpu, low].into());
        }
        for (source, went_on) in sources.into_iter().zip(&mut went_on) {
            let to: IpAddr = if source.is_ipv4() {
                [192, 0, 2, 9].into()
            } else {
                [0x2001, 0xdb8, 9, 9, 0, 0, 0, 9].into()
            };
            let ends =
                Ends { source: SocketAddr::new(source, 5_000), destination: (to, 53).into() };
            let ran = path.run(&tcp_frame(&link(), ends, flags, &[]), LOOPBACK);
            *went_on += u64::from(ran.action == XDP_PASS);
        }
    }
    went_on
}

/// The same, all of them on both CPUs at once, to a director with such a limit.
fn limited(count: Counted, per: Option<Per>) -> (PacketPath, Instant, [u64; 5]) {
    let always = Match::Prefix("10.9.0.0/16".parse().unwrap());
    let path = director(vec![
        Rule { dports: vec![53..=53], ..rule("limit", Some(over(count, per))) },
        Rule { sources: vec![always], ..rule("after", None) },
    ]);
    let flags = match count {
        Counted::Packets => ACK,
        Counted::NewFlows => SYN,
    };
    let began = now();
    let [mut went_on, of_other] = on_two_cpus(|cpu| send_from(&path, cpu, flags));
    went_on.iter_mut().zip(of_other).for_each(|(sum, more)| *sum += more);
    (path, began, went_on)
}

#[test]
fn each_source_has_a_limit_of_its_own_over_all_cpus() {
    for count in [Counted::Packets, Counted::NewFlows] {
        let per = Some(Per { prefix_v4: 24, prefix_v6: 64 });
        let (path, began, went_on) = limited(count, per);
        for (source, went_on) in went_on[..4].iter().enumerate() {
            exact(*went_on, began, &format!("{count:?} of source {source}"));
        }
        assert_eq!(went_on[4], 2 * 60, "one that is below its limit is never above it");
        let below = Ends { source: v4([10, 9, 1, 1], 5_000), destination: v4([192, 0, 2, 9], 53) };
        for _ in 0..10 {
            path.run(&tcp_frame(&link(), below, ACK, &[]), LOOPBACK);
        }
        assert_eq!(counted(&path.rule_counts, 2).packets, 10, "the next rule decides");
    }
}

#[test]
fn a_rule_has_one_limit_for_all_sources_over_all_cpus() {
    for count in [Counted::Packets, Counted::NewFlows] {
        let (_, began, went_on) = limited(count, None);
        exact(went_on.iter().sum(), began, &format!("{count:?}"));
    }
}

/// A connection through a service, as far as that it is established.
fn connect(path: &PacketPath, vip: SocketAddr, port: u16) -> (Ends, Ends) {
    let ends = Ends { source: v4([198, 51, 100, 7], port), destination: vip };
    let server = SocketAddr::new(BACKEND.ip(), BACKEND.port() + u16::from(vip == FREE));
    let reply = Ends { source: server, destination: ends.source };
    path.run(&tcp_frame(&link(), ends, SYN, &[]), LOOPBACK);
    path.run(&tcp_frame(&link(), reply, SYN | ACK, &[]), LOOPBACK);
    path.run(&tcp_frame(&link(), ends, ACK, &[]), LOOPBACK);
    (ends, reply)
}

#[test]
fn packets_of_known_flows_count_and_no_flow_ends_by_that() {
    pin_to_cpu(0);
    let flags = Some(TcpFlags { mask: SYN | ACK, value: ACK });
    let mut path = director(vec![Rule {
        dports: vec![80..=80],
        tcp_flags: flags,
        ..rule("acks", Some(over(Counted::Packets, None)))
    }]);
    let (request, reply) = connect(&path, VIP, 40_000);
    let (free, _) = connect(&path, FREE, 40_001);
    let count = |verdict: Verdict| path.verdict(verdict.number()).packets;
    let (before, began) = (count(Verdict::ToBackend), now());
    for _ in 0..30_000 {
        path.run(&tcp_frame(&link(), request, ACK, b"x"), LOOPBACK);
    }
    // The first ACK came before.
    exact(count(Verdict::ToBackend) - before + 1, began, "packets of a flow");
    // Now the rules are asked about replies too.
    judge_anew(&mut path);
    let count = |verdict: Verdict| path.verdict(verdict.number()).packets;
    let (before, dropped) = (count(Verdict::ToClient), count(Verdict::FirewallDrop));
    for _ in 0..1_000 {
        path.run(&tcp_frame(&link(), reply, ACK, b"y"), LOOPBACK);
        path.run(&tcp_frame(&link(), free, ACK, b"x"), LOOPBACK);
    }
    assert_eq!(count(Verdict::ToClient) - before, 1_000);
    assert_eq!(count(Verdict::FirewallDrop), dropped, "neither replies nor other flows count");
}

#[test]
fn new_flows_count_and_not_what_follows() {
    let mut path = director(vec![Rule {
        dports: vec![80..=80],
        ..rule("new", Some(over(Counted::NewFlows, None)))
    }]);
    let began = now();
    on_two_cpus(|cpu| {
        for port in 1..=30_000 {
            let source = v4([198, 51, 100, cpu], port);
            let ends = Ends { source, destination: VIP };
            path.run(&tcp_frame(&link(), ends, SYN, &[]), LOOPBACK);
        }
    });
    let count = |verdict: Verdict| path.verdict(verdict.number()).packets;
    let (began_flows, dropped) = (count(Verdict::ToBackend), count(Verdict::FirewallDrop));
    exact(began_flows, began, "new flows");
    assert_eq!(began_flows + dropped, 60_000);
    let first = Ends { source: v4([198, 51, 100, 0], 1), destination: VIP };
    let elsewhere = Ends { destination: v4([192, 0, 2, 9], 80), ..first };
    for _ in 0..1_000 {
        judge_anew(&mut path);
        path.run(&tcp_frame(&link(), first, ACK, b"x"), LOOPBACK);
        path.run(&tcp_frame(&link(), elsewhere, ACK, b"x"), LOOPBACK);
    }
    let count = |verdict: Verdict| path.verdict(verdict.number()).packets;
    assert_eq!(count(Verdict::FirewallDrop), dropped, "packets without SYN begin none");
    assert_eq!(count(Verdict::ToBackend), began_flows + 1_000);
    assert_eq!(count(Verdict::NotOurs), 1_000);
}
