//! Other rules are compiled and prepared for the kernel beside the loop: a million prefixes, or programs that the kernel
//! has to verify, take their time. What is prepared comes into force when the core decides again, with it at hand.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use lb_common::api::Applied;
use tokio::task::spawn_blocking;

use super::runtime::Runtime;
use crate::io::causes::with_causes;
use crate::io::clock;
use crate::io::datapath::{NextRules, RulesReady};
use crate::io::memory;
use crate::io::message::{Failure, Message};
use crate::model::agent::{Effect, Event, Refusal};
use crate::model::firewall::compile::{CompileError, Compiled, Order, Recipe};

/// How long a change may take before anybody is told of it.
const SOON: Duration = Duration::from_secs(1);

/// What has come of making rules beside the loop.
pub struct MadeRules {
    rules: Result<Rules, String>,
    /// Whether maps of another size were to be made.
    makes_room: bool,
}

struct Rules {
    recipe: Box<Recipe>,
    compiled: Result<Arc<Compiled>, CompileError>,
    /// Whether the kernel can be given them; `None`: that was not tried.
    ready: Option<Result<RulesReady, String>>,
}

impl std::fmt::Debug for MadeRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeRules").finish_non_exhaustive()
    }
}

impl MadeRules {
    async fn make(order: Order, next: Option<NextRules>) -> Self {
        let makes_room = next.as_ref().is_some_and(NextRules::makes_room);
        Self::beside(makes_room, move || Rules::make(order, next.as_ref())).await
    }

    async fn beside(makes_room: bool, make: impl FnOnce() -> Rules + Send + 'static) -> Self {
        let rules = spawn_blocking(make).await.map_err(|error| format!("make the rules: {error}"));
        Self { rules, makes_room }
    }
}

impl Rules {
    fn make(order: Order, next: Option<&NextRules>) -> Self {
        let difference = next.and_then(|next| next.difference(&order));
        let compiled = difference.map_or_else(|| order.recipe.compile(), Ok);
        let rules = compiled.as_ref().ok();
        let ready = next.zip(rules).map(|(next, rules)| next.prepare(rules));
        let ready = ready.map(|ready| ready.map_err(|error| with_causes(&error)));
        Self { recipe: Box::new(order.recipe), compiled, ready }
    }
}

impl Runtime {
    /// Has the core decide about a change and does what it says; returns the reply if there is one. Rules that the
    /// change needs are made first. Where they cannot be, nothing is changed.
    pub(super) async fn decide(
        &mut self,
        change: Event,
        dry_run: bool,
    ) -> Result<Option<Result<Applied, Refusal>>, Failure> {
        let mut made_any = false;
        let decided = loop {
            let mut effects = self.agent.handle(clock::now(), change.clone());
            let needs_rules = |effect: &mut Effect| matches!(effect, Effect::Compile(_));
            let wanted = effects.extract_if(.., needs_rules).next();
            let reply = self.carry_out(effects).await;
            let Some(Effect::Compile(order)) = wanted else { break Ok(reply) };
            made_any = true;
            if let Err(failure) = self.make_rules(*order, dry_run).await {
                break Err(failure);
            }
        };
        if let Err(error) = self.datapath.drop_room() {
            tracing::warn!("{}", with_causes(&error));
        }
        if made_any {
            spawn_blocking(memory::give_back);
        }
        decided
    }

    async fn make_rules(&mut self, order: Order, dry_run: bool) -> Result<(), Failure> {
        let size = order.recipe.size();
        let next = (!dry_run).then(|| self.datapath.next_rules(size)).transpose();
        let next = next.map_err(|error| Failure::new(StatusCode::CONFLICT, with_causes(&error)))?;
        let made = self.meanwhile(MadeRules::make(order, next)).await;
        let not_made = |reason: String| {
            Failure::internal(format!("nothing is changed, the rules stay as they were: {reason}"))
        };
        let Rules { recipe, compiled, ready } = self.ended(made).map_err(not_made)?;
        self.note_ready(ready).map_err(not_made)?;
        self.happened(Event::Compiled { recipe, compiled }).await;
        Ok(())
    }

    /// Has the rules of what runs made, which are others than those in force.
    pub(super) fn start_compiling(&mut self, order: Order) {
        // Where there is none, the write tells why.
        let next = self.datapath.next_rules(order.recipe.size()).ok();
        let messages = self.messages.clone();
        tokio::spawn(async move {
            let made = Box::new(MadeRules::make(order, next).await);
            // It fails when the agent is stopping, and then nobody wants to know.
            drop(messages.send(Message::Compiled(made)).await);
        });
    }

    /// The rules of what runs were made, or could not be.
    pub(super) async fn rules_compiled(&mut self, made: MadeRules) {
        match self.ended(made) {
            Ok(Rules { recipe, compiled, ready }) => {
                if let Err(reason) = self.note_ready(ready) {
                    tracing::warn!("the rules are made ready once more: {reason}");
                }
                self.happened(Event::Compiled { recipe, compiled }).await;
            }
            Err(reason) => {
                self.happened(Event::NotCompiled).await;
                self.write_again(reason);
            }
        }
        spawn_blocking(memory::give_back);
    }

    /// Nobody makes them any more.
    fn ended(&mut self, made: MadeRules) -> Result<Rules, String> {
        if made.makes_room {
            self.datapath.room_ended();
        }
        made.rules
    }

    fn note_ready(&mut self, ready: Option<Result<RulesReady, String>>) -> Result<(), String> {
        ready.map_or(Ok(()), |ready| ready.map(|ready| self.datapath.rules_ready(ready)))
    }

    /// That changes wait for one that takes long.
    pub(super) fn change_notice(&self) -> Option<String> {
        let takes = clock::now().saturating_duration_since(self.changing_since?);
        (takes > SOON).then(|| {
            format!("a change has been under way for {} s; others wait for it", takes.as_secs())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_is_told_of_with_the_room_that_it_was_to_make() {
        let made = MadeRules::beside(true, || unreachable!("a mistake in making them")).await;
        assert!(made.makes_room);
        let reason = made.rules.err().unwrap();
        assert!(reason.starts_with("make the rules: "), "{reason}");
        assert!(reason.contains("a mistake in making them"), "{reason}");
    }
}
