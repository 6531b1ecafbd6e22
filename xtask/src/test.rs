//! Every test at all levels, and what they came to.
//!
//! All is built once; then each test binary runs by itself, as `cargo test` would run it, so that its
//! counts and its time are known.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lb_tests::clock::now;
use serde::Deserialize;

use crate::cargo::{cargo, run};
use crate::summary::{Counts, Level, Summary, parse_failed};
use crate::{package, packages};

/// Tests in namespaces wait more than they compute, but each has an agent, for which the kernel verifies programs.
const THREADS_WITH_ROOT: &str = "3";

/// The tests of `lb-tests` that need neither root nor the kernel.
const WITHOUT_ROOT: [&str; 2] = ["tidy", "unmoved_flows"];

/// Runs all tests; fails if one fails.
pub(crate) fn run_all() -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the tests of levels 3 and 4 need root: run `sudo -E cargo xtask test`, \
             or `cargo test` for the levels that need none"
        );
    }
    packages::ensure_for_tests()?;
    package::ensure_tool()?;
    let began_at = now();
    let mut targets = build()?;
    println!("== built in {} s", (now() - began_at).as_secs());
    targets.sort_by_key(|target| (target.level, target.name.clone()));
    let mut summary = Summary::default();
    for target in &targets {
        let counts = target.run(&mut summary)?;
        println!("== {} took {:.1} s", target.name, counts.time.as_secs_f32());
        summary.add(target.level, counts);
    }
    let counts = run_doc_tests(&mut summary)?;
    summary.add(Level::Unit, counts);
    println!("\n{summary}");
    let total = summary.total();
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A test binary.
#[derive(Debug)]
struct Target {
    name: String,
    level: Level,
    needs_root: bool,
    /// How cargo is told to run it.
    selection: String,
    executable: PathBuf,
    /// Where its package is: cargo runs tests there.
    folder: PathBuf,
}

impl Target {
    fn run(&self, summary: &mut Summary) -> Result<Counts> {
        println!("\n== {}", self.name);
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        if self.needs_root {
            command.args(["--test-threads", THREADS_WITH_ROOT]);
        }
        count(&mut command, summary, |test| self.repeat(test))
    }

    /// The command that runs one test, or all.
    fn repeat(&self, test: Option<&str>) -> String {
        let (cargo, threads) = if self.needs_root {
            ("sudo -E cargo", format!(" --test-threads {THREADS_WITH_ROOT}"))
        } else {
            ("cargo", String::new())
        };
        let which = test.map_or(threads, |test| format!(" --exact {test}"));
        format!("{cargo} test {} --{which}", self.selection)
    }
}

/// Runs a command that runs tests, shows what it prints, and adds up its counts. Of tests that fail, `repeat` says what
/// runs them once more; that is for a person to do.
fn count(
    command: &mut Command,
    summary: &mut Summary,
    repeat: impl Fn(Option<&str>) -> String,
) -> Result<Counts> {
    let started_at = now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    let mut counts = Counts::default();
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line = line.context("read the output of a test")?;
        println!("{line}");
        if let Some(test) = parse_failed(&line) {
            summary.add_failed(repeat(Some(test)));
        }
        if let Some(part) = Counts::parse(&line) {
            counts.add(part);
        }
    }
    let status = child.wait().context("wait for the end of a test")?;
    if !status.success() && counts.failed == 0 {
        summary.add_failed(format!("{} # ended with {status}", repeat(None)));
        counts.failed = 1;
    }
    counts.time = now() - started_at;
    Ok(counts)
}

fn run_doc_tests(summary: &mut Summary) -> Result<Counts> {
    println!("\n== examples in the documentation");
    let mut command = cargo()?;
    command.args(["test", "--locked", "--workspace", "--doc"]);
    count(&mut command, summary, |_| "cargo test --workspace --doc".to_owned())
}

/// Builds all binaries and all tests, and lists the test binaries.
fn build() -> Result<Vec<Target>> {
    run(cargo()?.args(["build", "--locked", "--workspace"]))?;
    // An agent of another version, for tests of upgrades.
    let before = ["build", "--locked", "--package", "lb-agent", "--features", "layout-before"];
    run(cargo()?.args(before).args(["--bin", "lb-agent-before"]))?;
    let mut command = cargo()?;
    command.args(["test", "--locked", "--workspace", "--features", "lb-tests/root", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("start cargo test")?;
    ensure!(output.status.success(), "the tests do not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| parse_target(line).transpose())
        .collect()
}

/// A line of cargo's report, as far as it tells of test binaries.
#[derive(Debug, Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    target: Option<MessageTarget>,
    executable: Option<PathBuf>,
    profile: Option<MessageProfile>,
}

#[derive(Debug, Deserialize)]
struct MessageTarget {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct MessageProfile {
    test: bool,
}

fn parse_target(line: &str) -> Result<Option<Target>> {
    let message: Message = serde_json::from_str(line).with_context(|| format!("parse {line}"))?;
    let Message { manifest_path: Some(manifest), target: Some(target), .. } = message else {
        return Ok(None);
    };
    let (Some(executable), Some(MessageProfile { test: true })) =
        (message.executable, message.profile)
    else {
        return Ok(None);
    };
    let folder = manifest.parent().context("find the folder of a package")?.to_owned();
    let is_scenario = target.kind.iter().any(|kind| kind == "test") && folder.ends_with("tests");
    let needs_root = is_scenario && !WITHOUT_ROOT.contains(&target.name.as_str());
    let level = Level::of(&target.name, needs_root);
    let selection = selection(&folder, &target, needs_root);
    Ok(Some(Target { name: target.name, level, needs_root, selection, executable, folder }))
}

/// The arguments that have cargo run one test binary.
fn selection(folder: &Path, target: &MessageTarget, needs_root: bool) -> String {
    let folder = folder.file_name().unwrap_or_default().display().to_string();
    let package = if folder == "tests" { "lb-tests" } else { &folder };
    let features = if needs_root { " --features root" } else { "" };
    let which = match target.kind.first().map(String::as_str) {
        Some("test") => format!("--test {}", target.name),
        Some("bin") => format!("--bin {}", target.name),
        _ => "--lib".to_owned(),
    };
    format!("-p {package}{features} {which}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(folder: &str, name: &str) -> Target {
        let line = format!(
            r#"{{"manifest_path":"/p/{folder}/Cargo.toml","target":{{"name":"{name}","kind":["test"]}},
            "executable":"/p/target/{name}","profile":{{"test":true}}}}"#
        );
        parse_target(&line).unwrap().unwrap()
    }

    #[test]
    fn root_and_the_level_follow_from_package_and_name() {
        let of = |folder, name| {
            let target = target(folder, name);
            (target.level, target.needs_root)
        };
        assert_eq!(of("tests", "tidy"), (Level::Unit, false));
        assert_eq!(of("tests", "unmoved_flows"), (Level::Unit, false));
        assert_eq!(of("tests", "kernel_marks"), (Level::Kernel, true));
        assert_eq!(of("tests", "failure"), (Level::Namespaces, true));
        assert_eq!(of("lb-ebpf", "decap"), (Level::Unit, false));
    }

    #[test]
    fn what_fails_is_repeated_by_a_command_of_its_own() {
        let failover = target("tests", "failure").repeat(Some("a::b"));
        let words = "cargo test -p lb-tests --features root --test failure -- --exact a::b";
        assert_eq!(failover, format!("sudo -E {words}"));
        assert_eq!(
            target("lb-ebpf", "decap").repeat(None),
            "cargo test -p lb-ebpf --test decap --"
        );
    }
}
