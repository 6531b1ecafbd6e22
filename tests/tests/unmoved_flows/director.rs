//! The agent, what its writes have made of the maps, and a packet path that reads those.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lb_agent::model::agent::{Agent, Effect, Event, Known, ProbeOutcome, Target, Terms};
use lb_agent::model::config::parse;
use lb_agent::model::overlay::change::Change;
use lb_agent::model::tables::{self, ListenerKey, NextHop, Tables};
use lb_common::api::{BackendAction, BackendChange};
use lb_common::layout::{BACKEND_UP, Listener, ListenerKeyV4, ListenerKeyV6, address, endpoint};
use lb_common::verdict::Verdict;
use lb_ebpf::host::{CLOSED, HostFrame, HostTables};
use lb_tests::clock::now;

use crate::frames::{Ends, ends};
use crate::way::{MAC, VIPS, Way, number};

const INTERFACE: u32 = 2;
const N_BACKENDS: u32 = 512;

pub struct Director {
    /// Backends that answer no probe.
    pub silent: BTreeSet<u8>,
    way: Way,
    agent: Agent,
    installed: Tables,
    host: HostTables,
    now: Instant,
    /// Probes that are to end.
    probed: Vec<Target>,
    is_refused: bool,
}

impl Director {
    pub fn new(scheduler: &str, way: Way) -> Self {
        let text = way.config(scheduler, 1..=6);
        let config = parse("lb.toml", &text, "host1").unwrap().config;
        let mut host = HostTables::new(4_096, [3, 4]);
        host.add_interface(INTERFACE, MAC);
        for vip in VIPS {
            host.add_vip(vip.ip(), CLOSED);
        }
        host.make_room(8, usize::try_from(N_BACKENDS).unwrap());
        let installed = Tables {
            settings: host.settings,
            vips: BTreeMap::new(),
            pointers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            runs: BTreeMap::new(),
            backends: BTreeMap::new(),
            firewall: None,
        };
        let begin = now();
        let (agent, effects) =
            Agent::new(begin, 1, config, Known::default(), installed.clone()).unwrap();
        let silent = BTreeSet::new();
        let (probed, is_refused) = (Vec::new(), false);
        let mut director =
            Self { silent, way, agent, installed, host, now: begin, probed, is_refused };
        director.carry_out(effects);
        director.install();
        director
    }

    fn event(&mut self, event: Event) {
        let effects = self.agent.handle(self.now, event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut unknown = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Write(writes) => {
                    for write in &writes {
                        self.installed.apply(write);
                    }
                }
                Effect::Watch(addresses) => {
                    unknown.extend(addresses.into_iter().map(|to| (to, way_to(number(to)))));
                }
                Effect::Probe { target, .. } => self.probed.push(target),
                Effect::Reply { result: Err(_), .. } => self.is_refused = true,
                Effect::Compile(_) => unreachable!("there are no rules"),
                Effect::Reply { result: Ok(_), .. }
                | Effect::Addresses(_)
                | Effect::Vrrp { .. }
                | Effect::SaveOverlay(_)
                | Effect::SaveSet { .. }
                | Effect::SaveRuleNumbers(_)
                | Effect::ClearRuleCounts(_)
                | Effect::Notice(_)
                | Effect::SetRefused { .. }
                | Effect::Warning(_) => {}
            }
        }
        if !unknown.is_empty() {
            self.event(Event::Ways(unknown));
        }
    }

    /// Gives the packet path the tables as they are.
    fn install(&mut self) {
        self.host.settings = self.installed.settings;
        self.host.listener_ids_v4.clear();
        self.host.listener_ids_v6.clear();
        for (key, id) in &self.installed.pointers {
            point(&mut self.host, *key, *id);
        }
        for (id, listener) in &self.installed.listeners {
            let run = self.host.listeners[index(*id)].run;
            self.host.listeners[index(*id)] = Listener { run, ..*listener };
            self.host.set_weighted_slots(*id, self.installed.slots(listener));
        }
        for id in 0..N_BACKENDS {
            let backend = self.installed.backends.get(&id);
            let free = self.host.backends[index(N_BACKENDS - 1)];
            self.host.backends[index(id)] = backend.copied().unwrap_or(free);
        }
    }

    /// Changes a backend; false where there is none, or one that is to be new.
    pub fn change(&mut self, backend: u8, action: BackendAction) -> bool {
        self.is_refused = false;
        let backend = format!("web{backend}");
        let change = BackendChange { service: "shop".into(), backend, action };
        let (change, terms) = (Change::Backend(change), Terms::default());
        self.event(Event::Change { change, terms, request: 1 });
        !self.is_refused
    }

    /// Lets time pass, and tells the agent how probes have ended and what a sweep would count.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.event(Event::Timer);
        let ended = take(&mut self.probed).into_iter().map(|target| {
            let passed = !self.silent.contains(&number(target.address.ip()));
            (target, ProbeOutcome { passed, result: String::new(), took: Duration::ZERO })
        });
        let ended = ended.collect();
        self.event(Event::Probes(ended));
        let mut cells = BTreeMap::new();
        for cell in self.host.cells().into_iter().filter(|cell| !cell.is_empty()) {
            *cells.entry(cell.backend()).or_default() += 1;
        }
        self.event(Event::FlowCounts(cells));
        self.install();
    }

    /// Sends a frame; returns the one that it became if it went to a backend.
    fn send(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (outcome, frame) = self.host.send(HostFrame::new(frame, INTERFACE));
        (outcome.verdict == Verdict::ToBackend).then(|| frame.bytes())
    }

    /// Sends another packet of a client's flow; says to whom it went.
    pub fn more(&self, ends: Ends) -> Option<u8> {
        self.send(&self.way.more(ends)).map(|frame| backend_of(&frame))
    }

    /// Opens a flow; says to whom.
    pub fn open(&self, flow: Ends) -> Option<u8> {
        let frame = self.send(&self.way.opening(flow))?;
        let backend = backend_of(&frame);
        if self.way.answers() {
            let answer = self.way.answer(ends(&frame).unwrap().turned());
            let (outcome, frame) = self.host.send(HostFrame::new(&answer, INTERFACE));
            assert_eq!(outcome.verdict, Verdict::ToClient);
            assert_eq!(ends(&frame.bytes()), Some(flow.turned()));
        }
        assert_eq!(self.more(flow), Some(backend));
        Some(backend)
    }

    /// Whether a backend's flows to a VIP are its own.
    pub fn is_alive(&self, backend: u8, vip: SocketAddr) -> bool {
        let mut backends = self.installed.backends.values();
        backends.any(|entry| {
            let server = tables::server(entry).map(|server| number(server.ip()));
            let is_of_vip = entry.vip == address(vip.ip()).0;
            is_of_vip && server == Some(backend) && entry.state == BACKEND_UP
        })
    }
}

fn point(host: &mut HostTables, key: ListenerKey, id: u32) {
    let (address, port, family) = endpoint(key.address);
    let (protocol, reserved) = (key.protocol_number(), 0);
    if family == 4 {
        let key = ListenerKeyV4 { address: address[0], port, protocol, reserved };
        host.listener_ids_v4.insert(key, id);
    } else {
        host.listener_ids_v6.insert(ListenerKeyV6 { address, port, protocol, reserved }, id);
    }
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap()
}

/// Each backend has a MAC address of its own, for no other address tells all ways of forwarding apart.
fn way_to(backend: u8) -> tables::Way {
    let neighbour = [6, 0, 0, 0, 0, backend];
    tables::Way::Known(NextHop { interface: INTERFACE, neighbour, source: MAC, mtu: 1_500 })
}

fn backend_of(frame: &[u8]) -> u8 {
    assert_eq!(frame[..5], [6, 0, 0, 0, 0]);
    frame[5]
}
