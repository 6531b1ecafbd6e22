//! lb-agent: arguments, log, and the exit code.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lb_agent::io::causes::with_causes;
use lb_agent::io::run::decap::{self, DecapArgs};
use lb_agent::io::run::{self, ReadError, StartError};
use tracing_subscriber::EnvFilter;

/// Layer-4 load balancer: keeps the XDP packet path in step with the configuration.
#[derive(Parser)]
#[command(version, mut_subcommand("decap", without_config))]
struct Args {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/lb/lb.toml")]
    config: PathBuf,
    /// What to log: off, error, warn, info, debug, trace, or a list such as `info,lb_agent::io::probe=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    log: String,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Without a command the agent runs, in the foreground.
#[derive(Subcommand)]
enum Command {
    /// Show everything that is wrong with the configuration, and what may surprise.
    Check {
        /// The file, instead of that of --config.
        file: Option<PathBuf>,
    },
    /// On a backend: take off what a director with `forward = "ipip"` or `"gue"` has put before clients' packets.
    Decap(DecapArgs),
    /// Remove programs, pins and managed addresses that a stopped agent has left; open flows end.
    Detach,
}

/// A backend has no configuration file: `decap` takes the option as any other command does, and does not show it.
fn without_config(decap: clap::Command) -> clap::Command {
    let config = clap::Arg::new("config").long("config").value_parser(clap::value_parser!(PathBuf));
    decap.arg(config.hide(true))
}

pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = log_to_stderr(&args.log) {
        eprintln!("lb-agent: --log {}: {error}", args.log);
        return ExitCode::from(2);
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn decap_takes_the_file_of_the_other_commands_and_does_not_show_it() {
        let words = "lb-agent decap --interface eth0 --vip 203.0.113.10 --config /tmp/lb.toml";
        assert!(Args::try_parse_from(words.split(' ')).is_ok());
        let mut all = Args::command();
        all.build();
        let mut help = |name| {
            let command = all.find_subcommand_mut(name).unwrap();
            command.render_long_help().to_string()
        };
        assert!(!help("decap").contains("--config"));
        assert!(help("detach").contains("--config"));
    }
}
