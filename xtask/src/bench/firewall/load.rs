//! A large set, from a file to being in force: how long that takes, and the memory of the agent. A file takes the place of
//! another one as large by `lb-ctl set load`; beside it stands `nft -f` with the same prefixes.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ipnet::IpNet;
use lb_tests::agent::{Agent, shop};
use lb_tests::clock::now;
use lb_tests::command::{run as run_command, run_with_input};
use lb_tests::namespace::Namespace;
use lb_tests::stale;
use lb_tests::world::{Arms, World};

use super::super::Arguments;
use super::super::budget::Budget;
use super::super::results::Results;
use super::super::row::Row;
use super::random::Random;
use super::sets::Kind;

const COUNTS: [u32; 3] = [1_000, 100_000, 1_000_000];
/// What a value is of, in seconds, and in MiB after it.
const SECONDS: &str = "set load";
const MEMORY: [(&str, &str); 2] = [("agent's memory", "VmRSS"), ("agent's most memory", "VmHWM")];

fn name(count: u32, what: &str) -> String {
    format!("load={count} ipv4 mixed {what}")
}

/// The sizes that are asked for.
pub(super) fn counts(arguments: &Arguments) -> Vec<u32> {
    let wants = |count: &u32, what: &str| arguments.wants(&name(*count, what));
    let is_asked_for =
        |count: &u32| wants(count, SECONDS) || MEMORY.iter().any(|(what, _)| wants(count, what));
    COUNTS.into_iter().filter(is_asked_for).collect()
}

/// Measures at all sizes that are asked for.
pub(super) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) {
    let counts = counts(arguments).into_iter();
    results.of_each(
        budget,
        counts.map(|count| (format!("load={count}"), count)).collect(),
        |count| if *count < 1_000_000 { 1 } else { 4 },
        |results, budget, count| {
            arguments.say(&format!("firewall: load={count}"));
            let rows = measure(arguments, count, budget)?;
            results.rows.extend(rows.into_iter().filter(|row| arguments.wants(&row.case)));
            Ok(())
        },
    );
}

/// The same prefixes as each of them reads them.
struct Files {
    ours: PathBuf,
    nft: PathBuf,
}

fn measure(arguments: &Arguments, count: u32, budget: Budget) -> Result<Vec<Row>> {
    let binaries = arguments.binaries()?;
    let world = World::new(Arms::Two, 1)?;
    let nft = Namespace::create(&format!("{}-nft", stale::unique_name()))?;
    let files = [1, 2].map(|seed| files(world.folder(), seed, count));
    let files = files.into_iter().collect::<Result<Vec<_>>>()?;
    let mut settings = shop(&world);
    let firewall = format!(
        "[firewall]\nmax_prefixes = {}\n[firewall.set.listed]\nelements = []\n\
         [[firewall.rule]]\nname = \"listed\"\naction = \"drop\"\nsource = \"@listed\"\n",
        count + 1_024
    );
    settings.tables.insert_str(0, &firewall);
    let agent = Agent::start(&world, &binaries, &settings)?;
    run_with_input(nft.command("nft").args(["-f", "-"]), EMPTY)?;
    let (mut ours, mut theirs, mut memory) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    // The first one takes the place of nothing.
    let first = files.first().context("find the first file")?;
    load(&agent, &first.ours)?;
    run_command(nft.command("nft").arg("-f").arg(&first.nft))?;
    for (round, files) in budget.rounds(5, 2).zip(files.iter().cycle().skip(1)) {
        budget.step()?;
        arguments.say(&format!("firewall: load={count}, round {round}"));
        ours.push(load(&agent, &files.ours)?);
        let began = now();
        run_command(nft.command("nft").arg("-f").arg(&files.nft))?;
        theirs.push(began.elapsed().as_secs_f64());
        for (values, (_, key)) in memory.iter_mut().zip(MEMORY) {
            values.push(mebibytes(agent.process.id(), key)?);
        }
    }
    let row = |what: &str, unit, values: &[f64]| {
        Row::of("firewall", &name(count, what), ("IPv4", 0), unit, values)
    };
    let mut rows = vec![row(SECONDS, "s", &ours).beside("nft -f", &ours, &theirs)];
    rows.extend(memory.iter().zip(MEMORY).map(|(values, (what, _))| row(what, "MiB", values)));
    Ok(rows)
}

/// Seconds until the set is in force.
fn load(agent: &Agent<'_>, file: &Path) -> Result<f64> {
    let file = file.to_str().context("name a file")?;
    let began = now();
    agent.ctl_ok(&["set", "load", "listed", file])?;
    Ok(began.elapsed().as_secs_f64())
}

const EMPTY: &str =
    "table inet bench {\nset listed { type ipv4_addr; flags interval; auto-merge; }\n}\n";

fn files(folder: &Path, seed: u64, count: u32) -> Result<Files> {
    let random = &mut Random::new(seed);
    let prefixes = Kind::Mixed.prefixes(random, usize::try_from(count)?);
    let lines = |end: &str| {
        prefixes.iter().fold(String::new(), |mut text, prefix: &IpNet| {
            // Writing to a string cannot fail.
            write!(text, "{prefix}{end}").ok();
            text
        })
    };
    let write = |name: &str, text: String| {
        let path = folder.join(format!("{seed}.{name}"));
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        anyhow::Ok(path)
    };
    let elements = format!(
        "flush set inet bench listed\nadd element inet bench listed {{ {} }}\n",
        lines(",\n")
    );
    Ok(Files { ours: write("txt", lines("\n"))?, nft: write("nft", elements)? })
}

/// A line of `/proc/PID/status` that is in kB.
fn mebibytes(process: u32, key: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.context("read what the kernel tells of a process")?;
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let line = lines.next().with_context(|| format!("find {key}"))?;
    let kibibytes: u32 = line.trim().trim_end_matches(" kB").parse().context("read a number")?;
    Ok(f64::from(kibibytes) / 1_024.0)
}
