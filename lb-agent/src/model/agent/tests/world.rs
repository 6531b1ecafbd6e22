//! Servers, a kernel's tables and a clock around one agent.

use std::time::Instant;

use lb_common::api::BackendChange;

use super::*;
use crate::model::cast::{VIP, at, start, tables};
use crate::model::config::{Config, Protocol};
use crate::model::tables::ListenerKey;

pub(super) struct World {
    pub(super) agent: Agent,
    /// What the writes have made of the maps.
    pub(super) kernel: Tables,
    pub(super) saved: Overlay,
    pub(super) stock: Stock,
    pub(super) numbers: RuleNumbers,
    /// Counters of rules that were set to zero.
    pub(super) cleared: Vec<u32>,
    pub(super) watched: BTreeSet<IpAddr>,
    pub(super) managed: BTreeSet<IpAddr>,
    /// What the virtual routers were told: how many they are, and the dead services.
    pub(super) vrrp: Vec<(usize, BTreeSet<String>)>,
    pub(super) notices: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) writes_of_start: Vec<Write>,
    began: Instant,
    now: Instant,
    dead: BTreeSet<SocketAddr>,
    arriving: Vec<(Instant, Target, ProbeOutcome)>,
    probes: Vec<SocketAddr>,
    pub(super) reply: Option<Result<Applied, Refusal>>,
    /// A firewall that is to be compiled.
    pub(super) compiling: Option<Box<Order>>,
    rotations: Vec<(Instant, String)>,
}

impl World {
    /// The agent's first start, on maps that were just made; all servers live.
    pub(super) fn begin(config: Config) -> Self {
        Self::begin_without(&[], config)
    }

    /// The same, but some servers are dead from the beginning.
    pub(super) fn begin_without(dead: &[SocketAddr], config: Config) -> Self {
        Self::begin_knowing(Known::default(), dead, config)
    }

    /// The same with what the agent knows.
    pub(super) fn begin_knowing(known: Known, dead: &[SocketAddr], config: Config) -> Self {
        let now = start();
        let (agent, effects) = Agent::new(now, 7, config, known, tables()).unwrap();
        let mut world = Self {
            agent,
            kernel: tables(),
            saved: Overlay::default(),
            stock: Stock::new(),
            numbers: RuleNumbers::default(),
            cleared: Vec::new(),
            watched: BTreeSet::new(),
            managed: BTreeSet::new(),
            vrrp: Vec::new(),
            notices: Vec::new(),
            warnings: Vec::new(),
            writes_of_start: Vec::new(),
            began: now,
            now,
            dead: dead.iter().copied().collect(),
            arriving: Vec::new(),
            probes: Vec::new(),
            reply: None,
            compiling: None,
            rotations: Vec::new(),
        };
        world.carry_out(effects);
        world
    }

    /// The agent dies and another one takes over: probes under way are lost.
    pub(super) fn restart(&mut self) {
        self.restart_with(self.agent.file().clone());
    }

    /// The same, and the file has changed meanwhile.
    pub(super) fn restart_with(&mut self, file: Config) {
        self.arriving.clear();
        let (agent, effects) =
            Agent::new(self.now, 8, file, self.kept(), self.kernel.clone()).unwrap();
        self.agent = agent;
        self.writes_of_start.clear();
        for effect in &effects {
            if let Effect::Write(writes) = effect {
                self.writes_of_start.extend(writes.clone());
            }
        }
        self.carry_out(effects);
    }

    fn kept(&self) -> Known {
        let (overlay, stock) = (self.saved.clone(), self.stock.clone());
        Known { overlay, stock, numbers: self.numbers.clone(), ..Known::default() }
    }

    pub(super) fn kill(&mut self, server: SocketAddr) {
        self.dead.insert(server);
    }

    pub(super) fn revive(&mut self, server: SocketAddr) {
        self.dead.remove(&server);
    }

    /// Lets time pass in which the agent does what it was asked for at its start, and hears nothing.
    pub(super) fn stall(&mut self, time: Duration) {
        self.now += time;
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrives = self.arriving.iter().map(|(at, ..)| *at).min();
            let next = arrives.into_iter().chain(self.agent.deadline()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            match self.arriving.iter().position(|(at, ..)| *at <= self.now) {
                Some(place) => {
                    let (_, target, outcome) = self.arriving.remove(place);
                    self.event(Event::Probes(vec![(target, outcome)]));
                }
                None => self.event(Event::Timer),
            }
        }
        self.now = end;
    }

    /// What waits for a firewall is tried again when that is there.
    pub(super) fn event(&mut self, event: Event) {
        let mut to_do = vec![event];
        while let Some(event) = to_do.pop() {
            self.begin_event(event.clone());
            if let Some(order) = self.compiling.take() {
                let (compiled, recipe) = (order.recipe.compile(), Box::new(order.recipe));
                self.begin_event(Event::Compiled { recipe, compiled });
                to_do.push(event);
            }
        }
    }

    /// The same, but a firewall that is asked for is not made.
    pub(super) fn begin_event(&mut self, event: Event) {
        let effects = self.agent.handle(self.now, event);
        self.carry_out(effects);
    }

    /// An event that is answered.
    pub(super) fn ask(&mut self, event: Event) -> Result<Applied, Refusal> {
        self.event(event);
        self.reply.take().unwrap()
    }

    pub(super) fn load(&mut self, config: Config) -> Result<Applied, Refusal> {
        self.load_with(config, Stock::new())
    }

    /// A load with what was read of the files of sets.
    pub(super) fn load_with(&mut self, config: Config, read: Stock) -> Result<Applied, Refusal> {
        let (config, request) = (Box::new(config), 1);
        let (overlay, terms) = (Laid::Keep, Terms::default());
        self.ask(Event::Load { config, read, overlay, terms, request })
    }

    pub(super) fn change(
        &mut self,
        backend: &str,
        action: BackendAction,
    ) -> Result<Applied, Refusal> {
        let (service, backend) = ("shop".to_owned(), backend.to_owned());
        self.change_any(Change::Backend(BackendChange { service, backend, action }))
    }

    pub(super) fn change_any(&mut self, change: Change) -> Result<Applied, Refusal> {
        self.ask(Event::Change { change, terms: Terms::default(), request: 1 })
    }

    pub(super) fn add(&mut self, name: &str, server: SocketAddr) -> Result<Applied, Refusal> {
        let address = vec![server];
        self.change(name, BackendAction::Add { address, weight: None, backup: false })
    }

    pub(super) fn set_state(
        &mut self,
        backend: &str,
        state: BackendState,
    ) -> Result<Applied, Refusal> {
        let (address, weight, backup, state) = (None, None, None, Some(state));
        self.change(backend, BackendAction::Set { address, weight, backup, state })
    }

    pub(super) fn set_weight(&mut self, backend: &str, weight: u32) -> Result<Applied, Refusal> {
        let (address, weight, backup, state) = (None, Some(weight), None, None);
        self.change(backend, BackendAction::Set { address, weight, backup, state })
    }

    /// Id of a server behind the shop's first VIP, even if only flows remember it.
    pub(super) fn id(&self, server: SocketAddr) -> Option<u32> {
        let (address, port, _) = lb_common::layout::endpoint(server);
        let mut backends = self.kernel.backends.iter();
        let found = backends.find(|(_, entry)| entry.address == address && entry.port == port)?;
        Some(*found.0)
    }

    pub(super) fn state(&self, server: SocketAddr) -> u8 {
        self.kernel.backends[&self.id(server).unwrap()].state
    }

    /// The servers that take turns behind the shop's first VIP.
    pub(super) fn rotation(&self) -> Vec<String> {
        let key = ListenerKey { address: at(VIP), protocol: Protocol::Tcp };
        let Some(id) = self.kernel.pointers.get(&key) else { return Vec::new() };
        let slots = self.kernel.slots(&self.kernel.listeners[id]).iter().map(|slot| &slot.backend);
        let server = |id| self.kernel.backends[id].address[0].to_ne_bytes()[3];
        slots.map(|id| format!("web{}", server(id))).collect()
    }

    /// The rotations since `after` the beginning, the one that it began with included.
    pub(super) fn rotations_since(&self, after: Duration) -> Vec<&str> {
        let since = self.began + after;
        let n_before = self.rotations.iter().filter(|(at, _)| *at < since).count();
        self.rotations[n_before.saturating_sub(1)..]
            .iter()
            .map(|(_, names)| names.as_str())
            .collect()
    }

    pub(super) fn probes_of(&self, server: SocketAddr) -> usize {
        self.probes.iter().filter(|probed| **probed == server).count()
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write(writes) => writes.iter().for_each(|write| self.kernel.apply(write)),
                Effect::Compile(order) => self.compiling = Some(order),
                Effect::Probe { target, check } => self.probe(target, check.timeout),
                Effect::Watch(addresses) => self.watched = addresses,
                Effect::Addresses(addresses) => self.managed = addresses,
                Effect::Vrrp { routers, dead_services } => {
                    self.vrrp.push((routers.len(), dead_services));
                }
                Effect::SaveOverlay(overlay) => self.saved = overlay,
                Effect::SetRefused { set, reason } => {
                    self.warnings.push(format!("set {set}: {reason}"));
                }
                Effect::ClearRuleCounts(numbers) => self.cleared.extend(numbers),
                Effect::SaveRuleNumbers(numbers) => self.numbers = numbers,
                Effect::SaveSet { set, elements } => drop(self.stock.insert(set, elements)),
                Effect::Reply { result, .. } => self.reply = Some(result),
                Effect::Notice(notice) => self.notices.push(notice),
                Effect::Warning(warning) => self.warnings.push(warning),
            }
        }
        assert_eq!(&self.kernel, self.agent.installed());
        let rotation = self.rotation().join(" ");
        if self.rotations.last().is_none_or(|(_, last)| *last != rotation) {
            self.rotations.push((self.now, rotation));
        }
    }

    /// A live server answers within a millisecond, a dead one never.
    fn probe(&mut self, target: Target, timeout: Duration) {
        self.probes.push(target.address);
        let passed = !self.dead.contains(&target.address);
        let took = if passed { Duration::from_millis(1) } else { timeout };
        let outcome = crate::model::cast::outcome(passed);
        self.arriving.push((self.now + took, target, ProbeOutcome { took, ..outcome }));
    }
}
