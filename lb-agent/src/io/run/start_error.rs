//! Why the daemon does not start: the words, the remedy and the exit code.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use super::source::ReadError;
use crate::io::api::BindError;
use crate::io::datapath::DatapathError;
use crate::io::netlink::AddressError;
use crate::io::store::StoreError;
use crate::io::sync;
use crate::model::plan::Full;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ReadError),
    /// The services or the firewall do not fit into the maps.
    #[error("the configuration does not fit")]
    Full(#[from] Full),
    /// The kernel will not allow it.
    #[error(
        "no permission: the agent lacks {}; start it as root, or give its unit AmbientCapabilities",
        .0.join(", ")
    )]
    Capabilities(Vec<&'static str>),
    /// The API's socket.
    #[error(transparent)]
    Api(#[from] BindError),
    /// The address of metrics.
    #[error("listen on {0} for metrics; another program may, see [metrics] listen")]
    Metrics(SocketAddr, #[source] io::Error),
    /// The state folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The packet path.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The addresses that were added before.
    #[error(transparent)]
    Addresses(#[from] AddressError),
    /// The addresses of virtual routers.
    #[error("remove the virtual addresses that were left")]
    VirtualAddresses(#[source] io::Error),
    /// The routes and neighbours.
    #[error("follow the kernel's routes and neighbours")]
    Resolver(#[source] io::Error),
    /// Replication.
    #[error(transparent)]
    Sync(#[from] sync::OpenError),
    /// Its threads.
    #[error("start the threads of replication")]
    SyncThreads(#[source] io::Error),
    /// A signal.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
}

impl StartError {
    /// What to do about it, where the error itself does not say.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Config(ReadError::File { source, .. }) => help_with_file(source.kind()),
            Self::Datapath(_) if self.is_denied() => Some(
                "the folder of pins must belong to the agent's user, as ExecStartPre of lb-agent.service brings about",
            ),
            Self::Store(_) | Self::Addresses(_) if self.is_denied() => Some(
                "[agent] state_dir must belong to the agent's user, as StateDirectory= of a unit brings about",
            ),
            Self::Api(_) if self.is_denied() => Some(
                "the socket's folder must belong to the agent's user, as RuntimeDirectory= of a unit brings about",
            ),
            Self::Sync(_) if self.is_denied() => {
                Some("let the agent's user read the key: `chgrp lb`, `chmod 640`")
            }
            Self::Metrics(..) if self.is_denied() => {
                Some("ports below 1024 need CAP_NET_BIND_SERVICE; take another")
            }
            Self::Config(_)
            | Self::Full(_)
            | Self::Capabilities(_)
            | Self::Api(_)
            | Self::Metrics(..)
            | Self::Store(_)
            | Self::Datapath(_)
            | Self::Addresses(_)
            | Self::VirtualAddresses(_)
            | Self::Resolver(_)
            | Self::Sync(_)
            | Self::SyncThreads(_)
            | Self::Signals(_) => None,
        }
    }

    /// The exit code: 5 for the configuration, 8 for a missing permission, 1 for all else.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Full(_) => 5,
            Self::Capabilities(_) => 8,
            Self::Api(_)
            | Self::Metrics(..)
            | Self::Store(_)
            | Self::Datapath(_)
            | Self::Addresses(_)
            | Self::VirtualAddresses(_)
            | Self::Resolver(_)
            | Self::Sync(_)
            | Self::SyncThreads(_)
            | Self::Signals(_) => {
                if self.is_denied() {
                    8
                } else {
                    1
                }
            }
        }
    }

    /// Whether the kernel has refused it for want of a right.
    fn is_denied(&self) -> bool {
        let mut next: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = next {
            let error_of_system = error.downcast_ref::<io::Error>();
            if error_of_system.is_some_and(|it| it.kind() == io::ErrorKind::PermissionDenied) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

fn help_with_file(kind: io::ErrorKind) -> Option<&'static str> {
    let help = [
        (io::ErrorKind::NotFound, "`--config FILE` names another file"),
        (io::ErrorKind::PermissionDenied, "run as root, or let the agent's user read it"),
        (io::ErrorKind::IsADirectory, "`--config` takes the file in it"),
    ];
    help.into_iter().find(|(other, _)| *other == kind).map(|(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_pins(kind: io::ErrorKind) -> StartError {
        let source = io::Error::from(kind).into();
        DatapathError::Pin { act: "create", path: "/sys/fs/bpf/lb".into(), source }.into()
    }

    #[test]
    fn a_missing_right_has_a_remedy_and_an_exit_code_of_its_own() {
        let denied = io::ErrorKind::PermissionDenied;
        let store = StoreError::Io { act: "write", path: "/var".into(), source: denied.into() };
        let metrics = StartError::Metrics(([127, 0, 0, 1], 90).into(), denied.into());
        for (error, word) in [
            (on_pins(denied), "ExecStartPre"),
            (store.into(), "StateDirectory"),
            (metrics, "CAP_NET_BIND_SERVICE"),
        ] {
            assert_eq!(error.code(), 8, "{error}");
            assert!(error.help().unwrap().contains(word), "{error}");
        }
    }

    #[test]
    fn what_a_right_would_not_mend_is_no_matter_of_rights() {
        let error = on_pins(io::ErrorKind::NotFound);
        assert_eq!((error.code(), error.help()), (1, None));
        assert_eq!(StartError::Capabilities(vec!["CAP_BPF"]).code(), 8);
    }
}
