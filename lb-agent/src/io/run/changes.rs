//! Reload and apply: the two ways by which another configuration takes the place of the running one.

use std::io::ErrorKind;

use lb_common::api::{Applied, BackendChange, ConfigText};

use super::runtime::Runtime;
use super::source::ReadError;
use crate::io::causes::with_causes;
use crate::io::message::{Failure, Mode};
use crate::io::{notify, store};
use crate::model::agent::Event;
use crate::model::config::Checked;

impl Runtime {
    /// Reads the file again. What is wrong with it is logged and shown in the status, and the old
    /// configuration goes on.
    pub(super) async fn reload(&mut self, mode: Mode) -> Result<Applied, Failure> {
        // Before the start is over, its end is what the service manager waits for.
        let is_told = !mode.dry_run && self.is_announced;
        if is_told {
            notify::reloading();
        }
        let applied = match self.source.read() {
            Ok((text, checked)) => self.load(text, checked, mode).await,
            Err(error) => Err(refused(&error)),
        };
        if !mode.dry_run {
            self.reloads.count(applied.is_ok());
            if let Err(failure) = &applied {
                let problem = &failure.problem.error;
                tracing::error!("the configuration stays as it was:\n{problem}");
                self.source.problem = Some(problem.clone());
            }
        }
        if is_told {
            self.tell_ready();
        }
        self.confirm(applied?)
    }

    /// Takes a configuration and writes it into the file.
    pub(super) async fn apply(
        &mut self,
        config: ConfigText,
        mode: Mode,
    ) -> Result<Applied, Failure> {
        let checked = self.source.check(&config.name, &config.text).map_err(Failure::invalid)?;
        let applied = self.load(config.text.clone(), checked, mode).await;
        if mode.dry_run {
            return applied;
        }
        self.reloads.count(applied.is_ok());
        let applied = applied?;
        store::replace(self.source.path(), config.text.as_bytes()).map_err(|error| {
            let error = with_causes(&error);
            Failure::internal(format!("the configuration is running, but not in the file: {error}"))
        })?;
        self.confirm(applied)
    }

    /// Changes a backend.
    pub(super) async fn change(
        &mut self,
        change: BackendChange,
        mode: Mode,
    ) -> Result<Applied, Failure> {
        let dry_run = mode.dry_run;
        let applied = self.requested(|request| Event::Change { change, dry_run, request }).await?;
        self.confirm(applied)
    }

    async fn load(
        &mut self,
        text: String,
        checked: Checked,
        mode: Mode,
    ) -> Result<Applied, Failure> {
        let Mode { dry_run, discard_overlay } = mode;
        let config = Box::new(checked.config);
        let applied = self
            .requested(|request| {
                let request = Some(request);
                Event::Load { config, discard_overlay, dry_run, request }
            })
            .await?;
        if !dry_run {
            checked.notes.iter().for_each(|note| tracing::info!("{note}"));
            self.source.taken(text);
        }
        Ok(applied)
    }
}

fn refused(error: &ReadError) -> Failure {
    match error {
        ReadError::File { source, .. } if source.kind() == ErrorKind::InvalidData => {
            Failure::invalid(with_causes(error))
        }
        ReadError::File { .. } => Failure::internal(with_causes(error)),
        ReadError::Problems(problems) => Failure::invalid(problems),
    }
}
