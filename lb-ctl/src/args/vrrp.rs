//! `vrrp`: which director has which addresses.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum VrrpVerb {
    /// List the virtual routers and their states
    Status,
    /// List the latest changes of state, oldest first
    History(RouterHistory),
    /// Stand down, so that another director takes over
    ///
    /// This director has the addresses again when no other one is heard, but does not preempt until then.
    Release {
        /// Name of a [[vrrp]] or of a group; all routers of a group move together
        router: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct RouterHistory {
    /// Only this [[vrrp]]
    #[arg(long, value_name = "NAME")]
    pub(crate) router: Option<String>,
    /// Only the latest N changes
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}
