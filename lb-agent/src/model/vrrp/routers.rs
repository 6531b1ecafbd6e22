//! [`Routers`]: all virtual routers of a director, one way in and one way out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::advert::Reason;
use super::config;
use super::configure::{Plan, plans};
use super::group::{Act, Flows, Group};
use super::member::{Member, Settings};
use super::proof::Prover;
use super::{Change, Effect, Event, Key, Network, Place, Received, State};

/// Changes of state that are remembered.
const LONGEST_HISTORY: usize = 1_000;

/// The virtual routers.
#[derive(Clone, Debug, Default)]
pub struct Routers {
    pub(super) groups: BTreeMap<String, Group>,
    network: Network,
    dead_services: BTreeSet<String>,
    /// Names of groups that were Active when the last agent ended, a moment ago.
    were_active: BTreeSet<String>,
    placed: BTreeSet<Place>,
    accepted: BTreeSet<Key>,
    flows: Flows,
    is_stopping: bool,
    /// Proves advertisements to other directors, and checks theirs.
    pub(super) prover: Option<Prover>,
    /// Advertisements that were not believed.
    pub(super) discarded: BTreeMap<(String, Reason), u64>,
    pub(super) history: VecDeque<Change>,
}

/// Why a router is not released.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReleased {
    /// No such router or group.
    #[error("no virtual router or group {0}")]
    Unknown(String),
    /// It is not Active.
    #[error("{0} is not Active on this director")]
    NotActive(String),
}

impl Routers {
    /// No routers yet. Groups named in `were_active` were Active so short a time ago that no other router can have
    /// taken over since. `prover`: there is a key that other directors have too.
    pub fn new(were_active: BTreeSet<String>, prover: Option<Prover>) -> Self {
        Self { were_active, prover, ..Self::default() }
    }

    /// Every place that an address of these routers may have to be at.
    pub fn all_places(routers: &[config::Vrrp]) -> impl Iterator<Item = Place> {
        let places = |settings: Settings| settings.places().collect::<Vec<_>>();
        plans(routers).into_values().flat_map(|plan| plan.routers).flat_map(places)
    }

    /// Takes note of an event; says what to do, in order.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Configure { routers, dead_services } => {
                self.dead_services = dead_services;
                self.configure(now, plans(&routers), &mut effects);
                self.look(now, &mut effects);
            }
            Event::Network(network) => {
                self.network = network;
                self.look(now, &mut effects);
            }
            Event::InStep(is_in_step) => {
                self.flows = if is_in_step { Flows::InStep(now) } else { Flows::Behind };
                self.groups.values_mut().for_each(|group| group.flows = self.flows);
            }
            Event::Received(packet) => self.receive(now, &packet, &mut effects),
            Event::Timer => self.each(now, &mut effects, |group| group.tick(now)),
            Event::Stop => {
                self.is_stopping = true;
                let reason = "the agent is stopping";
                self.each(now, &mut effects, |group| group.initialize(now, reason.to_owned()));
            }
        }
        self.place(&mut effects);
        effects
    }

    /// Hears what has come, and decides what was `due` before the driver began to read it, and not more: it may have been
    /// kept from running since. `heard_at`: when it had read everything.
    pub fn catch_up(
        &mut self,
        due: Instant,
        heard_at: Instant,
        packets: Vec<Received>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for packet in packets {
            effects.extend(self.handle(heard_at, Event::Received(packet)));
        }
        if self.deadline().is_some_and(|at| at <= due) {
            effects.extend(self.handle(due, Event::Timer));
        }
        effects
    }

    /// Lets another director have the addresses of a router and those of its group.
    pub fn release(&mut self, now: Instant, name: &str) -> Result<Vec<Effect>, NotReleased> {
        let has_it = |group: &&mut Group| {
            let mut entries = group.members.iter().map(|member| &member.settings.entry.name);
            group.name == name || entries.any(|entry| entry == name)
        };
        let group = self.groups.values_mut().find(has_it);
        let group = group.ok_or_else(|| NotReleased::Unknown(name.to_owned()))?;
        let acts = group.release(now).ok_or_else(|| NotReleased::NotActive(name.to_owned()))?;
        let group = group.name.clone();
        let mut effects = Vec::new();
        self.act(now, &group, acts, &mut effects);
        self.place(&mut effects);
        Ok(effects)
    }

    /// When an [`Event::Timer`] is due; ask again after every event.
    pub fn deadline(&self) -> Option<Instant> {
        self.groups.values().filter_map(Group::deadline).min()
    }

    /// Whether nothing is left to be done after [`Event::Stop`].
    pub fn is_done(&self) -> bool {
        self.groups.values().all(|group| !group.has_addresses())
    }

    /// The groups that are Active: their names, and the intervals that they announce.
    pub fn active(&self) -> impl Iterator<Item = (&str, Duration)> {
        let active = self.groups.values().filter(|group| group.state == State::Active);
        active.map(|group| (group.name.as_str(), group.election.interval))
    }

    /// All virtual addresses, and whether this director has them.
    pub fn vips(&self) -> impl Iterator<Item = (IpAddr, bool)> {
        self.groups.values().flat_map(|group| {
            let is_here = group.state == State::Active;
            let hosts = group.members.iter().flat_map(|member| member.settings.hosts());
            hosts.map(move |host| (host, is_here))
        })
    }

    fn each(
        &mut self,
        now: Instant,
        effects: &mut Vec<Effect>,
        mut decide: impl FnMut(&mut Group) -> Vec<Act>,
    ) {
        let decided: Vec<_> =
            self.groups.values_mut().map(|group| (group.name.clone(), decide(group))).collect();
        for (name, acts) in decided {
            self.act(now, &name, acts, effects);
        }
    }

    fn configure(
        &mut self,
        now: Instant,
        plans: BTreeMap<String, Plan>,
        effects: &mut Vec<Effect>,
    ) {
        let gone: Vec<_> =
            self.groups.keys().filter(|name| !plans.contains_key(*name)).cloned().collect();
        for name in gone {
            self.leave(now, &name, "not configured any more", effects);
            self.groups.remove(&name);
        }
        for (name, plan) in plans {
            match self.groups.get(&name) {
                None => {
                    let Plan { election, routers } = plan;
                    let routers = routers.into_iter();
                    let members = routers.map(|it| Member::new(now, it, &self.network)).collect();
                    let mut group = Group::new(now, name.clone(), election, members);
                    group.flows = self.flows;
                    self.groups.insert(name, group);
                }
                Some(_) => self.reconfigure(now, &name, plan, effects),
            }
        }
    }

    fn leave(&mut self, now: Instant, name: &str, reason: &str, effects: &mut Vec<Effect>) {
        if let Some(group) = self.groups.get_mut(name) {
            let acts = group.initialize(now, reason.to_owned());
            self.act(now, name, acts, effects);
        }
    }

    /// Routers that stay keep their timers; those that go say so.
    fn reconfigure(&mut self, now: Instant, name: &str, plan: Plan, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let is_active = group.state == State::Active;
        let mut before: BTreeMap<Key, Member> = std::mem::take(&mut group.members)
            .into_iter()
            .map(|member| (member.settings.key.clone(), member))
            .collect();
        let mut is_new = false;
        for settings in plan.routers {
            let mut member = if let Some(member) = before.remove(&settings.key) {
                let places = |settings: &Settings| settings.places().collect::<Vec<_>>();
                is_new |= places(&member.settings) != places(&settings);
                Member { settings, ..member }
            } else {
                is_new = true;
                let mut member = Member::new(now, settings, &self.network);
                member.wait(now, plan.election.priority);
                member
            };
            member.look(&self.network);
            group.members.push(member);
        }
        group.set_election(now, plan.election);
        if is_active {
            let prover = &mut self.prover;
            let gone = before.into_values();
            effects.extend(gone.flat_map(|mut member| member.advertise(0, prover)));
            if is_new {
                let acts = vec![Act::Advertise(group.priority()), Act::Announce];
                self.act(now, name, acts, effects);
            }
        }
    }

    /// Looks at everything that a group depends on.
    fn look(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let names: Vec<_> = self.groups.keys().cloned().collect();
        for name in names {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let mut acts = group.look(now, &self.network, &self.dead_services);
            let obstacle = group.obstacle(&self.network);
            match obstacle {
                Some(reason) => acts.extend(group.initialize(now, reason)),
                None if group.state == State::Initialize && !self.is_stopping => {
                    acts.extend(group.start(now, self.were_active.remove(&name)));
                }
                None => {}
            }
            self.act(now, &name, acts, effects);
        }
    }

    fn receive(&mut self, now: Instant, packet: &Received, effects: &mut Vec<Effect>) {
        match self.believe(packet) {
            Ok((name, at, advert)) => {
                let Some(group) = self.groups.get_mut(&name) else { return };
                let acts = group.hear(now, at, packet.source, &advert);
                self.act(now, &name, acts, effects);
            }
            Err(reason) => {
                *self.discarded.entry((packet.interface.clone(), reason)).or_default() += 1;
            }
        }
    }

    fn believe(
        &mut self,
        packet: &Received,
    ) -> Result<(String, usize, super::advert::Advert), Reason> {
        let id = *packet.payload.get(1).ok_or(Reason::TooShort)?;
        let interface = packet.interface.clone();
        let key = Key { id, is_ipv6: packet.source.is_ipv6(), interface };
        let of_proof = self.prover.as_ref().map(Prover::key);
        for group in self.groups.values_mut() {
            if let Some(at) = group.members.iter().position(|member| member.settings.key == key) {
                let Some(member) = group.members.get_mut(at) else { break };
                return Ok((group.name.clone(), at, member.receive(packet, of_proof)?));
            }
        }
        Err(Reason::UnknownRouter)
    }

    fn act(&mut self, now: Instant, name: &str, acts: Vec<Act>, effects: &mut Vec<Effect>) {
        for act in acts {
            let Some(group) = self.groups.get_mut(name) else { return };
            match act {
                Act::Advertise(priority) => {
                    // A switch learns from it where a virtual MAC address is.
                    self.accept(effects);
                    let Some(group) = self.groups.get_mut(name) else { return };
                    let (members, prover) = (group.members.iter_mut(), &mut self.prover);
                    effects.extend(members.flat_map(|member| member.advertise(priority, prover)));
                }
                Act::AdvertiseOn(at, priority) => {
                    if let Some(member) = group.members.get_mut(at) {
                        effects.extend(member.advertise(priority, &mut self.prover));
                    }
                }
                Act::Hold => effects.push(Effect::Hold),
                Act::Announce => {
                    self.place(effects);
                    effects.extend(self.announcements(name));
                }
                Act::Changed { from, to, reason } => {
                    let changes = group.changes(now, from, to, &reason);
                    for change in changes {
                        self.history.push_back(change.clone());
                        effects.push(Effect::Changed(change));
                    }
                    self.history.drain(..self.history.len().saturating_sub(LONGEST_HISTORY));
                }
                Act::Warn(warning) => effects.push(Effect::Warning(warning)),
            }
        }
    }

    fn announcements(&self, name: &str) -> Vec<Effect> {
        let members = self.groups.get(name).into_iter().flat_map(|group| &group.members);
        members.flat_map(|member| member.announce(&self.network)).collect()
    }

    /// Has frames to virtual MAC addresses accepted where their routers are Active, if that has changed.
    fn accept(&mut self, effects: &mut Vec<Effect>) {
        let holders = self.groups.values().filter(|group| group.has_addresses());
        let members = holders.flat_map(|group| &group.members);
        let virtuals = members.filter(|member| member.settings.entry.virtual_mac);
        let accepted: BTreeSet<Key> = virtuals.map(|member| member.settings.key.clone()).collect();
        if accepted != self.accepted {
            self.accepted.clone_from(&accepted);
            effects.push(Effect::Accept(accepted));
        }
    }

    /// Has the addresses where they belong, if that has changed.
    fn place(&mut self, effects: &mut Vec<Effect>) {
        self.accept(effects);
        let holders = self.groups.values().filter(|group| group.has_addresses());
        let members = holders.flat_map(|group| &group.members);
        let wanted: BTreeSet<Place> = members.flat_map(|member| member.settings.places()).collect();
        if wanted != self.placed {
            self.placed.clone_from(&wanted);
            effects.push(Effect::Addresses(wanted));
        }
    }
}
