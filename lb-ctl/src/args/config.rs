//! `lb-ctl config …` and `lb-ctl reload`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Change;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Let the agent check a configuration: every problem with line and column
    ///
    /// Nothing changes. Exit code 5 if there is a problem. Without a running agent use
    /// `lb-agent check FILE` instead.
    Check {
        /// The file, `-` for standard input [default: the agent's own file]
        file: Option<PathBuf>,
    },
    /// Print the configuration file as the agent has loaded it
    Show,
    /// Show what differs: changes made at run time, and the file on disk, against the loaded file
    Diff,
    /// Apply a configuration; if it has a problem nothing changes (exit code 5)
    Apply {
        /// The file, `-` for standard input
        file: PathBuf,
        /// Take it back after this time, unless `lb-ctl config confirm` comes before
        ///
        /// For changes by which you could lock yourself out. What is changed by lb-ctl meanwhile is taken back too,
        /// and an agent that starts meanwhile takes it back at once.
        #[arg(long, value_name = "DURATION", conflicts_with = "dry_run")]
        #[arg(value_parser = humantime::parse_duration)]
        confirm: Option<Duration>,
        #[command(flatten)]
        change: Change,
    },
    /// Keep the configuration that was applied with --confirm
    Confirm,
}

#[derive(Args, Debug)]
pub(crate) struct Reload {
    /// Drop the changes made at run time
    #[arg(long)]
    pub(crate) discard: bool,
    /// Write the changes made at run time into the file; all else in it stays as it is
    ///
    /// The agent writes the file as it is on disk, which is loaded too. If it has a problem, or
    /// cannot be written, nothing changes. With --dry-run the difference is shown as a patch.
    #[arg(long, conflicts_with = "discard")]
    pub(crate) save: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}
