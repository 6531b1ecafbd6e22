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

/// Rules that were made beside the loop.
pub struct MadeRules {
    recipe: Box<Recipe>,
    compiled: Result<Arc<Compiled>, CompileError>,
    /// Whether the kernel can be given them; `None`: that was not tried.
    ready: Option<Result<RulesReady, String>>,
    /// Whether maps of another size were to be made.
    makes_room: bool,
}

impl std::fmt::Debug for MadeRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeRules").finish_non_exhaustive()
    }
}

impl MadeRules {
    fn make(order: Order, next: Option<&NextRules>) -> Self {
        let difference = next.and_then(|next| next.difference(&order));
        let compiled = difference.map_or_else(|| order.recipe.compile(), Ok);
        let rules = compiled.as_ref().ok();
        let ready = next.zip(rules).map(|(next, rules)| next.prepare(rules));
        let ready = ready.map(|ready| ready.map_err(|error| with_causes(&error)));
        let makes_room = next.is_some_and(NextRules::makes_room);
        Self { recipe: Box::new(order.recipe), compiled, ready, makes_room }
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
        let making = spawn_blocking(move || MadeRules::make(order, next.as_ref()));
        let MadeRules { recipe, compiled, ready, makes_room } =
            self.meanwhile(making).await.map_err(Failure::internal)?;
        self.note_ready(ready, makes_room).map_err(|reason| {
            Failure::internal(format!("nothing is changed, the rules stay as they were: {reason}"))
        })?;
        self.happened(Event::Compiled { recipe, compiled }).await;
        Ok(())
    }

    /// Has the rules of what runs made, which are others than those in force.
    pub(super) fn start_compiling(&mut self, order: Order) {
        // Where there is none, the write tells why.
        let next = self.datapath.next_rules(order.recipe.size()).ok();
        let messages = self.messages.clone();
        spawn_blocking(move || {
            let made = Box::new(MadeRules::make(order, next.as_ref()));
            // It fails when the agent is stopping, and then nobody wants to know.
            drop(messages.blocking_send(Message::Compiled(made)));
        });
    }

    /// The rules of what runs were made.
    pub(super) async fn rules_compiled(&mut self, made: MadeRules) {
        let MadeRules { recipe, compiled, ready, makes_room } = made;
        if let Err(reason) = self.note_ready(ready, makes_room) {
            tracing::warn!("the rules are made ready once more: {reason}");
        }
        self.happened(Event::Compiled { recipe, compiled }).await;
        spawn_blocking(memory::give_back);
    }

    fn note_ready(
        &mut self,
        ready: Option<Result<RulesReady, String>>,
        makes_room: bool,
    ) -> Result<(), String> {
        if makes_room {
            self.datapath.room_ended();
        }
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
