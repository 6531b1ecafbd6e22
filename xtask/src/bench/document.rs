//! Results in docs/benchmarks.md: each benchmark has a section of its own, between marks.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use lb_tests::command::run;

use super::results::Results;
use super::row::Row;
use super::{Arguments, failover, firewall, show};
use crate::cargo::root;

/// Puts results in place of older ones of the same benchmarks, and says of which they are not all.
pub(crate) fn write(results: &Results, sha256: &str, arguments: &Arguments) -> Result<()> {
    let path = path()?;
    let mut page = std::fs::read_to_string(&path).context("read docs/benchmarks.md")?;
    let head = format!("{}; the object's sha256 is `{sha256}`", machine()?);
    let head = if arguments.quick { format!("{head}; `--quick`") } else { head };
    for bench in benches(&results.rows) {
        let of_bench = results.rows.iter().filter(|row| row.bench == bench).cloned().collect();
        let gaps = gaps(arguments.case.as_deref(), &results.missing_of(bench));
        if !gaps.is_empty() {
            eprintln!("docs/benchmarks.md gets a part of {bench} alone{gaps}");
        }
        let section = format!("{head}{gaps}.\n\n{}", tables(of_bench));
        page = replaced(&page, bench, &section)
            .with_context(|| format!("find the marks of {bench} in docs/benchmarks.md"))?;
    }
    for bench in results.without_rows() {
        eprintln!("docs/benchmarks.md keeps its older results of {bench}");
    }
    std::fs::write(&path, page).context("write docs/benchmarks.md")?;
    eprintln!("the results are in docs/benchmarks.md");
    Ok(())
}

/// What a table is without.
fn gaps(case: Option<&str>, missing: &[&str]) -> String {
    let case = case.map(|case| format!("; only `--case {case:?}`")).unwrap_or_default();
    let missing: Vec<_> = missing.iter().map(|part| format!("`{part}`")).collect();
    if missing.is_empty() { case } else { format!("{case}; without {}", missing.join(", ")) }
}

fn path() -> Result<PathBuf> {
    Ok(root()?.join("docs/benchmarks.md"))
}

fn benches(rows: &[Row]) -> Vec<&'static str> {
    let mut benches: Vec<_> = rows.iter().map(|row| row.bench).collect();
    benches.dedup();
    benches
}

/// Date, CPU, kernel and number of CPUs.
fn machine() -> Result<String> {
    let date = run(Command::new("date").args(["--utc", "+%F"]))?;
    let kernel = run(Command::new("uname").arg("--kernel-release"))?;
    let architecture = std::env::consts::ARCH;
    let info = std::fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown CPU", |(_, name)| name.trim());
    let n_cpus = std::thread::available_parallelism().context("count the CPUs")?;
    Ok(format!(
        "{}: {model}, {n_cpus} CPUs, Linux {} {architecture}",
        date.trim(),
        version(&kernel)
    ))
}

/// Major and minor number of a kernel's release; what follows is the distribution's.
fn version(release: &str) -> String {
    let numbers: Vec<_> = release.trim().split('.').take(2).collect();
    numbers.join(".")
}

/// What takes another form than a line for each comparison has a table of its own.
fn tables(rows: Vec<Row>) -> String {
    let (floods, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(firewall::is_of_a_flood);
    let (failovers, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|row| row.failover.is_some());
    let all: [(fn(&[Row]) -> String, _); 3] =
        [(table, others), (firewall::table_of_floods, floods), (failover::table, failovers)];
    let tables = all.into_iter().filter(|(_, rows)| !rows.is_empty());
    tables.map(|(table, rows)| table(&rows)).collect::<Vec<_>>().join("\n")
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| case | family | flows | median | half of the rounds | beside | its median | ratio |\n\
         |---|---|--:|--:|--:|---|--:|--:|\n",
    );
    for Row { case, family, flows, value, unit, floor, ratio, spread, .. } in rows {
        let number = |value| show::number(value, unit);
        let spread = format!("{} to {}", number(spread.low), number(spread.high));
        let (name, of_floor) =
            floor.as_ref().map_or(("", String::new()), |it| (&it.name, number(it.value)));
        let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let value = format!("{} {unit}", number(*value));
        // Writing to a string cannot fail.
        writeln!(
            text,
            "| {case} | {family} | {flows} | {value} | {spread} | {name} | {of_floor} | {ratio} |"
        )
        .ok();
    }
    text
}

/// The page with another section between the marks of a benchmark; `None` where they are missing.
fn replaced(page: &str, bench: &str, section: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {bench} -->\n"), format!("<!-- end of {bench} -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{section}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::super::Bench;
    use super::*;

    #[test]
    fn results_take_the_place_of_older_ones_and_of_nothing_else() {
        let page = "a\n<!-- wire -->\nold\n<!-- end of wire -->\nb\n";
        let new = replaced(page, "wire", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- wire -->\nnew\n<!-- end of wire -->\nb\n");
        assert_eq!(replaced(page, "packet", "new\n"), None);
    }

    #[test]
    fn a_table_in_part_says_so() {
        assert_eq!(gaps(None, &[]), "");
        assert_eq!(
            gaps(Some("IPv4"), &["new", "known"]),
            "; only `--case \"IPv4\"`; without `new`, `known`"
        );
    }

    #[test]
    fn a_kernel_is_named_by_its_first_two_numbers() {
        assert_eq!(version("6.18.44-cloud-amd64\n"), "6.18");
        assert_eq!(version("6.18\n"), "6.18");
    }

    #[test]
    fn the_page_has_a_place_for_every_benchmark() {
        let page = std::fs::read_to_string(path().unwrap()).unwrap();
        for bench in Bench::value_variants() {
            assert_eq!(bench.to_possible_value().unwrap().get_name(), bench.name());
            assert!(replaced(&page, bench.name(), "").is_some(), "{}", bench.name());
        }
    }
}
