//! Packets a second on one core, over a wire: a client sends live frames, a director turns them round, the
//! client's end counts what comes back. All three are on the core.

pub(crate) mod cpu;
mod topology;

use anyhow::{Result, ensure};
use lb_tests::stale;

use super::Arguments;
use super::budget::Budget;
use super::feed::{Family, Flags, feed};
use super::harness::Harness;
use super::results::Results;
use super::row::Row;
use topology::{Contender, Topology};

/// Few flows, and many.
const FLOWS: [u32; 2] = [1 << 10, 1 << 17];
/// Packets of a run.
const PACKETS: u32 = 400_000;

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
    let cases: Vec<_> = Family::ALL
        .into_iter()
        .flat_map(|family| FLOWS.map(|flows| (family, flows)))
        .filter(|(family, flows)| arguments.wants(&format!("{} nat {flows}", family.name())))
        .collect();
    if cases.is_empty() {
        return Ok(());
    }
    arguments.say(&format!("wire: {} cases", cases.len()));
    let mut topology = Topology::new(&stale::unique_name(), Harness::load(&[])?)?;
    let most = cases.iter().map(|(_, flows)| *flows).max().unwrap_or(0);
    for family in Family::ALL {
        budget.step()?;
        topology.open_connections(family, most)?;
    }
    let named = |case: (Family, u32)| (format!("{} nat {}", case.0.name(), case.1), case);
    let cases = cases.into_iter().map(named).collect();
    results.of_each(
        budget,
        cases,
        |_| 1,
        |results, budget, (family, flows)| {
            results.rows.extend(measure(&mut topology, family, flows, budget)?);
            Ok(())
        },
    );
    Ok(())
}

/// A row for each contender that Sluice is compared with.
fn measure(
    topology: &mut Topology,
    family: Family,
    flows: u32,
    budget: Budget,
) -> Result<Vec<Row>> {
    let mut rates = Contender::ALL.map(|_| Vec::new());
    for round in budget.rounds(15, 5) {
        for (contender, rates) in Contender::ALL.into_iter().zip(&mut rates) {
            budget.step()?;
            rates.push(rate(topology, contender, (family, flows), round)?);
        }
    }
    let [ours, others @ ..] = rates;
    let rows = Contender::ALL.into_iter().skip(1).zip(others).map(|(contender, floors)| {
        let row = Row::of("wire", "nat", (family.name(), flows), "kpps", &ours);
        row.beside(contender.name(), &ours, &floors)
    });
    Ok(rows.collect())
}

/// Thousands of packets a second.
fn rate(
    topology: &mut Topology,
    contender: Contender,
    (family, flows): (Family, u32),
    round: u32,
) -> Result<f64> {
    let mut feed = feed(family, topology.mac(contender), family.vip(), Flags::Ack);
    feed.end = flows;
    // Each flow once, so that none is new to this tick or to connection tracking.
    topology.send(contender, family, feed, flows)?;
    feed.random_mask = flows - 1;
    feed.random = round;
    let sent = topology.send(contender, family, feed, PACKETS)?;
    let name = contender.name();
    ensure!(
        sent.arrived * 20 > u64::from(PACKETS) * 19,
        "{name}: {} of {PACKETS} packets arrived",
        sent.arrived
    );
    Ok(f64::from(u32::try_from(sent.arrived)?) / sent.busy.as_secs_f64() / 1_000.0)
}
