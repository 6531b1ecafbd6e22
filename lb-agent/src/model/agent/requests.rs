//! Changes that somebody asks for: a new configuration, a change at run time.
//!
//! Each is tried on a copy of what runs; only a change that can be carried out takes its place.

use std::time::Instant;

use lb_common::api::{Applied, BackendChange};

use super::state::Running;
use super::{Agent, Effect, Refusal, RequestId};
use crate::model::config::{Config, diff, needs_restart};
use crate::model::overlay::change::change;
use crate::model::overlay::{Merged, Overlay, merge};

/// What to do before the answer, and the answer; or why nothing is done.
type Outcome = Result<(Vec<Effect>, Applied), Refusal>;

impl Agent {
    pub(super) fn load(
        &mut self,
        now: Instant,
        file: Config,
        discard_overlay: bool,
        dry_run: bool,
    ) -> Outcome {
        let fixed = needs_restart(&self.running.file, &file);
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            let is_kept_by_links = fixed.iter().any(|key| key == "datapath.xdp_mode");
            let remedy = if is_kept_by_links {
                "stop lb-agent, run `lb-agent detach` (open flows end), write it into the file and start lb-agent"
            } else {
                "write it into the file and restart lb-agent"
            };
            return Err(Refusal::Invalid(format!("{keys} cannot change at run time: {remedy}")));
        }
        let none = Overlay::default();
        let overlay = if discard_overlay { &none } else { &self.running.overlay };
        let merged = merge(&file, overlay);
        self.replace(now, file, merged, dry_run)
    }

    pub(super) fn change(&mut self, now: Instant, asked: &BackendChange, dry_run: bool) -> Outcome {
        let Running { file, overlay, config, .. } = &self.running;
        let merged = change(file, overlay, config, asked)?;
        let file = file.clone();
        self.replace(now, file, merged, dry_run)
    }

    fn replace(&mut self, now: Instant, file: Config, merged: Merged, dry_run: bool) -> Outcome {
        let mut changes = diff(&self.running.config, &merged.config);
        changes.extend(merged.dropped);
        let mut checks = self.running.checks.clone();
        checks.reload(now, &merged.config);
        let paces = self.running.paces.clone();
        let Merged { config, overlay, dropped: _ } = merged;
        let mut next = Running { file, overlay, config, checks, paces };
        next.note(now);
        let (desired, writes) =
            self.plan(&next).map_err(|full| Refusal::Invalid(full.to_string()))?;
        let mut effects = Vec::new();
        if !dry_run {
            let before = std::mem::replace(&mut self.running, next);
            effects.extend(self.install(&desired, writes));
            if before.overlay != self.running.overlay {
                effects.push(Effect::SaveOverlay(self.running.overlay.clone()));
            }
            effects.extend(changes.iter().cloned().map(Effect::Notice));
        }
        Ok((effects, Applied { changes, dry_run, file_diff: None }))
    }

    pub(super) fn answer(request: RequestId, outcome: Outcome) -> Vec<Effect> {
        let (mut effects, result) = match outcome {
            Ok((effects, applied)) => (effects, Ok(applied)),
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        effects.push(Effect::Reply { request, result });
        effects
    }

    /// Nobody waits for the answer to a signal; a refusal must not go unheard.
    pub(super) fn answer_load(request: Option<RequestId>, outcome: Outcome) -> Vec<Effect> {
        match (request, outcome) {
            (Some(request), outcome) => Self::answer(request, outcome),
            (None, Ok((effects, _))) => effects,
            (None, Err(refusal)) => {
                vec![Effect::Notice(format!("the configuration is not loaded: {refusal}"))]
            }
        }
    }
}
