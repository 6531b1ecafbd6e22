//! What can be typed after `lb-agent`, as a library so that a build can write its manual pages and completions.

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::io::run::decap::DecapArgs;

const EXIT_CODES: &str = "\
Signals:
  SIGHUP   read the configuration file again; a wrong one changes nothing
  SIGTERM  stop; the packet path goes on, unless the file says shutdown = \"detach\"

Exit codes:
  0  stopped as asked, or done
  1  failed
  2  wrong usage
  5  the configuration cannot be used
  8  no permission";

/// Layer-4 load balancer: keeps the XDP packet path in step with the configuration.
#[derive(Debug, Parser)]
#[command(name = "lb-agent", version, after_help = EXIT_CODES)]
#[command(mut_subcommand("decap", without_config))]
pub struct Args {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/lb/lb.toml")]
    pub config: PathBuf,
    /// What to log: off, error, warn, info, debug, trace, or a list such as `info,lb_agent::io::probe=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG", default_value = "info")]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Without a command the agent runs, in the foreground.
#[derive(Debug, Subcommand)]
pub enum Command {
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

/// The definition of the whole command line.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// A backend has no configuration file: `decap` takes the option as any other command does, and does not show it.
fn without_config(decap: clap::Command) -> clap::Command {
    let config = clap::Arg::new("config").long("config").value_parser(clap::value_parser!(PathBuf));
    decap.arg(config.hide(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decap_takes_the_file_of_the_other_commands_and_does_not_show_it() {
        let words = "lb-agent decap --interface eth0 --vip 203.0.113.10 --config /tmp/lb.toml";
        assert!(Args::try_parse_from(words.split(' ')).is_ok());
        let mut all = command();
        all.build();
        let mut help = |name| {
            let command = all.find_subcommand_mut(name).unwrap();
            command.render_long_help().to_string()
        };
        assert!(!help("decap").contains("--config"));
        assert!(help("detach").contains("--config"));
    }
}
