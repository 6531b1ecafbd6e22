//! `lb-ctl backend …`

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use lb_common::api::{BackendState, MAX_WEIGHT};

use super::Change;

#[derive(Debug, Subcommand)]
pub(crate) enum BackendVerb {
    /// List the backends of one service or of all
    List {
        /// Only this service
        service: Option<String>,
    },
    /// Show one backend
    Show(Which),
    /// Add a backend; it takes new flows as soon as its health check passes
    Add(Add),
    /// Change what is given of a backend
    Set(Set),
    /// Remove a backend; its open flows are treated as those of a dead backend
    Delete(Switch),
    /// Let a backend take new flows
    Ready(Switch),
    /// Give a backend no new flows, and let it keep those it has
    Drain(Drain),
    /// Take a backend out; its open flows are treated as those of a dead backend
    Maint(Switch),
    /// Change the weight of a backend
    Weight(Weight),
}

/// A backend by its service and name.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// Name of the service
    pub(crate) service: String,
    /// Name of the backend within the service
    pub(crate) backend: String,
}

fn weight() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=MAX_WEIGHT.into())
}

#[derive(Args, Debug)]
pub(crate) struct Switch {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Args, Debug)]
pub(crate) struct Add {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Address and port, as `192.0.2.11:80` or `[2001:db8::11]:80`; one per family at most
    #[arg(required = true, num_args = 1..=2)]
    pub(crate) address: Vec<SocketAddr>,
    /// Weight relative to the other backends, 0 to 65535
    #[arg(long, value_parser = weight())]
    pub(crate) weight: Option<u32>,
    /// Serve only when no other backend does
    #[arg(long)]
    pub(crate) backup: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Args, Debug)]
#[group(id = "what", required = true, multiple = true, args = ["address", "weight", "backup", "state"])]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) which: Which,
    /// New addresses in place of all old ones; give it once per family
    #[arg(long)]
    pub(crate) address: Vec<SocketAddr>,
    /// New weight, 0 to 65535; 0 takes no new flows
    #[arg(long, value_parser = weight())]
    pub(crate) weight: Option<u32>,
    /// Whether it serves only when no other backend does
    #[arg(long, value_name = "BOOL")]
    pub(crate) backup: Option<bool>,
    /// What you want of it
    #[arg(long, value_enum)]
    pub(crate) state: Option<State>,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Args, Debug)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Return only when the backend has no flows left
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// Give up waiting after this time; the backend stays in drain (exit code 7)
    #[arg(long, requires = "wait", value_name = "DURATION", default_value = "5m")]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Args, Debug)]
pub(crate) struct Weight {
    #[command(flatten)]
    pub(crate) which: Which,
    /// New weight, 0 to 65535; 0 takes no new flows
    #[arg(value_name = "WEIGHT", value_parser = weight())]
    pub(crate) value: u32,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// [`BackendState`] as an argument; the API's types know nothing of clap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// Takes new flows
    Ready,
    /// Keeps its flows, takes no new ones
    Drain,
    /// Takes nothing; its open flows are treated as those of a dead backend
    Maint,
}

impl From<State> for BackendState {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Drain => Self::Drain,
            State::Maint => Self::Maint,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Object};
    use super::*;

    fn parse(line: &str) -> Result<BackendVerb, clap::Error> {
        let object = Cli::try_parse_from(line.split_whitespace())?.object;
        let Object::Backend(verb) = object else { panic!("{line} is {object:?}") };
        Ok(verb)
    }

    #[test]
    fn a_backend_takes_an_address_of_each_family() {
        let line =
            "lb-ctl backend add shop web4 192.0.2.14:80 [2001:db8::14]:80 --weight 7 --backup";
        let BackendVerb::Add(add) = parse(line).unwrap() else { panic!("not add") };
        assert_eq!((add.which.service.as_str(), add.which.backend.as_str()), ("shop", "web4"));
        assert_eq!(add.address.len(), 2);
        assert_eq!((add.weight, add.backup, add.change.dry_run), (Some(7), true, false));
    }

    #[test]
    fn wrong_values_are_usage_errors() {
        for line in [
            "lb-ctl backend add shop web4",
            "lb-ctl backend add shop web4 192.0.2.14",
            "lb-ctl backend add shop web4 192.0.2.1:80 192.0.2.2:80 192.0.2.3:80",
            "lb-ctl backend weight shop web1 65536",
            "lb-ctl backend weight shop web1 -1",
            "lb-ctl backend set shop web1",
            "lb-ctl backend set shop web1 --dry-run",
            "lb-ctl backend set shop web1 --state down",
            "lb-ctl backend drain shop web1 --timeout 5s",
            "lb-ctl backend drain shop web1 --wait --timeout 5",
            "lb-ctl backend drain shop web1 --wait --dry-run",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn set_takes_any_of_its_options() {
        let line =
            "lb-ctl backend set shop web1 --address 192.0.2.9:80 --backup false --state maint";
        let BackendVerb::Set(set) = parse(line).unwrap() else { panic!("not set") };
        assert_eq!((set.address.len(), set.weight, set.backup), (1, None, Some(false)));
        assert_eq!(set.state.map(BackendState::from), Some(BackendState::Maint));
    }

    #[test]
    fn a_drain_waits_five_minutes_unless_told_otherwise() {
        for (line, seconds) in [
            ("lb-ctl backend drain shop web1 --wait", 300),
            ("lb-ctl backend drain shop web1 --wait --timeout 1m30s", 90),
        ] {
            let BackendVerb::Drain(drain) = parse(line).unwrap() else { panic!("not drain") };
            assert!(drain.wait);
            assert_eq!(drain.timeout, Duration::from_secs(seconds), "{line}");
        }
    }
}
