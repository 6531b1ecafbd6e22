//! What can go wrong, the exit code and the advice of each.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use hyper::StatusCode;
use lb_common::api::Problem;

/// How the program ends. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    Unreachable,
    NotFound,
    InvalidConfig,
    TimedOut,
    NoPermission,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::NotFound => 4,
            Exit::InvalidConfig => 5,
            Exit::TimedOut => 7,
            Exit::NoPermission => 8,
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot reach the agent at {}: {source}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the agent did not answer {request} within {}", humantime::format_duration(*after))]
    Silent { request: String, after: Duration },
    #[error("the agent broke off {request}: {source}")]
    Exchange { request: String, source: hyper::Error },
    #[error("cannot read the agent's answer to {request}: {detail}")]
    Answer { request: String, detail: String },
    #[error("{}", problem.error)]
    Refused { path: String, status: StatusCode, problem: Problem },
    #[error("there is no {what}")]
    NotFound { what: String, help: Option<String> },
    #[error("read {name}: {source}")]
    Read { name: String, source: io::Error },
    #[error("write {name}: {source}")]
    Write { name: String, source: io::Error },
    #[error("encode the answer: {0}")]
    Encode(String),
    #[error("start the client: {0}")]
    Start(io::Error),
    #[error(
        "{service}/{backend} still has {} after {}",
        crate::render::units::count(*left, "flow"),
        humantime::format_duration(*after)
    )]
    FlowsLeft { service: String, backend: String, left: u64, after: Duration },
    /// An error, and the one sentence that helps in the place where it came up.
    #[error("{error}")]
    Advised { error: Box<Error>, help: String },
}

impl Error {
    /// The same with other advice.
    pub(crate) fn advise(self, help: impl Into<String>) -> Self {
        Self::Advised { error: Box::new(self), help: help.into() }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::Connect { .. } | Self::Exchange { .. } => Exit::Unreachable,
            Self::Silent { .. } | Self::FlowsLeft { .. } => Exit::TimedOut,
            Self::Refused { path, status, .. } => exit_of_status(*status, path),
            Self::NotFound { .. } => Exit::NotFound,
            Self::Read { source, .. } | Self::Write { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::NoPermission
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                Exit::InvalidConfig
            }
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Answer { .. }
            | Self::Encode(_)
            | Self::Start(_) => Exit::Failed,
            Self::Advised { error, .. } => error.exit(),
        }
    }

    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Connect { socket, source } => Some(connect_help(source, socket)),
            Self::Silent { .. } | Self::Exchange { .. } => {
                Some("its log may say why: journalctl -u lb-agent".into())
            }
            Self::Answer { .. } => {
                Some("`lb-ctl version` shows whether the agent is of another version".into())
            }
            Self::Refused { problem, .. } => problem.help.clone(),
            Self::NotFound { help, .. } => help.clone(),
            Self::FlowsLeft { service, backend, .. } => Some(format!(
                "it stays in drain; `lb-ctl conn list --service {service} --backend {backend}` \
                 shows its flows"
            )),
            Self::Read { .. } | Self::Write { .. } | Self::Encode(_) | Self::Start(_) => None,
            Self::Advised { help, .. } => Some(help.clone()),
        }
    }
}

/// The exit code of a refused request. What is invalid is a configuration if a configuration was sent or
/// read, and else a value from the command line.
fn exit_of_status(status: StatusCode, path: &str) -> Exit {
    match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Exit::NoPermission,
        StatusCode::UNPROCESSABLE_ENTITY if is_of_arguments(path) => Exit::Usage,
        StatusCode::UNPROCESSABLE_ENTITY => Exit::InvalidConfig,
        _ => Exit::Failed,
    }
}

/// Whether what is sent there comes from the command line, not from a file.
fn is_of_arguments(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    matches!(path, "/v1/backends" | "/v1/firewall/rules" | "/v1/sets")
}

fn connect_help(error: &io::Error, socket: &Path) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        format!("run as root or as a member of the group that `ls -l {}` shows", socket.display())
    } else if error.kind() == io::ErrorKind::NotFound {
        "is it running? `systemctl status lb-agent` tells, `systemctl start lb-agent` starts it; \
         --socket or LB_SOCKET names another socket"
            .into()
    } else if error.kind() == io::ErrorKind::InvalidInput {
        "--socket and LB_SOCKET take at most 107 bytes".into()
    } else {
        "nothing answers there: `systemctl status lb-agent` tells why, `systemctl restart lb-agent` \
         starts it again"
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, path: &str) -> Error {
        Error::Refused {
            path: path.into(),
            status: StatusCode::from_u16(status).unwrap(),
            problem: Problem { error: "no".into(), help: Some("do".into()) },
        }
    }

    fn connect(kind: io::ErrorKind) -> Error {
        Error::Connect { socket: "/run/lb/lb.sock".into(), source: kind.into() }
    }

    #[test]
    fn each_status_of_the_api_has_its_exit_code() {
        for (status, path, exit) in [
            (404, "/v1/backends", Exit::NotFound),
            (409, "/v1/backends?dry_run=false", Exit::Failed),
            (422, "/v1/backends?dry_run=false", Exit::Usage),
            (422, "/v1/sets?dry_run=false", Exit::Usage),
            (422, "/v1/firewall/rules?dry_run=false", Exit::Usage),
            (422, "/v1/sets/load?set=a&dry_run=false", Exit::InvalidConfig),
            (422, "/v1/config/apply?dry_run=false", Exit::InvalidConfig),
            (422, "/v1/reload?discard=false&dry_run=false", Exit::InvalidConfig),
            (403, "/v1/reload", Exit::NoPermission),
            (500, "/v1/status", Exit::Failed),
        ] {
            assert_eq!(refused(status, path).exit(), exit, "{status} {path}");
        }
    }

    #[test]
    fn an_unreachable_agent_is_told_from_a_forbidden_one() {
        assert_eq!(connect(io::ErrorKind::NotFound).exit(), Exit::Unreachable);
        assert_eq!(connect(io::ErrorKind::ConnectionRefused).exit(), Exit::Unreachable);
        assert_eq!(connect(io::ErrorKind::PermissionDenied).exit(), Exit::NoPermission);
    }

    #[test]
    fn an_unreachable_agent_is_named_with_a_way_to_start_it() {
        let error = connect(io::ErrorKind::NotFound);
        assert!(error.to_string().contains("/run/lb/lb.sock"));
        assert!(error.help().unwrap().contains("systemctl start lb-agent"));
        let too_long = connect(io::ErrorKind::InvalidInput);
        assert!(too_long.help().unwrap().contains("107 bytes"));
    }

    #[test]
    fn a_file_that_is_no_configuration_is_told_from_one_that_is_not_there() {
        let read =
            |kind: io::ErrorKind| Error::Read { name: "lb.toml".into(), source: kind.into() };
        assert_eq!(read(io::ErrorKind::InvalidData).exit(), Exit::InvalidConfig);
        assert_eq!(read(io::ErrorKind::NotFound).exit(), Exit::Failed);
        assert_eq!(read(io::ErrorKind::PermissionDenied).exit(), Exit::NoPermission);
    }

    #[test]
    fn other_advice_keeps_message_and_exit_code() {
        let error = refused(404, "/v1/backends").advise("look again");
        assert_eq!((error.to_string().as_str(), error.exit()), ("no", Exit::NotFound));
        assert_eq!(error.help().as_deref(), Some("look again"));
    }

    #[test]
    fn flows_that_are_left_are_counted_in_the_message() {
        let error = Error::FlowsLeft {
            service: "shop".into(),
            backend: "web1".into(),
            left: 1,
            after: Duration::from_secs(90),
        };
        assert_eq!(error.to_string(), "shop/web1 still has 1 flow after 1m 30s");
        assert_eq!(error.exit(), Exit::TimedOut);
    }
}
