//! What the core loop is told and asked, by whichever task: one channel carries it all.

use std::fmt::Display;
use std::time::Duration;

use hyper::StatusCode;
use lb_common::api::{
    Applied, Check, ConfigDiff, ConfigReport, ConfigText, DropSamples, Explanation, Firewall,
    FlowList, HealthChange, MadePacket, Problem, Release, RouterChange, Service, Set, SetElements,
    Status, SyncStatus, TargetHealth, VerdictCount, VrrpStatus,
};
use lb_common::layout::Sample;
use tokio::sync::{mpsc, oneshot};

use super::datapath::{CookiesLoaded, Prepared, Swept};
use super::metrics::Snapshot;
use super::run::{MadeRules, ReadSet};
use crate::model::agent::{Refusal, Session, Target, Terms};
use crate::model::overlay::change::Change;

/// Something for the core loop.
#[derive(Debug)]
pub enum Message {
    /// Somebody asks.
    Call(Call),
    /// A part of the flow table was swept; the last part has counts.
    Swept(Result<Swept, String>),
    /// All that another size of the flow table needs is there, or why not.
    Resized(Result<Box<Prepared>, String>),
    /// The program for SYN cookies is there, or why not.
    CookiesLoaded(Result<CookiesLoaded, String>),
    /// The rules of what runs were compiled, or could not be.
    Compiled(Box<MadeRules>),
    /// The file of a set was read again.
    SetRead(ReadSet),
    /// A probe could not be carried out, and why.
    NotProbed(Target, String),
    /// An interface has changed.
    LinkChanged,
    /// The virtual routers have something to tell.
    Vrrp(super::vrrp::Told),
    /// SIGHUP came.
    Hangup,
    /// SIGTERM or SIGINT came.
    Stop,
}

/// A question, and where its answer goes.
#[derive(Debug)]
pub enum Call {
    /// State of the agent as a whole.
    Status(Reply<Status>),
    /// All services.
    Services(Reply<Vec<Service>>),
    /// Health of all targets.
    Health(Reply<Vec<TargetHealth>>),
    /// Changes of health.
    History(Reply<Vec<HealthChange>>),
    /// Flows that match.
    Flows(FlowFilter, Reply<FlowList>),
    /// Counters by verdict.
    Drops(Reply<Vec<VerdictCount>>),
    /// Packets that were dropped after the first so many samples.
    DropSamples(Option<u64>, Reply<DropSamples>),
    /// What would become of a packet.
    Explain(MadePacket, Reply<Explanation>),
    /// What the packet path has told of a packet that came by an interface.
    Explained(Box<Sample>, String, Reply<Explanation>),
    /// The firewall and its counters.
    Firewall(Reply<Firewall>),
    /// The sets of the firewall.
    Sets(Reply<Vec<Set>>),
    /// At most as many elements of a set.
    SetElements(String, usize, Reply<SetElements>),
    /// The configuration file as it was loaded.
    Config(Reply<ConfigText>),
    /// What differs from it.
    Diff(Reply<ConfigDiff>),
    /// Whether a configuration is valid.
    Check(ConfigText, Option<Session>, Reply<ConfigReport>),
    /// Take a configuration and write it into the file.
    Apply(ConfigText, Mode, Reply<Applied>),
    /// Keep the configuration that was taken for a time.
    Confirm(Reply<()>),
    /// Read the file again.
    Reload(Mode, Reply<Applied>),
    /// Change a backend, a rule or a set.
    Change(Change, Mode, Reply<Applied>),
    /// How replication stands.
    Sync(Reply<SyncStatus>),
    /// Examine the host.
    Doctor(Reply<Vec<Check>>),
    /// State of the virtual routers.
    Vrrp(Reply<VrrpStatus>),
    /// Their changes of state.
    VrrpHistory(Reply<Vec<RouterChange>>),
    /// Let another director have one.
    Release(Release, Reply<VrrpStatus>),
    /// Everything that metrics tell.
    Metrics(Reply<Snapshot>),
    /// Whether traffic can be balanced by now.
    Ready(Reply<()>),
}

/// How a change is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Only tried.
    pub dry_run: bool,
    /// What becomes of the changes made at run time.
    pub overlay: Fate,
    /// The connection by which whoever asks has come, where that is known.
    pub session: Option<Session>,
    /// When the configuration before comes back, unless this one is confirmed until then.
    pub confirm_within: Option<Duration>,
}

impl Mode {
    /// What of it the core has to know.
    pub fn terms(self) -> Terms {
        Terms { dry_run: self.dry_run, session: self.session }
    }
}

/// What becomes of the changes made at run time when a configuration is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// They go on lying over the file.
    #[default]
    Keep,
    /// They are dropped.
    Discard,
    /// They are written into the file.
    Save,
}

/// Which flows are meant, and how many of them are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFilter {
    /// Most flows to list.
    pub limit: usize,
    /// Only those of this service.
    pub service: Option<String>,
    /// Only those of this backend.
    pub backend: Option<String>,
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub status: StatusCode,
    /// In words.
    pub problem: Problem,
}

impl Failure {
    /// A failure without a remedy.
    pub fn new(status: StatusCode, error: impl Display) -> Self {
        Self { status, problem: Problem { error: error.to_string(), help: None } }
    }

    /// The agent could not do it.
    pub fn internal(error: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    /// An invalid configuration or value.
    pub fn invalid(error: impl Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error)
    }

    /// The same with a remedy.
    #[must_use]
    pub fn with_help(mut self, help: &str) -> Self {
        self.problem.help = Some(help.to_owned());
        self
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Conflict(_) => StatusCode::CONFLICT,
            Refusal::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refusal)
    }
}

/// The way to the core loop.
#[derive(Clone, Debug)]
pub struct Core(mpsc::Sender<Message>);

impl Core {
    /// The loop that receives from `messages`.
    pub fn new(messages: mpsc::Sender<Message>) -> Self {
        Self(messages)
    }

    /// Asks and waits for the answer.
    pub async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Failure::new(status, "the agent is stopping")
        };
        self.0.send(Message::Call(call(reply))).await.map_err(|_closed| gone())?;
        answer.await.unwrap_or_else(|_closed| Err(gone()))
    }
}
