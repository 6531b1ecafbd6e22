//! A configuration that is to be confirmed: without that, what ran before comes back.
//!
//! What ran before is kept in the state folder until then, so that an agent that starts meanwhile goes back at
//! once: whoever applied the configuration may not be able to say that it is wrong.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use lb_common::api::{Applied, ConfigText};
use serde::{Deserialize, Serialize};

use super::faults::Act;
use super::runtime::Runtime;
use crate::io::causes::with_causes;
use crate::io::clock;
use crate::io::message::{Failure, Mode};
use crate::io::store::{self, StoreError};
use crate::model::agent::{Event, Laid};
use crate::model::overlay::Overlay;
use crate::model::overlay::sets::Stock;

const ROLL_BACK: Act = Act::needed("put back what ran before");
/// Time until that is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What ran before, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Before {
    /// The text of the file.
    text: String,
    overlay: Overlay,
}

/// A configuration that runs and is not confirmed.
pub(super) struct Unconfirmed {
    before: Before,
    stock: Stock,
    /// When what ran before comes back.
    ends_at: Instant,
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("unconfirmed.json")
}

/// Before a start: puts back what ran before a configuration that nobody has confirmed. Says whether there was one.
pub(super) fn go_back(file: &Path, state_dir: &Path) -> Result<bool, StoreError> {
    let kept = path(state_dir);
    let Some(Before { text, overlay }) = store::load::<Option<Before>>(&kept)? else {
        return Ok(false);
    };
    store::replace(file, text.as_bytes())?;
    store::save_overlay(state_dir, &overlay)?;
    match fs::remove_file(&kept) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(StoreError::Io { act: "remove", path: kept, source })
        }
        Ok(()) | Err(_) => Ok(true),
    }
}

impl Runtime {
    /// Takes a configuration that is to be confirmed within a time.
    pub(super) async fn apply_for(
        &mut self,
        config: ConfigText,
        mode: Mode,
        patience: Duration,
    ) -> Result<Applied, Failure> {
        let before =
            Before { text: self.source.running().text, overlay: self.agent.overlay().clone() };
        let stock = self.agent.stock().clone();
        let kept = path(&self.agent.config().agent.state_dir);
        store::save(&kept, &before).map_err(|error| {
            Failure::internal(format!("nothing is changed: {}", with_causes(&error)))
        })?;
        let ran = self.run_config(&config, mode).await;
        let Ok(applied) = ran else {
            self.forget_before();
            return ran;
        };
        let ends_at = clock::now() + patience;
        self.unconfirmed = Some(Unconfirmed { before, stock, ends_at });
        self.keep_config(&config, applied)
    }

    /// What runs is what is wanted.
    pub(super) fn confirm_config(&mut self) -> Result<(), Failure> {
        if self.unconfirmed.take().is_none() {
            let error = "no configuration waits for its confirmation";
            return Err(Failure::new(StatusCode::CONFLICT, error));
        }
        self.faults.note(ROLL_BACK, Ok(()));
        self.forget_before();
        tracing::info!("the configuration is confirmed");
        Ok(())
    }

    /// Refuses what cannot be told apart from the configuration that waits.
    pub(super) fn must_be_confirmed(&self) -> Result<(), Failure> {
        if self.unconfirmed.is_none() {
            return Ok(());
        }
        let error = "the configuration that runs waits for its confirmation";
        tracing::warn!("nothing is changed: {error}");
        Err(Failure::new(StatusCode::CONFLICT, error)
            .with_help("confirm it with `lb-ctl config confirm`, or let its time pass"))
    }

    /// The time is over: what ran before comes back, be it later.
    pub(super) async fn roll_back(&mut self) {
        let Some(Unconfirmed { before, stock, .. }) = &self.unconfirmed else { return };
        let (before, stock) = (before.clone(), stock.clone());
        let put_back = self.put_back(before, stock).await;
        if put_back.is_ok() {
            tracing::warn!("the configuration was not confirmed: the one before is back");
            self.unconfirmed = None;
            self.forget_before();
        } else if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.ends_at = clock::now() + AGAIN;
        }
        self.faults.note(ROLL_BACK, put_back.map_err(|failure| failure.problem.error));
    }

    async fn put_back(&mut self, before: Before, stock: Stock) -> Result<(), Failure> {
        let Before { text, overlay } = before;
        let checked = self.source.check(&self.source.name(), &text).map_err(Failure::invalid)?;
        let config = Box::new(checked.config);
        let overlay = Laid::Put(Box::new(overlay));
        let terms = Mode::default().terms();
        let load = |request| Event::Load { config, read: stock, overlay, terms, request };
        self.requested(load, false).await?;
        // Their files may have changed since.
        self.set_files.read_all_again();
        store::replace(self.source.path(), text.as_bytes())
            .map_err(|error| Failure::internal(with_causes(&error)))?;
        self.source.taken(text);
        self.look_at_size();
        Ok(())
    }

    /// What runs is what the next agent is to run as well.
    pub(super) fn forget_before(&self) {
        let kept = path(&self.agent.config().agent.state_dir);
        match fs::remove_file(&kept) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::error!("remove {}: {error}", kept.display());
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// When what ran before comes back.
    pub(super) fn unconfirmed_until(&self) -> Option<Instant> {
        Some(self.unconfirmed.as_ref()?.ends_at)
    }

    /// That what runs is to be confirmed.
    pub(super) fn unconfirmed_notice(&self) -> Option<String> {
        let left = self.unconfirmed.as_ref()?.ends_at.saturating_duration_since(clock::now());
        Some(format!(
            "the configuration waits for `lb-ctl config confirm`; without it the one before comes back in {} s",
            left.as_secs()
        ))
    }
}
