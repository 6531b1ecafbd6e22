//! `cargo xtask bench`: what the shipped packet path costs, beside what is compared with it in the same run.
//!
//! Machines differ, and so do their hours: what counts are ratios. Contenders take turns in rounds, and a
//! median of rounds is shown with its spread.

mod budget;
mod director;
mod document;
mod failover;
mod feed;
mod firewall;
mod harness;
mod http;
mod packet;
mod results;
mod row;
mod show;
mod statistics;
mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use lb_agent::io::datapath::OBJECT;
use lb_agent::io::netlink::{Link, links};
use lb_tests::binaries::Binaries;
use lb_tests::clock::now;
use lb_tests::link::End;
use lb_tests::stale;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};

use budget::Budget;
use results::Results;

use crate::{demo, packages};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Nanoseconds that the program takes for a packet, attached to nothing
    Packet,
    /// Packets a second on one core, over a wire
    Wire,
    /// HTTP requests a second, their time and their CPU
    Http,
    /// What a packet costs more where rules and sets judge it, and who is served during a SYN flood
    Firewall,
    /// Time without service when a director fails: up to half an hour, so only if it is named
    Failover,
}

impl Bench {
    const IF_NONE_IS_NAMED: [Self; 4] = [Self::Packet, Self::Wire, Self::Http, Self::Firewall];

    /// As the command line and results name it.
    fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Wire => "wire",
            Self::Http => "http",
            Self::Firewall => "firewall",
            Self::Failover => "failover",
        }
    }

    fn run(self, arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
        match self {
            Self::Packet => packet::run(arguments, budget, results),
            Self::Wire => wire::run(arguments, budget, results),
            Self::Http => http::run(arguments, budget, results),
            Self::Firewall => firewall::run(arguments, budget, results),
            Self::Failover => failover::run(arguments, budget, results),
        }
    }

    /// Installs and builds what it needs, which takes none of its time.
    fn prepare(self, arguments: &Arguments) -> Result<()> {
        let (needs_programs, needs_agent) = match self {
            Self::Failover => return failover::prepare(arguments),
            Self::Packet => (false, false),
            Self::Wire => (true, false),
            Self::Http => (true, http::is_asked_for(arguments)),
            Self::Firewall => (true, firewall::needs_agent(arguments)),
        };
        if needs_programs {
            packages::ensure_for_bench()?;
        }
        if needs_agent {
            arguments.binaries()?;
        }
        Ok(())
    }

    /// Its part of the time that `--quick` has.
    fn weight(self) -> u32 {
        match self {
            Self::Packet => 4,
            Self::Wire => 1,
            Self::Http => 2,
            Self::Firewall => 6,
            Self::Failover => 10,
        }
    }
}

/// What to measure, and how to show it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// What to measure; all but failover if none is named
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Only cases that have this in family, name and flows, as the table shows them: `IPv4 nat known 1`
    #[arg(long, value_name = "SUBSTRING")]
    case: Option<String>,
    /// Fewer rounds, and not the largest number of flows: five minutes at most, without building
    #[arg(long)]
    quick: bool,
    /// Measure each case in so many rounds; 15 are usual, and fewer of those that take longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measure the lb-agent in this folder, with the lb-ctl beside it, instead of building a release
    #[arg(long, value_name = "FOLDER")]
    binaries: Option<PathBuf>,
    /// Print one JSON list for scripts
    #[arg(long)]
    json: bool,
    /// Put the results into docs/benchmarks.md, with the machine and the date
    #[arg(long)]
    write: bool,
}

impl Arguments {
    /// Whether a case is asked for.
    fn wants(&self, name: &str) -> bool {
        self.case.as_ref().is_none_or(|part| name.contains(part))
    }

    /// The project's own binaries.
    fn binaries(&self) -> Result<Binaries> {
        match &self.binaries {
            Some(folder) => {
                let binaries = demo::binaries_in(folder)?;
                expect_this_object(&binaries.agent)?;
                Ok(binaries)
            }
            None => demo::build(),
        }
    }

    /// Says on standard error what goes on; results go to standard output.
    fn say(&self, line: &str) {
        if !self.json {
            eprintln!("{line}");
        }
    }
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the benchmarks load BPF programs, which needs root: run `sudo -E cargo xtask bench`"
        );
    }
    stale::remove_dead_worlds()?;
    let sha256 = sha256()?;
    eprintln!("the shipped packet path, sha256 {sha256}");
    let named = &arguments.benches;
    let benches = if named.is_empty() { &Bench::IF_NONE_IS_NAMED[..] } else { named };
    let mut results = Results::default();
    let mut ready = Vec::new();
    for bench in benches {
        results.begin(bench.name());
        let prepared =
            bench.prepare(arguments).map(|()| ready.push((bench.name().to_owned(), *bench)));
        results.note("prepare", prepared);
    }
    let began = now();
    let budget = Budget::of(arguments);
    results.of_each(
        budget,
        ready,
        |bench| bench.weight(),
        |results, budget, bench| {
            results.begin(bench.name());
            bench.run(arguments, budget.strictly(), results)
        },
    );
    eprintln!("measured in {} s", began.elapsed().as_secs());
    if results.are_empty() {
        bail!("no case has {:?} in its name", arguments.case.as_deref().unwrap_or_default());
    }
    show(arguments, &results, &sha256)?;
    results.check()
}

/// All that was measured, whatever else has failed.
fn show(arguments: &Arguments, results: &Results, sha256: &str) -> Result<()> {
    if arguments.json {
        println!("{}", serde_json::to_string(&results.rows).context("write the results")?);
    } else {
        print!("{}", show::table(&results.rows));
    }
    if arguments.write { document::write(results, sha256, arguments) } else { Ok(()) }
}

/// The hash of the object that is measured.
fn sha256() -> Result<String> {
    let output = lb_tests::command::run_with_bytes(&mut Command::new("sha256sum"), OBJECT)?;
    Ok(output.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Results are told of one object: what an agent brings along has to be that.
fn expect_this_object(agent: &Path) -> Result<()> {
    let bytes = std::fs::read(agent).with_context(|| format!("read {}", agent.display()))?;
    let has_it = has(&bytes, OBJECT);
    ensure!(
        has_it,
        "{} brings another packet path along than this xtask: build both",
        agent.display()
    );
    Ok(())
}

/// Whether these bytes are among others.
fn has(bytes: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        let (_, found) = rest.split_at(at);
        if found.starts_with(part) {
            return true;
        }
        rest = found.get(1..).unwrap_or_default();
    }
    false
}

/// An end of a wire as the kernel lists it.
fn link(end: End<'_>) -> Result<Link> {
    let links = end.namespace.enter(links)?.context("list interfaces")?;
    links.into_iter().find(|link| link.name == end.interface).context("find an interface")
}

/// Its MAC address.
fn mac(end: End<'_>) -> Result<[u8; 6]> {
    link(end)?.mac.context("find a MAC address")
}

/// Where measurements run: the last CPU, for the first one has the most to do beside.
fn cpu() -> Result<usize> {
    let n_cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN)?.context("count the CPUs")?;
    Ok(usize::try_from(n_cpus)?.saturating_sub(1))
}

/// Counters and caches of another CPU are not measured.
fn stay_on_one_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu()?).context("choose a CPU")?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("stay on a CPU")?;
    // What else runs on it waits, and disturbs the caches less.
    let thread = nix::unistd::gettid().to_string();
    lb_tests::command::run(Command::new("renice").args(["-n", "-10", "-p", &thread]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Cli::try_parse_from([&["bench"], words].concat()).map(|cli| cli.arguments)
    }

    #[test]
    fn a_case_is_chosen_by_a_part_of_its_name() {
        let arguments = parse(&["packet", "--case", "IPv4 nat"]).unwrap();
        assert_eq!(arguments.benches, [Bench::Packet]);
        assert!(arguments.wants("IPv4 nat known 1") && !arguments.wants("IPv6 nat known 1"));
        assert!(parse(&[]).unwrap().wants("anything"));
    }

    #[test]
    fn an_unknown_benchmark_is_refused_with_those_that_there_are() {
        let error = parse(&["paket"]).unwrap_err().to_string();
        assert!(error.contains("packet") && error.contains("wire"), "{error}");
    }

    #[test]
    fn an_agent_with_another_packet_path_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("lb-agent");
        let mut bytes = [b"\x7fELF\x7fE", OBJECT, b"rest"].concat();
        std::fs::write(&agent, &bytes).unwrap();
        expect_this_object(&agent).unwrap();
        bytes[6 + OBJECT.len() / 2] ^= 1;
        std::fs::write(&agent, &bytes).unwrap();
        let error = expect_this_object(&agent).unwrap_err().to_string();
        assert!(error.contains("another packet path"), "{error}");
        assert!(!has(b"ab", b"abc") && has(b"aab", b"ab"));
    }
}
