//! Sets that take each other's place all the time while packets are judged. No packet is lost, and none is judged by
//! something of both: one from a prefix that both hold is always dropped, and one from none of either never.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow, ensure};
use ipnet::IpNet;
use lb_agent::model::firewall::compile::{Compiled, Names, compile};
use lb_agent::model::firewall::{Elements, Sets};
use lb_common::verdict::Verdict;
use lb_tests::clock::now;

use super::super::Arguments;
use super::super::budget::Budget;
use super::super::feed::{FIRST_SERVICE, Family, spread};
use super::super::harness::Harness;
use super::super::results::Results;
use super::super::row::Row;
use super::super::stay_on_one_cpu;
use super::cases::{SET, SOURCES, dropping};
use super::measure::{Place, STRAYS};
use super::random::Random;
use super::sets::{Kind, inside, outside};

const KIND: Kind = Kind::Mixed;
/// Prefixes of both sets, and of each one alone.
const SHARED: usize = 5_000;
const OWN: usize = 5_000;
const PACKETS: u32 = 1 << 16;

/// Rules, each with one of the sets, and addresses that come in turn.
type Setting = ([Arc<Compiled>; 2], Vec<[u64; 2]>);

/// Swaps sets, if that is asked for.
pub(super) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
    let count: u32 = if arguments.quick { 200 } else { 5_000 };
    let name = format!("swaps={count} ipv4 mixed");
    if !arguments.wants(&name) {
        return Ok(());
    }
    arguments.say(&format!("firewall: {name}"));
    let (sets, sources) = sets()?;
    let mut place = Place::new("swaps")?;
    let mut harness = Harness::load_to_spread(Family::V4, 0, SOURCES)?;
    harness.come_from(&sources)?;
    let mut milliseconds = Vec::new();
    for _ in budget.rounds(1, 1) {
        budget.step()?;
        milliseconds.push(swap(&mut place, &mut harness, &sets, count)?);
    }
    results.rows.push(Row::of("firewall", &name, ("IPv4", 0), "ms", &milliseconds));
    Ok(())
}

/// The rules with each of the sets, and addresses of which every other one lies in both.
fn sets() -> Result<Setting> {
    let random = &mut Random::new(1);
    let prefixes = KIND.prefixes(random, SHARED + 2 * OWN);
    let (shared, own) = prefixes.split_at(SHARED);
    let rules = |own: &[IpNet]| {
        let elements: Elements = shared.iter().chain(own).copied().collect();
        let firewall = dropping(&elements);
        compile(&firewall, &Sets::from([(SET.to_owned(), elements)]), &Names::default())
    };
    let (first, second) = own.split_at(OWN);
    let hits = inside(random, shared, SOURCES / 2);
    let misses = outside(random, KIND, &prefixes, SOURCES / 2);
    let sources = hits.into_iter().zip(misses).flat_map(|(hit, miss)| [hit, miss]).collect();
    Ok(([rules(first)?, rules(second)?], sources))
}

/// Milliseconds of a swap, of so many while packets come.
fn swap(
    place: &mut Place,
    harness: &mut Harness,
    sets: &[Arc<Compiled>; 2],
    count: u32,
) -> Result<f64> {
    let Place { director, namespace } = place;
    let (program, interface, mac) = namespace.enter(|| {
        director.put_in_force(&sets[1])?;
        anyhow::Ok((director.program()?, director.interface, director.mac))
    })??;
    let feed = spread(Family::V4, mac, Family::V4.elsewhere(), ((FIRST_SERVICE, 1), SOURCES));
    let count_of = |verdict| director.packets(verdict);
    let before = [count_of(Verdict::FirewallDrop)?, count_of(Verdict::NotOurs)?];
    let is_over = AtomicBool::new(false);
    let namespace = &*namespace;
    let (took, sent) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            namespace.enter(|| {
                stay_on_one_cpu()?;
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    harness.run(("spread", Family::V4), &program, feed, (PACKETS, interface))?;
                    sent += u64::from(PACKETS);
                }
                anyhow::Ok(sent)
            })?
        });
        let began = now();
        let swapped =
            (0..count).zip(sets.iter().cycle()).try_for_each(|(_, set)| director.put_in_force(set));
        let took = began.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let sent = sender.join().map_err(|_| anyhow!("the sender has panicked"))??;
        swapped.map(|()| (took, sent))
    })?;
    let dropped = director.packets(Verdict::FirewallDrop)? - before[0];
    let passed = director.packets(Verdict::NotOurs)? - before[1];
    ensure!(
        dropped == sent / 2 && (sent / 2..=sent / 2 + STRAYS).contains(&passed),
        "of {sent} packets {dropped} were dropped and {passed} were not, instead of one half each"
    );
    Ok(took.as_secs_f64() * 1_000.0 / f64::from(count))
}
