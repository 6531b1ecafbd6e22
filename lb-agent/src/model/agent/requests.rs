//! Changes that somebody asks for: a new configuration, a change at run time.
//!
//! Each is tried on a copy of what runs; only a change that can be carried out takes its place.

use std::time::Instant;

use lb_common::api::Applied;

use super::guard::Lack;
use super::state::Running;
use super::{Agent, Effect, Laid, Refusal, RequestId, Terms};
use crate::model::config::{Config, diff, needs_restart};
use crate::model::firewall::compile::Recipe;
use crate::model::firewall::{Elements, Source};
use crate::model::overlay::change::{Change, Now, change};
use crate::model::overlay::sets::{self, Stock};
use crate::model::overlay::{Merged, Overlay, merge};

/// What to do before the answer, and the answer; or why nothing is done.
type Outcome = Result<(Vec<Effect>, Applied), Held>;

/// Why nothing is done.
pub(super) enum Held {
    Refused(Refusal),
    /// A firewall is to be compiled first.
    Waits(Box<Recipe>),
}

impl From<Refusal> for Held {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Lack> for Held {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Firewall(recipe) => Self::Waits(recipe),
            Lack::Room(full) => Self::Refused(Refusal::Invalid(full.to_string())),
        }
    }
}

impl Agent {
    pub(super) fn load(
        &mut self,
        now: Instant,
        (file, read): (Config, Stock),
        overlay: Laid,
        terms: Terms,
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
            let reason = format!("{keys} cannot change at run time: {remedy}");
            return Err(Refusal::Invalid(reason).into());
        }
        let (overlay, loaded) = match overlay {
            Laid::Keep => (self.running.overlay.clone(), self.running.stock.clone()),
            Laid::Discard => (Overlay::default(), Stock::new()),
            Laid::Put(overlay) => (*overlay, read.clone()),
        };
        let merged = merge(&file, &overlay);
        let stock = stocked(&merged, loaded, read)?;
        self.replace(now, file, (merged, stock), terms)
    }

    pub(super) fn change(&mut self, now: Instant, asked: Change, terms: Terms) -> Outcome {
        let Running { file, overlay, config, sets, stock, .. } = &self.running;
        let merged = change(Now { file, overlay, running: config, sets }, &asked)?;
        let (file, mut stock) = (file.clone(), stock.clone());
        if let Change::Contents { set, elements } = asked {
            stock.insert(set, elements);
        }
        self.replace(now, file, (merged, stock), terms)
    }

    /// Takes what the file of a set holds now, unless something else was loaded in its place.
    pub(super) fn set_read(&mut self, now: Instant, set: &str, elements: Elements) -> Vec<Effect> {
        let Running { file, overlay, stock, .. } = &self.running;
        if overlay.firewall.is_loaded(set) {
            return vec![Effect::Notice(format!(
                "set {set}: its file has changed, and what was loaded at run time goes on to hold"
            ))];
        }
        let (merged, file, mut stock) = (merge(file, overlay), file.clone(), stock.clone());
        stock.insert(set.to_owned(), elements);
        match self.replace(now, file, (merged, stock), Terms::default()) {
            Ok((effects, _)) => effects,
            Err(Held::Waits(recipe)) => vec![self.compile_first(*recipe)],
            Err(Held::Refused(refusal)) => {
                vec![Effect::SetRefused { set: set.to_owned(), reason: refusal.to_string() }]
            }
        }
    }

    fn replace(
        &mut self,
        now: Instant,
        file: Config,
        (merged, stock): (Merged, Stock),
        terms: Terms,
    ) -> Outcome {
        let Terms { dry_run, session } = terms;
        let mut changes = diff(&self.running.config, &merged.config);
        changes.extend(merged.dropped);
        let Merged { config, mut overlay, dropped: _ } = merged;
        let stock = sets::sharing(stock, &self.running.stock);
        let sets = sets::lay(&config.firewall, &stock, &mut overlay.firewall);
        let sets = sets::sharing(sets, &self.running.sets);
        changes.extend(sets::diff(&self.running.sets, &sets));
        let mut checks = self.running.checks.clone();
        checks.reload(now, &config);
        let paces = self.running.paces.clone();
        let mut numbers = self.running.numbers.clone();
        numbers.follow(&config.firewall);
        let mut next = Running { file, overlay, config, stock, sets, numbers, checks, paces };
        next.note(now);
        let planned = self.plan(&next)?;
        let warnings: Vec<String> =
            session.and_then(|session| self.cuts(&next, session)).into_iter().collect();
        let mut effects = Vec::new();
        if !dry_run {
            let before = std::mem::replace(&mut self.running, next);
            effects.extend(self.numbers_given(&before.numbers));
            effects.extend(self.install_planned(planned));
            effects.extend(sets_to_save(&before.stock, &self.running.stock));
            if before.overlay != self.running.overlay {
                effects.push(Effect::SaveOverlay(self.running.overlay.clone()));
            }
            effects.extend(changes.iter().cloned().map(Effect::Notice));
        }
        Ok((effects, Applied { changes, warnings, dry_run, file_diff: None }))
    }

    fn compile_first(&self, recipe: Recipe) -> Effect {
        Effect::Compile(self.guard.order(recipe, &self.installed))
    }

    pub(super) fn answer(&mut self, request: RequestId, outcome: Outcome) -> Vec<Effect> {
        let (mut effects, result) = match outcome {
            Ok((effects, applied)) => (effects, Ok(applied)),
            Err(Held::Refused(refusal)) => (Vec::new(), Err(refusal)),
            Err(Held::Waits(recipe)) => return vec![self.compile_first(*recipe)],
        };
        self.guard.forget();
        effects.push(Effect::Reply { request, result });
        effects
    }
}

/// What the sets of a configuration are to be taken from: what was loaded at run time, or else what was read.
fn stocked(merged: &Merged, mut loaded: Stock, mut read: Stock) -> Result<Stock, Refusal> {
    let mut stock = Stock::new();
    for (name, source) in &merged.config.firewall.sets {
        let elements = if merged.overlay.firewall.is_loaded(name) {
            Some(loaded.remove(name).unwrap_or_default())
        } else {
            read.remove(name)
        };
        match (elements, source) {
            (Some(elements), _) => drop(stock.insert(name.clone(), elements)),
            (None, Source::Listed(_)) => {}
            (None, Source::File(file)) => {
                let reason = format!("set {name}: {} was not read", file.display());
                return Err(Refusal::Invalid(reason));
            }
        }
    }
    Ok(stock)
}

fn sets_to_save(before: &Stock, after: &Stock) -> Vec<Effect> {
    let changed = after.iter().filter(|(set, elements)| before.get(*set) != Some(elements));
    let save = |(set, elements): (&String, &Elements)| Effect::SaveSet {
        set: set.clone(),
        elements: elements.clone(),
    };
    changed.map(save).collect()
}
