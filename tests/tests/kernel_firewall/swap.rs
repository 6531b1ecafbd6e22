//! Rules and sets change while two CPUs judge packets: none is lost, and none meets a mix of old and new.
//!
//! Under each of the firewalls every packet is dropped, by another rule. What leads there differs in every map: an
//! address has another class, a class other rules, a rule another number, and a packet that met some of one and some of
//! another would be accepted, or counted by a rule that never decides.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lb_agent::io::datapath::FirewallMaps;
use lb_agent::model::firewall::compile::{Compiled, Names, Order, Recipe, Size, compile};
use lb_agent::model::firewall::{Action, Firewall, IpProtocol, Match, Rule, Sets};
use lb_common::verdict::Verdict;
use lb_tests::clock::now;

use crate::packet_path::frames::{ip_headers, kind, tcp};
use crate::packet_path::{PacketPath, counted, pin_to_cpu, run_often};
use crate::{LINK, LOOPBACK, tables};

/// Most changes of the firewall. Each waits until no packet is under way that was there before, since the next one is
/// written over what such a packet reads: some 15 ms, or more where much else goes on.
const CHANGES: usize = 2_000;
const LONGEST: Duration = Duration::from_secs(15);
/// Packets of one call of a program.
const BURST: usize = 200;
const PORT: u16 = 53;
const MAX_PREFIXES: u32 = 256;

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
    let firewall = Firewall { rules, max_prefixes: MAX_PREFIXES, ..Firewall::default() };
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

/// Sends frames on two CPUs at once while the firewall changes, as long as that works and there is time; says how often
/// it has, and how many frames were sent.
fn change_under_load(
    path: &mut PacketPath,
    frames: &[Vec<u8>],
    mut change: impl FnMut(&mut FirewallMaps),
) -> (usize, u64) {
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut n_changes = 0;
    let (program, maps) = path.with_firewall();
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let (is_over, sent) = (&is_over, &sent);
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
        // Else the others would go on for ever.
        let changed = catch_unwind(AssertUnwindSafe(|| {
            while n_changes < CHANGES && now() < end {
                change(maps);
                n_changes += 1;
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        changed.unwrap();
    });
    (n_changes, sent.into_inner())
}

/// Asserts that all packets were dropped by these rules, each by many.
fn all_dropped(path: &PacketPath, (n_changes, sent): (usize, u64), drops: &[u32]) {
    let by_rule = drops.iter().map(|number| counted(&path.rule_counts, *number).packets);
    let by_rule: Vec<u64> = by_rule.collect();
    println!("{n_changes} changes, {sent} packets, dropped by {by_rule:?}");
    assert_eq!(path.verdict(Verdict::FirewallDrop.number()).packets, sent);
    assert_eq!(counted(&path.rule_counts, NEVER).packets, 0);
    assert_eq!(by_rule.iter().sum::<u64>(), sent);
    assert!(by_rule.iter().all(|packets| *packets > 1_000), "{by_rule:?}");
}

fn loaded() -> (PacketPath, [Vec<u8>; 2]) {
    let (tables, _) = tables();
    let mut path = PacketPath::load_with(64, Size::for_prefixes(MAX_PREFIXES));
    path.install(&tables);
    let frames = [
        frame("10.1.2.3", SocketAddr::from(([192, 0, 2, 9], PORT))),
        frame("2001:db8:1::1", "[2001:db8:9::9]:53".parse().unwrap()),
    ];
    (path, frames)
}

#[test]
fn rules_that_change_under_load_lose_no_packet_and_never_mix() {
    let (mut path, frames) = loaded();
    let firewalls = firewalls();
    path.firewall.write(&firewalls[0]).unwrap();
    let mut others = firewalls.iter().cycle().skip(1);
    let done = change_under_load(&mut path, &frames, |maps| {
        maps.write(others.next().unwrap()).unwrap();
    });
    all_dropped(&path, done, &DROPS);
}

/// One after the other each is added to a set, and then each is deleted. All hold the source of a packet, or lie beside it.
const ELEMENTS: [&str; 12] = [
    "10.1.2.3/32",
    "10.1.2.2/31",
    "10.1.2.4/32",
    "10.1.2.0/25",
    "10.1.2.0/24",
    "10.1.0.0/20",
    "2001:db8:1::1/128",
    "2001:db8:1::/127",
    "2001:db8:1::/64",
    "2001:db8:1:1::/64",
    "2001:db8:1::/48",
    "2001:db8::/33",
];

/// What is in the set `some` is dropped by the first rule, and all others by the second: their prefixes are in the set
/// `all`. Elements that stay make those that come lie in sets as others do, so that a patch is enough for them.
fn of_sets() -> Recipe {
    let set = |name: &str| vec![Match::Set(name.to_owned())];
    let drops =
        |name: &str| Rule { sources: set(name), ..rule(name.to_owned(), Action::Drop, &[]) };
    let rules = vec![drops("some"), drops("all"), rule("never".to_owned(), Action::Accept, &[])];
    let numbers = [("some", DROPS[0]), ("all", DROPS[1]), ("never", NEVER)];
    let counters = numbers.map(|(name, number)| (name.to_owned(), number)).into();
    let elements = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let sets = [
        (
            "some",
            elements(&["10.9.9.0/24", "10.9.9.9/32", "2001:db8:99::/48", "2001:db8:99::9/128"]),
        ),
        ("all", elements(&["10.0.0.0/8", "2001:db8::/32"])),
    ];
    Recipe {
        firewall: Firewall { rules, max_prefixes: MAX_PREFIXES, ..Firewall::default() },
        sets: sets.map(|(name, set)| (name.to_owned(), set)).into(),
        names: Names { counters, ..Names::default() },
    }
}

#[test]
fn sets_that_change_by_single_prefixes_under_load_lose_no_packet_and_never_mix() {
    let (mut path, frames) = loaded();
    let mut recipe = of_sets();
    let mut compiled = recipe.compile().unwrap();
    path.firewall.write(&compiled).unwrap();
    let mut next = ELEMENTS.iter().cycle().enumerate();
    let done = change_under_load(&mut path, &frames, |maps| {
        let (number, text) = next.next().unwrap();
        let adds = (number / ELEMENTS.len()).is_multiple_of(2);
        let before = Some((recipe.clone(), Arc::clone(&compiled)));
        let (set, element) = (recipe.sets.get_mut("some").unwrap(), text.parse().unwrap());
        if adds {
            set.add(element);
        } else {
            set.delete(element);
        }
        let order = Order { recipe: recipe.clone(), before };
        compiled = maps.difference(&order).unwrap_or_else(|| panic!("no patch: {text}, {number}"));
        maps.write(&compiled).unwrap();
    });
    all_dropped(&path, done, &DROPS[..2]);
}
