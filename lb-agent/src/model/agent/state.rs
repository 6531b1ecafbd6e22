//! [`Agent`]: everything that is decided, in one place.
//!
//! Whatever the event, the way is the same: take note of it, derive the desired tables, plan, and start the
//! probes that are due. A change is first tried on a copy of the state, so that a refusal leaves no trace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::guard::{Guard, Lack, Made};
use super::ways::Ways;
use super::{Effect, Event, ProbeOutcome, Target};
use crate::model::config::Config;
use crate::model::desired::{Desired, Turns, desired, wants_cookies};
use crate::model::firewall::{RuleNumbers, Sets};
use crate::model::health::{Checks, Health};
use crate::model::overlay::Overlay;
use crate::model::overlay::sets::Stock;
use crate::model::paces::Paces;
use crate::model::plan::{Full, Retired, plan, plan_what_fits, retired};
use crate::model::tables::{Tables, Way, Write, server};

/// The agent's state.
#[derive(Debug)]
pub struct Agent {
    pub(super) running: Running,
    pub(super) ways: Ways,
    pub(super) installed: Tables,
    turns: Turns,
    retired: Retired,
    watched: Option<BTreeSet<IpAddr>>,
    managed: Option<BTreeSet<IpAddr>>,
    vrrp: super::vrrp::Told,
    full: Option<Full>,
    pub(super) guard: Guard,
    /// The addresses of the host.
    pub(super) host: BTreeSet<IpAddr>,
    /// Whether the packet path can answer SYNs with cookies.
    pub(super) has_cookies: bool,
}

/// What a change replaces as a whole or not at all.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// The configuration as the file has it.
    pub(super) file: Config,
    /// The changes made at run time.
    pub(super) overlay: Overlay,
    /// Both, merged.
    pub(super) config: Config,
    /// What was read or loaded for the sets.
    pub(super) stock: Stock,
    /// What the sets hold, changes at run time included.
    pub(super) sets: Sets,
    /// The counters of the rules.
    pub(super) numbers: RuleNumbers,
    pub(super) checks: Checks,
    pub(super) paces: Paces,
}

/// What a change would lead to.
pub(super) struct Planned {
    desired: Desired,
    writes: Vec<Write>,
    made: Made,
}

impl Running {
    /// Takes note of what has become of the backends by now.
    pub(super) fn note(&mut self, now: Instant) {
        self.paces.note(now, &self.config, &self.checks);
    }
}

impl Agent {
    pub(super) fn with(running: Running, ways: Ways, installed: Tables) -> Self {
        let (turns, retired) = (Turns::default(), Retired::default());
        let (watched, managed, vrrp) = (None, None, super::vrrp::Told::default());
        let (guard, host) = (Guard::new(&installed), BTreeSet::new());
        Self {
            running,
            ways,
            installed,
            turns,
            retired,
            watched,
            managed,
            vrrp,
            full: None,
            guard,
            host,
            has_cookies: true,
        }
    }

    /// Takes note of an event; says what to do, in order.
    pub fn handle(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        self.ways.tick(now);
        let mut effects = match event {
            Event::Load { config, read, overlay, terms, request } => {
                let result = self.load(now, (*config, read), overlay, terms);
                self.answer(request, result)
            }
            Event::Change { change, terms, request } => {
                let result = self.change(now, change, terms);
                self.answer(request, result)
            }
            Event::SetRead { set, elements } => self.set_read(now, &set, elements),
            Event::Probes(ended) => self.probed(now, ended),
            Event::NotProbed { target, reason } => {
                self.running.checks.not_probed(&target, reason);
                Vec::new()
            }
            Event::Ways(ways) => self.routed(now, ways),
            Event::FlowCounts(cells) => {
                self.retired.count(&cells);
                // Nothing else depends on the counts, and they come every second.
                if self.retired.unused().is_empty() { Vec::new() } else { self.settle(now) }
            }
            Event::GenerationsSwept => self.swept(),
            Event::Host(host) => {
                let before = std::mem::replace(&mut self.host, host);
                if before == self.host { Vec::new() } else { self.settle(now) }
            }
            Event::CookiesReady => {
                self.has_cookies = true;
                self.settle(now)
            }
            Event::Compiled { recipe, compiled } => {
                self.guard.keep(*recipe, compiled);
                self.settle(now)
            }
            Event::NotCompiled => {
                self.guard.give_up();
                Vec::new()
            }
            Event::Installed(tables) => {
                self.installed = *tables;
                self.settle(now)
            }
            Event::Timer => {
                let is_due = self.running.paces.deadline().is_some_and(|at| at <= now);
                if is_due { self.settle(now) } else { Vec::new() }
            }
        };
        effects.extend(self.probes(now));
        effects
    }

    /// When an [`Event::Timer`] is due; ask again after every event.
    pub fn deadline(&self) -> Option<Instant> {
        let Running { checks, paces, .. } = &self.running;
        let others = [self.ways.deadline(), paces.deadline()];
        checks.deadline().into_iter().chain(others.into_iter().flatten()).min()
    }

    /// The configuration that runs: the file and the changes made at run time.
    pub fn config(&self) -> &Config {
        &self.running.config
    }

    /// The configuration as the file had it when it was loaded.
    pub fn file(&self) -> &Config {
        &self.running.file
    }

    /// The changes made at run time.
    pub fn overlay(&self) -> &Overlay {
        &self.running.overlay
    }

    /// What the sets of the firewall hold.
    pub fn sets(&self) -> &Sets {
        &self.running.sets
    }

    /// What was read or loaded for them, before changes one by one.
    pub fn stock(&self) -> &Stock {
        &self.running.stock
    }

    /// The numbers of the counters of rules.
    pub fn rule_numbers(&self) -> &RuleNumbers {
        &self.running.numbers
    }

    /// Whether services wait for the packet path to be able to answer SYNs with cookies.
    pub fn misses_cookies(&self) -> bool {
        !self.has_cookies && wants_cookies(self.config())
    }

    /// What the maps hold when all writes so far are carried out.
    pub fn installed(&self) -> &Tables {
        &self.installed
    }

    /// Health of the targets.
    pub fn checks(&self) -> &Checks {
        &self.running.checks
    }

    fn probed(&mut self, now: Instant, ended: Vec<(Target, ProbeOutcome)>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (target, outcome) in ended {
            if let Some(change) = self.running.checks.handle(now, &target, outcome) {
                let notice = format!("{target} is {}: {}", word(change.to), change.reason);
                effects.push(match change.to {
                    Health::Down => Effect::Warning(notice),
                    Health::Up | Health::Unknown => Effect::Notice(notice),
                });
            }
        }
        if !effects.is_empty() {
            effects.extend(self.settle(now));
        }
        effects
    }

    fn routed(&mut self, now: Instant, mut ways: BTreeMap<IpAddr, Way>) -> Vec<Effect> {
        // An answer about an address that is no longer asked for may still be under way.
        let watched = self.watched.iter().flatten().collect::<BTreeSet<_>>();
        ways.retain(|address, _| watched.contains(address));
        if ways.is_empty() {
            return Vec::new();
        }
        for (address, way) in ways {
            self.ways.take(address, way);
        }
        self.settle(now)
    }

    pub(super) fn probes(&mut self, now: Instant) -> impl Iterator<Item = Effect> + use<> {
        let due = self.running.checks.due(now).into_iter();
        due.map(|(target, check)| Effect::Probe { target, check })
    }

    /// Brings the tables in step with what is running now, as far as they have room.
    fn settle(&mut self, now: Instant) -> Vec<Effect> {
        self.running.note(now);
        let (desired, unused) = self.desired(&self.running);
        let before = self.full;
        let (mut effects, full) = match plan_what_fits(&self.installed, &desired, &unused) {
            Ok((writes, full)) => self.install_guarded(&desired, writes, full),
            Err(full) => (Vec::new(), Some(full)),
        };
        self.full = full;
        if before != full {
            effects.extend(self.full_warning().map(Effect::Warning));
        }
        effects
    }

    /// That some listeners are not as they should be, for want of room.
    pub(in crate::model) fn full_warning(&self) -> Option<String> {
        let full = self.full?;
        Some(format!("not all is as it should be: the tables have no room: {full}"))
    }

    /// The writes that `running` would take.
    pub(super) fn plan(&self, running: &Running) -> Result<Planned, Lack> {
        let (desired, unused) = self.desired(running);
        let writes = plan(&self.installed, &desired, &unused)?;
        let (writes, made) = self.guarded(running, writes)?;
        Ok(Planned { desired, writes, made })
    }

    /// Has what was planned carried out.
    pub(super) fn install_planned(&mut self, planned: Planned) -> Vec<Effect> {
        let Planned { desired, writes, made } = planned;
        let effects = self.install(&desired, writes.clone());
        self.note_firewall(made, &writes);
        effects
    }

    /// The tables that `running` desires, and the retired ids that no flow remembers.
    fn desired(&self, running: &Running) -> (Desired, BTreeSet<u32>) {
        let Running { config, checks, paces, .. } = running;
        let mut desired = desired(config, checks, paces, &self.turns, self.next_hops());
        if !self.has_cookies {
            desired.drop_cookies();
        }
        let mut counted = self.retired.clone();
        counted.set(&retired(&self.installed, &desired));
        let unused = counted.unused();
        (desired, unused)
    }

    /// Has the writes of a plan carried out, and what belongs to them.
    pub(super) fn install(&mut self, desired: &Desired, writes: Vec<Write>) -> Vec<Effect> {
        self.full = None;
        for write in &writes {
            self.installed.apply(write);
        }
        self.retired.set(&retired(&self.installed, desired));
        let mut effects = Vec::new();
        if !writes.is_empty() {
            effects.push(Effect::Write(writes));
        }
        let watched = self.backend_addresses();
        if self.watched.as_ref() != Some(&watched) {
            self.ways.retain(&watched);
            effects.push(Effect::Watch(watched.clone()));
            self.watched = Some(watched);
        }
        let managed = self.managed_addresses();
        if self.managed.as_ref() != Some(&managed) {
            effects.push(Effect::Addresses(managed.clone()));
            self.managed = Some(managed);
        }
        let vrrp = self.virtual_routers();
        effects.extend(self.vrrp.news(vrrp));
        let detours = self.detours().collect();
        effects.extend(self.ways.news(detours).into_iter().map(Effect::Warning));
        effects
    }

    /// Addresses of all backends, those included that only old flows remember.
    pub(super) fn backend_addresses(&self) -> BTreeSet<IpAddr> {
        let backends = self.installed.backends.values();
        backends.filter_map(server).map(|server| server.ip()).collect()
    }

    fn managed_addresses(&self) -> BTreeSet<IpAddr> {
        if !self.running.config.datapath.manage_addresses {
            return BTreeSet::new();
        }
        let services = self.running.config.services.iter();
        let vips = services.flat_map(|service| &service.listen).map(SocketAddr::ip);
        let elsewhere = self.virtual_addresses();
        vips.filter(|vip| !elsewhere.contains(vip)).collect()
    }
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Up => "up",
        Health::Down => "down",
        Health::Unknown => "unknown",
    }
}
