//! Requests a second, their time and their CPU, through each balancer and through none.
//!
//! Every contender has a world of its own, laid out alike; those whose turn it is not are idle.

mod compare;
pub(crate) mod contender;
mod cpu;
mod wrk;

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use aya::sys::{Stats, enable_stats};
use lb_tests::world::{Arms, World};

use super::Arguments;
use super::budget::Budget;
use super::results::Results;
use compare::{Sample, compare};
use contender::{Clients, Contender, Running};
use wrk::{Connections, load};

/// Whether any case is asked for.
pub(crate) fn is_asked_for(arguments: &Arguments) -> bool {
    !cases(arguments).is_empty()
}

fn cases(arguments: &Arguments) -> Vec<Connections> {
    let is_asked_for = |case: &Connections| arguments.wants(&format!("IPv4 {}", case.name()));
    Connections::ALL.into_iter().filter(is_asked_for).collect()
}

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
    let cases = cases(arguments);
    if cases.is_empty() {
        return Ok(());
    }
    let binaries = arguments.binaries()?;
    arguments.say("http: five worlds with a client, a director and two backends each");
    let world = |_| {
        budget.step()?;
        World::new(Arms::Two, 2)
    };
    let worlds = Contender::ALL.iter().map(world).collect::<Result<Vec<_>>>()?;
    let start = |(contender, world)| {
        budget.step()?;
        Running::start((contender, Clients::InFront), world, &binaries)
    };
    let running = Contender::ALL.into_iter().zip(&worlds).map(start).collect::<Result<Vec<_>>>()?;
    // The thread that brings their program takes its time with it when it ends.
    running.iter().try_for_each(Running::wait_for_cookies)?;
    let _stats = enable_stats(Stats::RunTime).context("have programs timed")?;
    let time = Duration::from_secs(if arguments.quick { 2 } else { 4 });
    let cases = cases.into_iter().map(|case| (case.name().to_owned(), case)).collect();
    results.of_each(
        budget,
        cases,
        |_| 1,
        |results, budget, connections| {
            arguments.say(&format!("http: {}", connections.name()));
            let mut samples: Vec<_> =
                Contender::ALL.into_iter().map(|contender| (contender, Vec::new())).collect();
            for _ in budget.rounds(7, 3) {
                for (running, (_, samples)) in running.iter().zip(&mut samples) {
                    budget.step()?;
                    samples.push(measure(running, connections, time)?);
                }
            }
            results.rows.extend(compare(connections, &samples));
            Ok(())
        },
    );
    Ok(())
}

fn measure(running: &Running<'_>, connections: Connections, time: Duration) -> Result<Sample> {
    let (machine, own) = (cpu::machine()?, running.own_time()?);
    let report = load(running.client(), &running.address(), connections, time)?;
    let machine = cpu::machine()?.saturating_sub(machine);
    let own = running.own_time()?.saturating_sub(own);
    let each = |time: Duration| time.as_secs_f64() * 1_000_000.0 / report.requests;
    let (rate, p50, p99) = (report.rate, report.p50, report.p99);
    Ok(Sample { rate, p50, p99, machine: each(machine), own: each(own) })
}
