//! What each command asks the agent and makes of the answer.

mod backend;
mod config;
mod find;
mod firewall;
mod look;
mod trace;
mod vrrp;
mod wait;

use std::io;

use lb_common::api::{Applied, Check, Status};
use serde::Serialize;

use crate::args::look::SyncVerb;
use crate::args::{Change, Format, Object};
use crate::client::{Client, path};
use crate::error::{Error, Exit};
use crate::pages;
use crate::render::{self, Look, Screen};

/// What commands work with.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) format: Format,
    pub(crate) screen: Screen,
    /// Whether a person watches standard error.
    pub(crate) progress: bool,
    /// The connection by which the person sits here, as `SSH_CONNECTION` tells.
    pub(crate) session: Option<String>,
}

impl Context {
    fn answer<T: Serialize + ?Sized>(
        &self,
        object: &T,
        text: impl FnOnce(Look) -> String,
    ) -> Result<Answer, Error> {
        render::render(object, self.format, self.screen, text).map(Answer::from)
    }

    /// The parameter by which the agent learns whom a change may cut off.
    fn session(&self) -> (&'static str, Option<&str>) {
        ("session", self.session.as_deref())
    }

    /// Whether a person is to read the answer.
    fn for_a_person(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    fn applied(&self, applied: &Applied) -> Result<Answer, Error> {
        let mut answer = self.answer(applied, |_look| render::change::applied(applied))?;
        answer.remarks.extend(applied.warnings.iter().map(|warning| format!("warning: {warning}")));
        Ok(answer)
    }
}

/// How a command ends.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For standard output.
    pub(crate) text: String,
    /// For standard error.
    pub(crate) remarks: Vec<String>,
    pub(crate) exit: Exit,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, remarks: vec![], exit: Exit::Done }
    }
}

pub(crate) async fn execute(object: Object, context: &Context) -> Result<Answer, Error> {
    match object {
        Object::Status => status(context).await,
        Object::Service(verb) => look::service(verb, context).await,
        Object::Backend(verb) => backend::backend(verb, context).await,
        Object::Health(verb) => look::health(verb, context).await,
        Object::Conn(verb) => look::conn(verb, context).await,
        Object::Sync(SyncVerb::Status) => look::sync(context).await,
        Object::Firewall(verb) => firewall::firewall(verb, context).await,
        Object::Set(verb) => firewall::set(verb, context).await,
        Object::Vrrp(verb) => vrrp::vrrp(verb, context).await,
        Object::Drops(drops) => trace::drops(&drops, context).await,
        Object::Explain(explain) => trace::explain(explain, context).await,
        Object::Config(verb) => config::config(verb, context).await,
        Object::Reload(reload) => {
            let discard = ("discard", Some(bool_text(reload.discard)));
            let save = ("save", Some(bool_text(reload.save)));
            let path =
                path("/v1/reload", &[discard, save, dry_run(reload.change), context.session()]);
            context.applied(&context.client.post(&path).await?)
        }
        Object::Doctor => doctor(context).await,
        Object::Version => version(context).await,
        Object::Completion { shell } => made(pages::completion(shell), "the completions"),
        Object::Man { dir: None } => made(pages::man_page(), "the manual page"),
        Object::Man { dir: Some(dir) } => {
            let done = pages::write_man_pages(&dir).map(|()| String::new());
            made(done, &format!("manual pages into {}", dir.display()))
        }
    }
}

fn made(text: io::Result<String>, name: &str) -> Result<Answer, Error> {
    text.map(Answer::from).map_err(|source| Error::Write { name: name.to_owned(), source })
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn dry_run(change: Change) -> (&'static str, Option<&'static str>) {
    ("dry_run", Some(bool_text(change.dry_run)))
}

async fn status(context: &Context) -> Result<Answer, Error> {
    let status: Status = context.client.get("/v1/status").await?;
    context.answer(&status, |look| render::status::page(&status, look))
}

async fn doctor(context: &Context) -> Result<Answer, Error> {
    let checks: Vec<Check> = context.client.get("/v1/doctor").await?;
    let answer = context.answer(&checks, |look| render::status::doctor(&checks, look))?;
    let exit = if checks.iter().all(|check| check.ok) { Exit::Done } else { Exit::Failed };
    Ok(Answer { exit, ..answer })
}

/// The object of `version`.
#[derive(Serialize)]
struct Versions {
    client: &'static str,
    /// Nothing where the agent cannot be asked.
    agent: Option<String>,
}

/// The client's version is shown even if the agent cannot be reached.
async fn version(context: &Context) -> Result<Answer, Error> {
    let (agent, problem) = match context.client.get::<Status>("/v1/status").await {
        Ok(status) => (Some(status.version), None),
        Err(problem) => (None, Some(problem)),
    };
    let versions = Versions { client: env!("CARGO_PKG_VERSION"), agent };
    let mut answer = context.answer(&versions, |_look| {
        let agent = versions.agent.as_deref().unwrap_or("not known");
        render::table::pairs(&[("lb-ctl", versions.client.into()), ("lb-agent", agent.into())])
    })?;
    if let Some(problem) = problem {
        answer.exit = problem.exit();
        answer.remarks.push(format!("error: {problem}"));
        answer.remarks.extend(problem.help().map(|help| format!("help: {help}")));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests;
