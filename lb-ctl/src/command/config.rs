//! `lb-ctl config …`

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lb_common::api::{Applied, ConfigDiff, ConfigReport, ConfigText, Status};
use lb_common::config_file;

use super::{Answer, Context, dry_run};
use crate::args::Change;
use crate::args::config::ConfigVerb;
use crate::client::path;
use crate::error::{Error, Exit};
use crate::render::change;
use crate::render::units::count;

pub(super) async fn config(verb: ConfigVerb, context: &Context) -> Result<Answer, Error> {
    match verb {
        ConfigVerb::Check { file } => check(file, context).await,
        ConfigVerb::Show => {
            let config: ConfigText = context.client.get("/v1/config").await?;
            context.answer(&config, |_look| config.text.clone())
        }
        ConfigVerb::Diff => {
            let diff: ConfigDiff = context.client.get("/v1/config/diff").await?;
            context.answer(&diff, |_look| change::diff(&diff))
        }
        ConfigVerb::Apply { file, confirm, change } => apply(&file, confirm, change, context).await,
        ConfigVerb::Confirm => {
            context.client.post::<()>("/v1/config/confirm").await?;
            context.answer(&(), |_look| "confirmed\n".to_owned())
        }
    }
}

async fn apply(
    file: &Path,
    confirm: Option<Duration>,
    change: Change,
    context: &Context,
) -> Result<Answer, Error> {
    let seconds = confirm.map(|time| time.as_secs().max(1).to_string());
    let session = context.session();
    let parameters = [dry_run(change), session, ("confirm_seconds", seconds.as_deref())];
    let path = path("/v1/config/apply", &parameters);
    let applied: Applied = context.client.send(&path, &read(file)?).await?;
    let mut answer = context.applied(&applied)?;
    if let Some(time) = confirm {
        let time = humantime::format_duration(time);
        answer
            .remarks
            .push(format!("`lb-ctl config confirm` keeps it; else it is taken back after {time}"));
    }
    Ok(answer)
}

async fn check(file: Option<PathBuf>, context: &Context) -> Result<Answer, Error> {
    let file = match file {
        Some(file) => file,
        None => context.client.get::<Status>("/v1/status").await?.config_file.into(),
    };
    let text = read(&file)?;
    let report: ConfigReport = context
        .client
        .send(&path("/v1/config/check", &[context.session()]), &text)
        .await
        .map_err(|error| without_agent(error, &file))?;
    let mut answer = context.answer(&report, |_look| change::report(&report, &text.name))?;
    if !report.valid {
        answer.exit = Exit::InvalidConfig;
        if context.for_a_person() {
            let number = count(report.count, "problem");
            answer.remarks = vec![report.problems, format!("error: {} has {number}", text.name)];
        }
    }
    Ok(answer)
}

/// A file can be checked without a running agent, but not by us.
fn without_agent(error: Error, file: &Path) -> Error {
    match error.exit() {
        Exit::Unreachable => {
            let file = file.display();
            error
                .advise(format!("without a running agent, `lb-agent check {file}` checks the file"))
        }
        Exit::Done
        | Exit::Failed
        | Exit::Usage
        | Exit::NotFound
        | Exit::InvalidConfig
        | Exit::TimedOut
        | Exit::NoPermission => error,
    }
}

fn read(file: &Path) -> Result<ConfigText, Error> {
    let (name, text) = if file == Path::new("-") {
        ("standard input".to_owned(), config_file::read_from(io::stdin()))
    } else {
        (file.display().to_string(), config_file::read(file))
    };
    match text {
        Ok(text) => Ok(ConfigText { name, text }),
        Err(source) => Err(Error::Read { name, source }),
    }
}
