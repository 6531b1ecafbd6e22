//! Commands that only look: `service`, `health`, `conn`, `drops`, `sync`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::backend::Which;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceVerb {
    /// List all services
    List,
    /// Show one service and its backends
    Show {
        /// Name of the service
        service: String,
    },
    /// Count packets, bytes and flows of all services, or of one and its backends
    Stats {
        /// Only this service, and its backends one by one
        service: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HealthVerb {
    /// List every address that is checked
    List(Filter),
    /// Show the health of one backend
    Show(Which),
    /// List the latest changes of health, oldest first
    History(History),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnVerb {
    /// List flows
    List(FlowFilter),
    /// Count flows by backend
    Count(Filter),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SyncVerb {
    /// Show each other director: whether it is in step, how far it is behind, cells told and heard
    Status,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Only this service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Only backends of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Only the latest N changes
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Args, Debug)]
pub(crate) struct FlowFilter {
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Most flows to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Drops {
    /// What to count by
    #[arg(long, value_enum, default_value_t, value_name = "KEY")]
    pub(crate) by: By,
    /// Show every verdict, forwarded and passed packets and zeros included
    #[arg(long)]
    pub(crate) all: bool,
    /// Show packets as they are dropped, some of them where they are many, until you interrupt it
    #[arg(long, conflicts_with_all = ["by", "all"])]
    pub(crate) follow: bool,
    /// With --by source: watch for this long
    #[arg(long = "for", value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) time: Duration,
}

/// What drops are counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The verdict
    #[default]
    Reason,
    /// The service that packets were for
    Service,
    /// The source address, of packets sampled from now on
    Source,
}
