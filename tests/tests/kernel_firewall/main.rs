//! The rules in the kernel against a model of them in plain Rust: what becomes of each packet, and which rule counts it.
//!
//! `FIREWALL_SEED` repeats a run: its number is printed.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "a module that several tests share")]

mod limits;
mod model;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../packet_path/mod.rs"]
mod packet_path;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../kernel_equality/packets.rs"]
mod packets;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../kernel_equality/random.rs"]
mod random;
mod rules;
mod swap;
mod traffic;

use std::collections::BTreeMap;
use std::mem::replace;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aya::maps::{Array, MapData};
use lb_agent::model::firewall::compile::{
    CompileError, Compiled, Names, Order, Recipe, Size, builtins, compile,
};
use lb_agent::model::firewall::{Action, Firewall, Match, Rule, Sets};
use lb_common::layout::Bucket;
use lb_common::map;
use lb_common::verdict::Verdict;
use lb_ebpf::first;
use lb_ebpf::host::{CLOSED, HostFirewall, HostFrame, HostTables};
use lb_ebpf::packet::Packet as Whole;

use limits::{Ledger, begin_in_the_kernel, begin_on_the_host, open_flows};
use model::{Content, Model};
use packet_path::firewall::on_the_host;
use packet_path::frames::{Link, v4};
use packet_path::{PacketPath, counted, pin_to_cpu};
use random::Random;
use rules::{SERVICES, firewall, place, prefix};
use traffic::{Flaw, Sent, packet};

/// Pairs of rules and a packet.
const PAIRS: usize = 100_000;
/// Packets for each set of rules.
const PACKETS: usize = 500;
/// Changes of a set by one prefix, meanwhile.
const CHANGES: usize = 3;
const LOOPBACK: u32 = 1;
const LINK: Link = Link { destination: [2; 6], source: [4; 6], tags: Vec::new() };

fn services() -> Vec<(&'static str, SocketAddr, u8)> {
    vec![
        (SERVICES[0], v4([203, 0, 113, 10], 80), 6),
        (SERVICES[0], "[2001:db8:f::10]:80".parse().unwrap(), 6),
        (SERVICES[1], v4([203, 0, 113, 10], 53), 17),
        (SERVICES[1], "[2001:db8:f::11]:53".parse().unwrap(), 17),
        (SERVICES[2], v4([203, 0, 113, 12], 25), 6),
    ]
}

/// The services without backends: what the rules accept is `no_backend`.
fn tables() -> (HostTables, BTreeMap<String, Vec<u32>>) {
    let mut tables = HostTables::new(64, [5, 6]);
    tables.add_interface(LOOPBACK, LINK.destination);
    let mut ids: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (name, vip, protocol) in services() {
        tables.add_vip(vip.ip(), CLOSED);
        ids.entry(name.to_owned()).or_default().push(tables.add_listener(vip, protocol));
    }
    (tables, ids)
}

fn names(random: &mut Random, services: BTreeMap<String, Vec<u32>>, firewall: &Firewall) -> Names {
    let mut names = Names {
        services,
        host: vec!["10.1.2.65".parse().unwrap(), "2001:db8:1:2::5".parse().unwrap()],
        servers: vec![v4([192, 0, 2, 1], 8080)],
        counters: (1..).zip(&firewall.rules).map(|(n, rule)| (rule.name.clone(), n)).collect(),
        ..Names::default()
    };
    // With such lists the source alone tells nothing of what is for a service.
    let has_lists = random.chance(50);
    for service in SERVICES {
        if has_lists && random.chance(40) {
            let list = (0..=random.below(4)).map(|_| place(random)).collect();
            names.allows.insert(service.to_owned(), list);
        }
    }
    names
}

/// What the packet path is to say of a packet, and the number of the counter.
fn expected(sent: &Sent, recipe: &Recipe, ledger: &mut Ledger) -> (Verdict, Option<u32>) {
    let Recipe { firewall, sets, names } = recipe;
    match sent.flaw {
        Flaw::Truncated => return (Verdict::Malformed, None),
        Flaw::Unfollowed => return (Verdict::ExtensionHeaders, None),
        Flaw::None => {}
    }
    let mut packet = sent.packet.clone();
    let to = packet.service.clone();
    if packet.content == Content::Later {
        // It does not say which service it is for.
        packet.service = None;
    }
    let rules = [builtins(firewall, names), firewall.rules.clone()].concat();
    let allow = packet.service.as_ref().and_then(|name| names.allows.get(name));
    let (policy, allow) = (firewall.policy, allow.map(Vec::as_slice));
    let mut model = Model { rules: &rules, sets, policy, allow, ledger };
    let judged = model.judge(&packet);
    let counter = match (judged.rule, judged.verdict) {
        (Some(rule), _) => names.counters.get(rule).copied(),
        (None, Some(Verdict::FirewallPolicy)) => Some(0),
        (None, _) => None,
    };
    let accepted = match to {
        Some(_) if packet.content == Content::Later => Verdict::Fragment,
        Some(_) => Verdict::NoBackend,
        None => Verdict::NotOurs,
    };
    (judged.verdict.unwrap_or(accepted), counter)
}

/// Whether the first program judges a packet without a look at the rules.
fn is_judged_by_source(host: &HostTables, frame: &[u8]) -> bool {
    first(&mut Whole::new(HostFrame::new(frame, LOOPBACK)), host).is_some()
}

/// Adds a prefix to a set, or deletes one.
fn change_a_set(random: &mut Random, sets: &mut Sets) {
    let set = sets.get_mut(random.pick(&["a", "b"])).unwrap();
    let present: Vec<_> = set.iter().collect();
    if random.chance(50) || present.is_empty() {
        set.add(prefix(random));
    } else {
        set.delete(random.pick(&present));
    }
}

/// The packet path in the kernel and on the host, with the same firewall.
struct Twins {
    path: PacketPath,
    /// What is left of limits in the kernel.
    limited: Array<MapData, Bucket>,
    host: HostTables,
}

impl Twins {
    fn new(host: HostTables) -> Self {
        let mut path = PacketPath::load_with(64, Size::for_prefixes(2_000));
        path.install(&host);
        Self { limited: path.map(map::FIREWALL_LIMITED), path, host }
    }

    /// Has another firewall be in force, while sources have these flows open.
    fn begin(&mut self, compiled: &Compiled, open: &[IpAddr]) {
        self.path.firewall.write(compiled).unwrap();
        if compiled.half().is_some_and(|half| !half.limits.is_empty()) {
            begin_in_the_kernel(&self.path, &mut self.limited, open);
        }
        self.host.firewall = on_the_host(compiled, LOOPBACK);
        begin_on_the_host(&self.host, compiled, open);
    }

    /// Has the sets be others, by a patch where that can be; what has been taken of limits stays.
    fn change(
        &mut self,
        recipe: &Recipe,
        before: (Recipe, Arc<Compiled>),
    ) -> (Arc<Compiled>, bool) {
        let whole = recipe.compile().unwrap();
        let HostFirewall { limited, source_flows, .. } =
            replace(&mut self.host.firewall, on_the_host(&whole, LOOPBACK));
        self.host.firewall.limited = limited;
        self.host.firewall.source_flows = source_flows;
        let order = Order { recipe: recipe.clone(), before: Some(before) };
        let difference = self.path.firewall.difference(&order);
        let is_patch = difference.is_some();
        let compiled = difference.unwrap_or(whole);
        self.path.firewall.write(&compiled).unwrap();
        (compiled, is_patch)
    }

    /// Sends a packet to both, of which this is to become.
    fn send(&self, sent: &Sent, (verdict, counter): (Verdict, Option<u32>)) {
        let what = format!("{verdict:?} by {counter:?}: {:?} {:?}", sent.packet, sent.flaw);
        let (outcome, _) = self.host.send(HostFrame::new(&sent.frame, LOOPBACK));
        assert_eq!(outcome.verdict, verdict, "on the host: {what}");
        let before = self.counts(verdict, counter);
        self.path.run(&sent.frame, LOOPBACK);
        let wanted = (before.0 + 1, before.1 + u64::from(counter.is_some()));
        assert_eq!(self.counts(verdict, counter), wanted, "{what}");
    }

    /// What was counted of a verdict, and by a rule.
    fn counts(&self, verdict: Verdict, rule: Option<u32>) -> (u64, u64) {
        let of_rule = rule.map_or(0, |rule| counted(&self.path.rule_counts, rule).packets);
        (self.path.verdict(verdict.number()).packets, of_rule)
    }
}

/// A firewall, what its sets hold and what its names stand for.
fn recipe(random: &mut Random, ids: &BTreeMap<String, Vec<u32>>) -> Recipe {
    let (firewall, sets) = firewall(random);
    let firewall = Firewall { max_prefixes: 2_000, ..firewall };
    let names = names(random, ids.clone(), &firewall);
    Recipe { firewall, sets, names }
}

#[test]
fn the_kernel_judges_every_packet_as_the_model_does() {
    let seed = std::env::var("FIREWALL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("FIREWALL_SEED={seed}");
    pin_to_cpu(0);
    let random = &mut Random::new(seed);
    let (host, ids) = tables();
    let mut twins = Twins::new(host);
    let mut verdicts: BTreeMap<Verdict, usize> = BTreeMap::new();
    let (mut by_source, mut n_patches) = (0, 0);
    let mut ledger = Ledger::default();
    for _ in 0..PAIRS / PACKETS {
        let mut recipe = recipe(random, &ids);
        let mut compiled = recipe.compile().unwrap();
        let open = open_flows(random);
        twins.begin(&compiled, &open);
        ledger.begin(open);
        for number in 1..=PACKETS {
            if number % (PACKETS / CHANGES) == 0 {
                let before = (recipe.clone(), compiled);
                change_a_set(random, &mut recipe.sets);
                let is_patch;
                (compiled, is_patch) = twins.change(&recipe, before);
                n_patches += usize::from(is_patch);
            }
            let sent = packet(random, &LINK, &services());
            let expected = expected(&sent, &recipe, &mut ledger);
            by_source += usize::from(is_judged_by_source(&twins.host, &sent.frame));
            twins.send(&sent, expected);
            *verdicts.entry(expected.0).or_default() += 1;
        }
    }
    let asked = ledger.asked;
    println!("{verdicts:?}, {by_source} of them judged by their sources; {n_patches} patches");
    println!("below and beyond limits: {asked:?}");
    assert!(by_source >= 5_000);
    assert!(n_patches >= PAIRS / PACKETS / 4);
    assert!(asked.len() == 5 && asked.values().flatten().all(|n| *n >= 100), "{asked:?}");
    for verdict in [
        Verdict::FirewallDrop,
        Verdict::FirewallPolicy,
        Verdict::ServiceNotAllowed,
        Verdict::NotOurs,
        Verdict::NoBackend,
    ] {
        let n_packets = verdicts.get(&verdict).copied().unwrap_or_default();
        assert!(n_packets >= 1_000, "{verdict:?}: {verdicts:?}");
    }
}

#[test]
fn rules_that_the_maps_have_no_room_for_are_refused() {
    let many = (0..400_u32).map(|n| format!("10.{}.{}.0/24", n / 200, n % 200).parse().unwrap());
    let sets: Sets = [("a".to_owned(), many.collect())].into();
    let rule = Rule { sources: vec![Match::Set("a".to_owned())], ..Rule::any(Action::Drop) };
    let rules = vec![rule; 3_000];
    let firewall = Firewall { rules, ..Firewall::default() };
    assert_eq!(compile(&firewall, &sets, &Names::default()), Err(CompileError::Rules));
}
