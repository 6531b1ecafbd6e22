//! Rules and sets change while two CPUs judge packets: none is lost, and none meets a mix of old and new.
//!
//! Under each of the firewalls every packet is dropped, by another rule. What leads there differs in every map: an
//! address has another class, a class other rules, a rule another number, and a packet that met some of one and some of
//! another would be accepted, or counted by a rule that never decides.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lb_agent::model::firewall::compile::{Compiled, Names, Size, compile};
use lb_agent::model::firewall::{Action, Firewall, IpProtocol, Match, Rule, Sets};
use lb_common::verdict::Verdict;
use lb_tests::clock::now;

use crate::packet_path::frames::{ip_headers, kind, tcp};
use crate::packet_path::{PacketPath, counted, pin_to_cpu, run_often};
use crate::{LINK, LOOPBACK, tables};

/// Most changes of the firewall. Each waits until no packet is under way that was there before, since the next one is
/// written over what such a packet reads: some 15 ms, or more where much else goes on.
const SWAPS: usize = 2_000;
const LONGEST: Duration = Duration::from_secs(15);
/// Packets of one call of a program.
const BURST: usize = 200;
const PORT: u16 = 53;

/// Counters: those of the rules that drop, by firewall, and those of rules that never decide.
const DROPS: [u32; 4] = [1, 2, 3, 4];
const NEVER: u32 = 5;

fn prefix(text: &str) -> Match {
    Match::Prefix(text.parse().unwrap())
}

fn rule(name: String, action: Action, sources: &[&str]) -> Rule {
    let sources = sources.iter().map(|text| prefix(text)).collect();
    Rule { name, sources, ..Rule::any(action) }
}

/// What comes from these addresses is dropped by a rule with this counter, whether a port is asked for or not.
fn firewall(counter: u32, sources: &[&str], others: &[&str], asks_port: bool) -> Arc<Compiled> {
    let never = |number: usize| format!("never{number}");
    // Each stands where another firewall has the rule that decides.
    let mut rules: Vec<Rule> = (0..usize::try_from(counter).unwrap())
        .map(|number| rule(never(number), Action::Accept, others))
        .collect();
    let mut drops = rule("drops".to_owned(), Action::Drop, sources);
    if asks_port {
        drops.protocol = Some(IpProtocol::TCP);
        drops.dports = vec![PORT..=PORT];
    }
    rules.push(drops);
    rules.push(rule(never(rules.len()), Action::Accept, &[]));
    let counters = rules.iter().map(|rule| {
        let number = if rule.action == Action::Drop { counter } else { NEVER };
        (rule.name.clone(), number)
    });
    let names = Names { counters: counters.collect(), ..Names::default() };
    let firewall = Firewall { rules, max_prefixes: 256, ..Firewall::default() };
    compile(&firewall, &Sets::new(), &names).unwrap()
}

fn firewalls() -> [Arc<Compiled>; 4] {
    [
        firewall(1, &["10.1.2.0/24", "2001:db8:1::/48"], &["10.0.0.0/16", "2001::/32"], false),
        firewall(
            2,
            &["10.1.2.3/32", "2001:db8:1::1/128"],
            &["10.1.2.128/25", "2001:db8:2::/48"],
            true,
        ),
        firewall(3, &["10.0.0.0/8", "2000::/3"], &["192.0.2.0/24", "fc00::/7"], true),
        firewall(
            4,
            &["10.1.2.2/31", "2001:db8:1::/64"],
            &["10.1.2.4/30", "2001:db8:1:1::/64"],
            false,
        ),
    ]
}

fn frame(source: &str, destination: SocketAddr) -> Vec<u8> {
    let source: IpAddr = source.parse().unwrap();
    let ports = (1_024, destination.port());
    LINK.frame(kind(source), &tcp(ip_headers(source, destination.ip(), 64), ports, 2, &[]))
}

#[test]
fn rules_that_change_under_load_lose_no_packet_and_never_mix() {
    let (tables, _) = tables();
    let mut path = PacketPath::load_with(64, Size::for_prefixes(256));
    path.install(&tables);
    let firewalls = firewalls();
    let frames = [
        frame("10.1.2.3", SocketAddr::from(([192, 0, 2, 9], PORT))),
        frame("2001:db8:1::1", "[2001:db8:9::9]:53".parse().unwrap()),
    ];
    path.firewall.write(&firewalls[0]).unwrap();
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut n_swaps = 0;
    let (program, maps) = path.with_firewall();
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let (frames, is_over, sent) = (&frames, &is_over, &sent);
            scope.spawn(move || {
                pin_to_cpu(cpu);
                while !is_over.load(Ordering::Relaxed) {
                    for frame in frames {
                        run_often(program, frame, LOOPBACK, BURST);
                        sent.fetch_add(BURST.try_into().unwrap(), Ordering::Relaxed);
                    }
                }
            });
        }
        let end = now() + LONGEST;
        let swaps = firewalls.iter().cycle().skip(1).take(SWAPS);
        let swaps = swaps.take_while(|_| now() < end);
        let written: Result<Vec<()>, _> = swaps.map(|firewall| maps.write(firewall)).collect();
        is_over.store(true, Ordering::Relaxed);
        n_swaps = written.unwrap().len();
    });
    let sent = sent.into_inner();
    let by_rule = DROPS.map(|number| counted(&path.rule_counts, number).packets);
    println!("{n_swaps} changes, {sent} packets, dropped by {by_rule:?}");
    assert_eq!(path.verdict(Verdict::FirewallDrop.number()).packets, sent);
    assert_eq!(counted(&path.rule_counts, NEVER).packets, 0);
    assert_eq!(by_rule.iter().sum::<u64>(), sent);
    assert!(by_rule.iter().all(|packets| *packets > 1_000), "{by_rule:?}");
}
