//! lb-agent: log, rights, and the exit code.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use lb_agent::args::{Args, Command};
use lb_agent::io::causes::with_causes;
use lb_agent::io::run::{self, ReadError, StartError, decap, keep_from_children};
use tracing_subscriber::EnvFilter;

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = log_to_stderr(&args.log) {
        eprintln!("lb-agent: --log {}: {error}", args.log);
        return ExitCode::from(2);
    }
    // Before there are threads, each of which has its own.
    if let Err(error) = keep_from_children() {
        tracing::warn!("scripts will run with the capabilities of the agent: {error}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lb-agent: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match args.command {
        None => runtime.block_on(run::run(&args.config)),
        Some(Command::Check { file }) => check(file.as_ref().unwrap_or(&args.config)),
        Some(Command::Decap(args)) => runtime.block_on(decap::run(args)),
        Some(Command::Detach) => runtime.block_on(detach(&args.config)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show(&error);
            error.exit_code()
        }
    }
}

/// Problems of a configuration come as a compiler shows them, all else on a line.
fn show(error: &StartError) {
    if let StartError::Config(ReadError::Problems(problems)) = error {
        let text = if is_in_colour() { problems.coloured() } else { problems.to_string() };
        eprintln!("{text}");
    } else {
        eprintln!("lb-agent: {}", with_causes(error));
        if let Some(help) = error.help() {
            eprintln!("help: {help}");
        }
    }
}

fn is_in_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn check(config_file: &Path) -> Result<(), StartError> {
    let checked = run::check_file(config_file)?;
    let problems = run::check_sets(&checked.config);
    if !problems.is_empty() {
        return Err(ReadError::Sets(problems.join("\n")).into());
    }
    for note in checked.notes {
        println!("note: {note}");
    }
    println!("{} is valid", config_file.display());
    Ok(())
}

async fn detach(config_file: &Path) -> Result<(), StartError> {
    let detached = run::detach(config_file).await?;
    println!("{}", if detached { "detached" } else { "there was nothing to detach" });
    Ok(())
}

/// Lines without time where the journal adds its own.
fn log_to_stderr(filter: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(is_in_colour())
        .with_target(false)
        .compact();
    match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().try_init(),
        None => log.try_init(),
    }
}
