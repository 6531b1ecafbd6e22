//! Reload and apply: the ways by which another configuration takes the place of the running one. The reload
//! that saves is in `save`.

use std::io::ErrorKind;

use lb_common::api::{Applied, ConfigText};

use super::runtime::Runtime;
use super::sets;
use super::source::ReadError;
use crate::io::causes::with_causes;
use crate::io::message::{Failure, Fate, Mode};
use crate::io::{notify, store};
use crate::model::agent::{Event, Laid};
use crate::model::config::Checked;
use crate::model::overlay::change::Change;

impl Runtime {
    /// Reads the file again. What is wrong with it is logged and shown in the status, and the old
    /// configuration goes on.
    pub(super) async fn reload(&mut self, mode: Mode) -> Result<Applied, Failure> {
        if !mode.dry_run {
            self.must_be_confirmed()?;
        }
        if mode.overlay == Fate::Save {
            return self.save_and_reload(mode.dry_run).await;
        }
        if !mode.dry_run {
            self.reloading();
        }
        let applied = match self.source.read() {
            Ok((text, checked)) => self.load(text, checked, mode).await,
            Err(error) => Err(refused(&error)),
        };
        if !mode.dry_run {
            self.reloaded(&applied);
        }
        self.confirm(applied?)
    }

    /// Makes known that a reload has begun. Before the start is over, its end is what the service manager waits
    /// for.
    pub(super) fn reloading(&self) {
        if self.is_announced {
            notify::reloading();
        }
    }

    /// Makes known how a reload ended.
    pub(super) fn reloaded(&mut self, applied: &Result<Applied, Failure>) {
        self.reloads.count(applied.is_ok());
        if let Err(failure) = applied {
            let problem = &failure.problem.error;
            tracing::error!("the configuration stays as it was:\n{problem}");
            self.source.problem = Some(problem.clone());
        }
        if self.is_announced {
            self.tell_ready();
        }
    }

    /// Takes a configuration, for good or until it is confirmed.
    pub(super) async fn apply(
        &mut self,
        config: ConfigText,
        mode: Mode,
    ) -> Result<Applied, Failure> {
        if mode.dry_run {
            return self.take_config(config, mode).await;
        }
        self.must_be_confirmed()?;
        match mode.confirm_within {
            Some(patience) => self.apply_for(config, mode, patience).await,
            None => self.take_config(config, mode).await,
        }
    }

    /// Takes a configuration and writes it into the file.
    pub(super) async fn take_config(
        &mut self,
        config: ConfigText,
        mode: Mode,
    ) -> Result<Applied, Failure> {
        let applied = self.run_config(&config, mode).await?;
        if mode.dry_run {
            return Ok(applied);
        }
        self.forget_before();
        self.keep_config(&config, applied)
    }

    /// Takes a configuration: an error means that nothing is changed.
    pub(super) async fn run_config(
        &mut self,
        config: &ConfigText,
        mode: Mode,
    ) -> Result<Applied, Failure> {
        let checked = self.source.check(&config.name, &config.text).map_err(Failure::invalid)?;
        let applied = self.load(config.text.clone(), checked, mode).await;
        if !mode.dry_run {
            self.reloads.count(applied.is_ok());
        }
        applied
    }

    /// Writes a configuration that runs into the file.
    pub(super) fn keep_config(
        &self,
        config: &ConfigText,
        applied: Applied,
    ) -> Result<Applied, Failure> {
        store::replace(self.source.path(), config.text.as_bytes()).map_err(|error| {
            let error = with_causes(&error);
            Failure::internal(format!("the configuration is running, but not in the file: {error}"))
        })?;
        self.confirm(applied)
    }

    /// Changes a backend, a rule or a set.
    pub(super) async fn change(&mut self, change: Change, mode: Mode) -> Result<Applied, Failure> {
        if !mode.dry_run {
            self.must_be_confirmed()?;
        }
        let terms = mode.terms();
        let change = |request| Event::Change { change, terms, request };
        let applied = self.requested(change, mode.dry_run).await?;
        if !mode.dry_run {
            self.set_files.try_refused_again();
        }
        self.confirm(applied)
    }

    pub(super) async fn load(
        &mut self,
        text: String,
        checked: Checked,
        mode: Mode,
    ) -> Result<Applied, Failure> {
        let (terms, dry_run) = (mode.terms(), mode.dry_run);
        let overlay = if mode.overlay == Fate::Discard { Laid::Discard } else { Laid::Keep };
        let sets = self.read_sets(&checked.config).await?;
        let (config, read) = (Box::new(checked.config), sets::stock(&sets));
        let load = |request| Event::Load { config, read, overlay, terms, request };
        let applied = self.requested(load, dry_run).await?;
        if !dry_run {
            checked.notes.iter().for_each(|note| tracing::info!("{note}"));
            self.source.taken(text);
            self.sets_taken(&sets);
            self.look_at_size();
        }
        Ok(applied)
    }
}

pub(super) fn refused(error: &ReadError) -> Failure {
    match error {
        ReadError::File { source, .. } if source.kind() == ErrorKind::InvalidData => {
            Failure::invalid(with_causes(error))
        }
        ReadError::File { .. } => Failure::internal(with_causes(error)),
        ReadError::Problems(problems) => Failure::invalid(problems),
        ReadError::Sets(problems) => Failure::invalid(problems),
    }
}
