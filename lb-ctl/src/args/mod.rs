//! The command line: an object, then a verb. Doc comments here are the text of `--help` and of the
//! manual pages.

pub(crate) mod backend;
pub(crate) mod config;
pub(crate) mod firewall;
pub(crate) mod look;
pub(crate) mod trace;
pub(crate) mod vrrp;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use backend::BackendVerb;
use config::{ConfigVerb, Reload};
use firewall::{FirewallVerb, SetVerb};
use look::{ConnVerb, Drops, HealthVerb, ServiceVerb, SyncVerb};
use trace::Explain;
use vrrp::VrrpVerb;

/// Where the agent listens unless told otherwise.
const SOCKET: &str = "/run/lb/lb.sock";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; the change contradicts what is there; doctor found a problem
  2  wrong usage, or a value that cannot be
  3  the agent cannot be reached
  4  no such service, backend, rule, set or element
  5  the configuration, or the file of a set, is invalid
  7  timed out waiting
  8  no permission";

/// Shows and changes what lb-agent, the load balancer's daemon, is doing.
///
/// Changes to backends, rules and sets lie over the configuration file: they survive a restart and a
/// reload. `config diff` shows them, `reload --save` writes them into the file and
/// `reload --discard` drops them.
#[derive(Debug, Parser)]
#[command(name = "lb-ctl", version, after_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) object: Object,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Unix socket of the agent
    #[arg(long, global = true, env = "LB_SOCKET", default_value = SOCKET, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// How to print the answer: table, wide (more columns), json or yaml (the API's objects)
    #[arg(short, long, global = true, value_enum, default_value_t)]
    #[arg(value_name = "FORMAT", hide_possible_values = true)]
    output: Format,
    /// Short for `-o json`
    #[arg(short, long, global = true, conflicts_with = "output")]
    json: bool,
}

impl Global {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person
    #[default]
    Table,
    /// The same with more columns
    Wide,
    /// JSON, indented on a terminal and on one line elsewhere
    Json,
    /// YAML
    Yaml,
}

/// Present on every command that changes something.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Change {
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Object {
    /// Show the agent as a whole: interfaces, services, flows and what needs attention
    Status,
    /// Show services and their counters
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Show and change the backends of services
    #[command(subcommand)]
    Backend(BackendVerb),
    /// Show what the health checks say
    #[command(subcommand)]
    Health(HealthVerb),
    /// Show the flows in the flow table
    #[command(subcommand)]
    Conn(ConnVerb),
    /// Show and change the rules of the firewall, and count what they met
    #[command(subcommand)]
    Firewall(FirewallVerb),
    /// Show and change the sets of prefixes that rules name
    #[command(subcommand)]
    Set(SetVerb),
    /// Count dropped packets, or watch them
    Drops(Drops),
    /// Show how the flow table is replicated to other directors
    #[command(subcommand)]
    Sync(SyncVerb),
    /// Show virtual routers, and let another director have one
    #[command(subcommand)]
    Vrrp(VrrpVerb),
    /// Make a packet, and tell what would become of it by the rules, services and flows of now
    ///
    /// It runs through the packet path as it is loaded, and changes nothing.
    Explain(Explain),
    /// Check, show, compare and apply configurations
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Let the agent read its configuration file again
    ///
    /// A file with a problem changes nothing: the old configuration goes on running.
    Reload(Reload),
    /// Look for what keeps this host from balancing well, and tell the remedy
    Doctor,
    /// Show the versions of lb-ctl and of the agent
    Version,
    /// Print the completions of a shell, to be sourced by it
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands
    Man {
        /// Write one page per command into this folder
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_verb() {
        for line in ["lb-ctl -j --socket /s status", "lb-ctl status -o json --socket /s"] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.global.format(), Format::Json, "{line}");
            assert_eq!(cli.global.socket, PathBuf::from("/s"), "{line}");
        }
    }

    #[test]
    fn two_formats_are_a_usage_error() {
        assert_eq!(parse("lb-ctl status -j -o yaml").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn every_changing_command_can_be_tried_first() {
        for line in [
            "lb-ctl backend add shop web4 192.0.2.14:80 --dry-run",
            "lb-ctl backend set shop web1 --weight 3 --dry-run",
            "lb-ctl backend delete shop web1 --dry-run",
            "lb-ctl backend ready shop web1 --dry-run",
            "lb-ctl backend drain shop web1 --dry-run",
            "lb-ctl backend maint shop web1 --dry-run",
            "lb-ctl backend weight shop web1 3 --dry-run",
            "lb-ctl firewall rule add no-ping --action drop --dry-run",
            "lb-ctl firewall rule delete no-ping --dry-run",
            "lb-ctl set add office 198.51.100.7 --dry-run",
            "lb-ctl set delete office 198.51.100.7 --dry-run",
            "lb-ctl firewall set load office list.txt --dry-run",
            "lb-ctl config apply lb.toml --dry-run",
            "lb-ctl reload --discard --dry-run",
            "lb-ctl reload --save --dry-run",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        assert!(parse("lb-ctl status --dry-run").is_err());
    }

    #[test]
    fn changes_are_saved_or_discarded_and_not_both() {
        assert_eq!(parse("lb-ctl reload --save --discard").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn no_command_at_all_is_a_usage_error() {
        assert_eq!(parse("lb-ctl").unwrap_err().exit_code(), 2);
        assert_eq!(parse("lb-ctl backend").unwrap_err().exit_code(), 2);
    }
}
