//! The firewall of what runs: its rules compiled, and the generation that tells flows which of them were accepted by
//! the rules of now.
//!
//! With the rules the generation changes, and each flow is judged anew by its next packet. There are three numbers,
//! so the one before last must be swept from the flow table before it is used again. Where changes come more quickly
//! than sweeps, no flow is taken for known until two sweeps have passed.
//!
//! What a firewall is compiled from may be a million prefixes. So another one is asked for
//! ([`Effect::Compile`](super::Effect)), and whatever needs it is tried again when it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::layout::Settings;

use super::state::Running;
use super::{Agent, Effect};
use crate::model::config::{Config, Service};
use crate::model::desired::Desired;
use crate::model::firewall::RuleNumbers;
use crate::model::firewall::compile::{CompileError, Compiled, Content, Names, Order, Recipe};
use crate::model::plan::Full;
use crate::model::tables::{ListenerKey, Tables, Write};

/// Sweeps after which only cells of the generation in use, or of none, are left: the first may have begun before.
const SWEEPS: u8 = 2;

/// The generation that no cell is of, so that every packet is judged.
const NONE: u16 = 4;

/// What the firewall was compiled from, and when its generation may change.
#[derive(Debug, Default)]
pub(super) struct Guard {
    made: Option<Made>,
    /// What was made last and is not in force yet.
    next: Option<(Recipe, Result<Arc<Compiled>, CompileError>)>,
    /// What `running` was found to need and is being made.
    asked: Option<Recipe>,
    /// The last number that flows were accepted under.
    last: u16,
    /// Sweeps since the generation changed.
    sweeps: u8,
}

/// A firewall and what it was compiled from.
#[derive(Clone, Debug)]
pub(super) struct Made {
    recipe: Recipe,
    compiled: Arc<Compiled>,
}

/// Why writes cannot be planned.
pub(super) enum Lack {
    /// The firewall is to be compiled first.
    Firewall(Box<Recipe>),
    Room(Full),
}

impl From<Full> for Lack {
    fn from(full: Full) -> Self {
        Self::Room(full)
    }
}

impl Guard {
    pub(super) fn new(installed: &Tables) -> Self {
        Self { last: installed.settings.generation % NONE, ..Self::default() }
    }

    /// The firewall of `running`, when the maps hold what `tables` says.
    fn find(
        &self,
        running: &Running,
        tables: &Tables,
        host: &BTreeSet<IpAddr>,
    ) -> Result<Made, Lack> {
        let Running { config, sets, numbers, .. } = running;
        let counters = numbers.by_name().clone();
        let names = Names { counters, ..names(config, &tables.pointers, host) };
        let recipe = Recipe { firewall: config.firewall.clone(), sets: sets.clone(), names };
        let is_usable = |made: &&Made| made.recipe == recipe && can_follow(&made.compiled, tables);
        if let Some(made) = self.made.as_ref().filter(is_usable) {
            return Ok(made.clone());
        }
        let next = self.next.as_ref().filter(|(known, _)| *known == recipe);
        let compiled = match next {
            Some((_, Ok(compiled))) if !can_follow(compiled, tables) => None,
            Some((_, compiled)) => Some(compiled.clone()),
            None => (!recipe.asks_anything()).then(|| recipe.compile()),
        };
        match compiled {
            Some(Ok(compiled)) => Ok(Made { recipe, compiled }),
            Some(Err(error)) => Err(Lack::Room(error.into())),
            None => Err(Lack::Firewall(Box::new(recipe))),
        }
    }

    /// How to make a firewall where the maps hold what `installed` says.
    pub(super) fn order(&self, recipe: Recipe, installed: &Tables) -> Box<Order> {
        let made = self.made.as_ref();
        let made = made.filter(|made| installed.firewall.as_ref() == Some(&made.compiled));
        let before = made.map(|made| (made.recipe.clone(), Arc::clone(&made.compiled)));
        Box::new(Order { recipe, before })
    }

    /// Keeps what was made until it is used.
    pub(super) fn keep(&mut self, recipe: Recipe, compiled: Result<Arc<Compiled>, CompileError>) {
        self.next = Some((recipe, compiled));
        self.asked = None;
    }

    /// What was asked for does not come: whoever needs it asks again.
    pub(super) fn give_up(&mut self) {
        self.asked = None;
    }

    /// Lets go of what was made and not used.
    pub(super) fn forget(&mut self) {
        self.next = None;
    }

    /// What is to be compiled for what runs, unless that was asked for before.
    pub(super) fn ask(&mut self, recipe: Recipe, installed: &Tables) -> Option<Effect> {
        if self.asked.as_ref() == Some(&recipe) {
            return None;
        }
        self.asked = Some(recipe.clone());
        Some(Effect::Compile(self.order(recipe, installed)))
    }

    /// The writes that bring the firewall into force where `installed` has another one.
    fn writes(&self, made: &Made, installed: &Tables) -> Vec<Write> {
        let Made { compiled, .. } = made;
        if installed.firewall.as_ref() == Some(compiled) {
            return Vec::new();
        }
        let firewall = Write::Firewall(Arc::clone(compiled));
        let settings = Settings { generation: self.next(compiled), ..installed.settings };
        vec![firewall, Write::Settings(Box::new(settings))]
    }

    fn next(&self, compiled: &Compiled) -> u16 {
        match self.sweeps {
            // Nobody asks for it.
            _ if !compiled.is_on() => self.last,
            SWEEPS.. => self.last % 3 + 1,
            _ => NONE,
        }
    }

    /// The firewall is in force.
    fn took(&mut self, made: Made, generation: u16) {
        self.made = Some(made);
        self.next = None;
        self.sweeps = 0;
        if generation != NONE {
            self.last = generation;
        }
    }
}

impl Agent {
    /// Adds to writes that lead to `running` those of its firewall: before a key points to a new listener, so that
    /// no packet passes that is not to.
    pub(super) fn guarded(
        &self,
        running: &Running,
        mut writes: Vec<Write>,
    ) -> Result<(Vec<Write>, Made), Lack> {
        let mut tables = self.installed.clone();
        for write in &writes {
            tables.apply(write);
        }
        let made = self.guard.find(running, &tables, &self.host)?;
        let place = writes.iter().position(|write| matches!(write, Write::Point { .. }));
        let place = place.unwrap_or(writes.len());
        writes.splice(place..place, self.guard.writes(&made, &tables));
        Ok((writes, made))
    }

    /// Where there is no room for the firewall, or it is not there yet, the one before stays in force.
    pub(super) fn install_guarded(
        &mut self,
        desired: &Desired,
        writes: Vec<Write>,
        full: Option<Full>,
    ) -> (Vec<Effect>, Option<Full>) {
        match self.guarded(&self.running, writes.clone()) {
            Ok((writes, made)) => {
                let effects = self.install(desired, writes.clone());
                self.note_firewall(made, &writes);
                (effects, full)
            }
            // No key may point to a listener that the rules do not know.
            Err(Lack::Firewall(recipe))
                if writes.iter().any(|it| matches!(it, Write::Point { .. })) =>
            {
                let compiled = recipe.compile();
                self.guard.keep(*recipe, compiled);
                self.install_guarded(desired, writes, full)
            }
            Err(Lack::Firewall(recipe)) => {
                let mut effects = self.install(desired, writes);
                effects.extend(self.guard.ask(*recipe, &self.installed));
                (effects, full)
            }
            Err(Lack::Room(error)) => (self.install(desired, writes), Some(error)),
        }
    }

    /// What to do about counters that are other rules' than before, before these rules come into force.
    pub(super) fn numbers_given(&self, before: &RuleNumbers) -> Vec<Effect> {
        let numbers = &self.running.numbers;
        if numbers == before {
            return Vec::new();
        }
        let given = numbers.given_since(before);
        vec![Effect::ClearRuleCounts(given), Effect::SaveRuleNumbers(numbers.clone())]
    }

    /// The writes of this firewall are carried out.
    pub(super) fn note_firewall(&mut self, made: Made, writes: &[Write]) {
        if writes.iter().any(|write| matches!(write, Write::Firewall(_))) {
            self.guard.took(made, self.installed.settings.generation);
        }
    }

    /// A sweep has cleared the cells of other generations than that in use.
    pub(super) fn swept(&mut self) -> Vec<Effect> {
        self.guard.sweeps = self.guard.sweeps.saturating_add(1).min(SWEEPS);
        if self.guard.sweeps < SWEEPS || self.installed.settings.generation != NONE {
            return Vec::new();
        }
        self.guard.last = self.guard.last % 3 + 1;
        self.guard.sweeps = 0;
        let settings = Settings { generation: self.guard.last, ..self.installed.settings };
        let write = Write::Settings(Box::new(settings));
        self.installed.apply(&write);
        vec![Effect::Write(vec![write])]
    }
}

/// Whether a firewall is in force, or can be put there after what is.
fn can_follow(compiled: &Arc<Compiled>, tables: &Tables) -> bool {
    let installed = tables.firewall.as_ref();
    installed == Some(compiled)
        || compiled.content().is_some_and(|content| match &*content {
            Content::Half(_) => true,
            Content::Patch { base, .. } => installed.is_some_and(|known| known.id == *base),
        })
}

/// What names in rules stand for, but for those of counters.
pub(super) fn names(
    config: &Config,
    pointers: &BTreeMap<ListenerKey, u32>,
    host: &BTreeSet<IpAddr>,
) -> Names {
    let ids =
        |service: &Service| service.keys().filter_map(|key| pointers.get(&key).copied()).collect();
    let services = config.services.iter();
    let allows = services.clone().filter(|service| !service.allow.is_empty());
    let mut servers: Vec<SocketAddr> = services
        .clone()
        .flat_map(|service| &service.backends)
        .flat_map(|backend| backend.address.iter().copied())
        .collect();
    servers.sort_unstable();
    servers.dedup();
    Names {
        services: services.map(|service| (service.name.clone(), ids(service))).collect(),
        allows: allows
            .map(|service| (service.name.clone(), service.allow.clone()))
            .collect::<BTreeMap<_, _>>(),
        host: own_addresses(host, config),
        servers,
        counters: BTreeMap::new(),
    }
}

/// The host's addresses but those of VIPs that are put there, and closed.
fn own_addresses(host: &BTreeSet<IpAddr>, config: &Config) -> Vec<IpAddr> {
    let listens = config.services.iter().flat_map(|service| &service.listen);
    let managed: BTreeSet<IpAddr> =
        listens.filter(|_| config.datapath.manage_addresses).map(SocketAddr::ip).collect();
    host.difference(&managed).copied().collect()
}
