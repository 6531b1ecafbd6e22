//! `cargo xtask demo`: what Sluice does, shown on one machine.
//!
//! A client, a director and three backends live in network namespaces; the director runs the real agent
//! with a real configuration file. Each phase measures what happened and tells it.

mod failover;
mod phases;
mod report;
mod stage;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lb_tests::binaries::Binaries;
use lb_tests::stale;
use lb_tests::world::{Arms, World};
use nix::sys::signal::{SigSet, Signal};

use crate::cargo::{cargo, run as run_command, target_folder};
use crate::packages;
use report::Report;
use stage::Stage;

/// The demo's world, of which there is one at a time on a machine.
const WORLD: &str = "sl-demo";

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scene {
    /// Two directors, of which one fails
    Failover,
}

/// What to do besides.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Another scene than that of one director and its backends
    #[arg(value_enum, conflicts_with_all = ["keep", "stop"])]
    scene: Option<Scene>,
    /// Leave everything running, and print commands to try
    #[arg(long)]
    keep: bool,
    /// Remove what `--keep` left running, and do nothing else
    #[arg(long, conflicts_with_all = ["keep", "json"])]
    stop: bool,
    /// Print one JSON object for scripts; the story goes to standard error
    #[arg(long)]
    json: bool,
}

/// Runs the demo; fails unless every phase went as promised.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the demo makes network namespaces and attaches XDP programs, which needs root: \
             run `sudo -E cargo xtask demo`"
        );
    }
    if arguments.stop {
        stale::remove_world(WORLD)?;
        return Ok(ExitCode::SUCCESS);
    }
    let story = Story { to_stderr: arguments.json };
    if arguments.scene == Some(Scene::Failover) {
        packages::ensure_for_demo()?;
        story.begin("Building lb-agent and lb-ctl");
        return failover::run(&build()?, story, arguments.json);
    }
    let report = tell(arguments, story)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report).context("write the report")?);
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the story is told.
#[derive(Clone, Copy, Debug)]
struct Story {
    to_stderr: bool,
}

impl Story {
    /// Says a line.
    fn say(self, line: &str) {
        if self.to_stderr {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// Begins a phase.
    fn begin(self, title: &str) {
        self.say(&format!("\n== {title}"));
    }
}

fn tell(arguments: &Arguments, story: Story) -> Result<Report> {
    packages::ensure_for_demo()?;
    story.begin("Building lb-agent and lb-ctl");
    let binaries = build()?;
    clean_up_when_interrupted()?;
    story.begin("Laying out network namespaces: a client, a director, three backends");
    let world = World::create(WORLD, Arms::Two, 3)?;
    stage::describe(&world, story);
    let mut stage = Stage::set(&world, &binaries, story)?;
    let report = phases::play(&mut stage)?;
    story.say(&format!("\n{}", report.verdict()));
    if arguments.keep {
        stage.keep();
    }
    Ok(report)
}

/// Builds the release that is shown and measured.
pub(crate) fn build() -> Result<Binaries> {
    build_release(&["--package", "lb-agent", "--package", "lb-ctl"])?;
    binaries_in(&target_folder()?.join("release"))
}

/// Builds the same agent of another version, see [`Binaries::before`].
pub(crate) fn build_before() -> Result<()> {
    let features = ["--package", "lb-agent", "--features", "layout-before"];
    build_release(&[&features[..], &["--bin", "lb-agent-before"]].concat())
}

fn build_release(what: &[&str]) -> Result<()> {
    let mut command = cargo()?;
    // Standard output belongs to the report.
    command.args(["build", "--locked", "--release"]).args(what).stdout(std::io::stderr());
    run_command(&mut command)
}

/// Those in a folder, with this program.
pub(crate) fn binaries_in(folder: &Path) -> Result<Binaries> {
    Ok(Binaries {
        agent: folder.join("lb-agent"),
        ctl: folder.join("lb-ctl"),
        xtask: std::env::current_exe().context("find the running binary")?,
    })
}

/// `Drop` does not run in a process that a signal ends, so signals are waited for on a thread of their own.
fn clean_up_when_interrupted() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("block signals")?;
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            eprintln!("{}: removing the namespaces", signal.as_str());
            if let Err(error) = stale::remove_world(WORLD) {
                eprintln!("{error:#}");
            }
            std::process::exit(130);
        }
    });
    Ok(())
}
