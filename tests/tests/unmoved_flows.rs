//! No established flow of a living backend ever moves, whatever happens to the backends, under any scheduler:
//! the agent's own plans on tables in memory, with real frames.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "modules that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "packet_path/frames.rs"]
mod frames;
#[expect(dead_code, reason = "another test uses the rest")]
#[path = "kernel_equality/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use lb_agent::model::agent::{Agent, Effect, Event};
use lb_agent::model::config::parse;
use lb_agent::model::overlay::Overlay;
use lb_agent::model::tables::{self, NextHop, Tables, Way};
use lb_common::LAYOUT_VERSION;
use lb_common::api::{BackendAction, BackendChange, BackendState};
use lb_common::layout::{BACKEND_UP, Listener, ListenerKeyV4, endpoint};
use lb_common::verdict::Verdict;
use lb_ebpf::host::{CLOSED, HostFrame, HostTables};
use lb_tests::clock::now;

use frames::{ACK, Ends, Link, SYN, ends, tcp_frame, v4};
use random::Random;

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const INTERFACE: u32 = 2;
const MAC: [u8; 6] = [2; 6];
const CHANGES: usize = 1_000;
const FLOWS: u16 = 25;
const SCHEDULERS: [&str; 7] = ["rr", "wrr", "lc", "wlc", "sh", "maglev", "random"];

/// The agent, what its writes have made of the maps, and a packet path that reads those.
struct Director {
    agent: Agent,
    installed: Tables,
    host: HostTables,
    now: Instant,
    refusals: usize,
}

fn config(scheduler: &str) -> String {
    let head = format!(
        "version = 1\ndatapath.interfaces = ['eth0']\n[[service]]\nname = 'shop'\nlisten = '{VIP}'\n\
         scheduler = '{scheduler}'\nslow_start = '20s'\naffinity = {{ prefix_v4 = 24, timeout = '10s' }}\n"
    );
    let backend = |n| format!("[[service.backend]]\nname = 'web{n}'\naddress = '{}'\n", web(n));
    (1..=6).map(backend).fold(head, |text, backend| text + &backend)
}

fn web(number: usize) -> SocketAddr {
    v4([192, 0, 2, u8::try_from(number).unwrap()], 8080)
}

impl Director {
    fn new(scheduler: &str) -> Self {
        let config = parse("lb.toml", &config(scheduler), "host1").unwrap().config;
        let mut host = HostTables::new(4_096, [3, 4]);
        host.add_vip(VIP.ip(), CLOSED);
        host.add_interface(INTERFACE, MAC);
        host.make_room(8, 512);
        let settings = lb_common::layout::Settings { layout: LAYOUT_VERSION, ..host.settings };
        let mut installed = Tables {
            settings,
            vips: BTreeMap::new(),
            pointers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            runs: BTreeMap::new(),
            backends: BTreeMap::new(),
        };
        let begin = now();
        let (agent, effects) =
            Agent::new(begin, 1, config, &Overlay::default(), installed.clone()).unwrap();
        installed.settings.timeouts = host.settings.timeouts;
        let mut director = Self { agent, installed, host, now: begin, refusals: 0 };
        director.carry_out(effects);
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
                    self.install();
                }
                Effect::Watch(addresses) => unknown.extend(addresses.into_iter().map(way_to)),
                Effect::Reply { result: Err(_), .. } => self.refusals += 1,
                Effect::Reply { result: Ok(_), .. }
                | Effect::Probe { .. }
                | Effect::Addresses(_)
                | Effect::Vrrp { .. }
                | Effect::SaveOverlay(_)
                | Effect::Notice(_)
                | Effect::Warning(_) => {}
            }
        }
        if !unknown.is_empty() {
            self.event(Event::Ways(unknown));
        }
    }

    /// Gives the packet path the tables as they are.
    fn install(&mut self) {
        let (address, port, _) = endpoint(VIP);
        let key = ListenerKeyV4 { address: address[0], port, protocol: 6, reserved: 0 };
        self.host.listener_ids_v4.extend(self.installed.pointers.values().map(|id| (key, *id)));
        for (id, listener) in &self.installed.listeners {
            let run = self.host.listeners[index(*id)].run;
            self.host.listeners[index(*id)] = Listener { run, ..*listener };
            self.host.set_weighted_slots(*id, self.installed.slots(listener));
        }
        for id in 0..512 {
            let backend = self.installed.backends.get(&id);
            self.host.backends[index(id)] = backend.copied().unwrap_or(self.host.backends[511]);
        }
    }

    fn change(&mut self, backend: &str, action: BackendAction) {
        let change = BackendChange { service: "shop".into(), backend: backend.into(), action };
        self.event(Event::Change { change, dry_run: false, request: 1 });
    }

    /// Lets time pass, and tells the agent what a sweep would count.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.event(Event::Timer);
        let mut cells = BTreeMap::new();
        for cell in self.host.cells().into_iter().filter(|cell| !cell.is_empty()) {
            *cells.entry(cell.backend()).or_default() += 1;
        }
        self.event(Event::FlowCounts(cells));
    }

    /// Sends a packet of a client; says where it went, unless it was dropped or answered.
    fn send(&self, client: SocketAddr, flags: u8) -> Option<SocketAddr> {
        let link = Link { destination: MAC, source: [7; 6], tags: Vec::new() };
        let frame = tcp_frame(&link, Ends { source: client, destination: VIP }, flags, &[]);
        let (outcome, frame) = self.host.send(HostFrame::new(&frame, INTERFACE));
        let forwarded = outcome.verdict == Verdict::ToBackend;
        forwarded.then(|| ends(&frame.bytes()).unwrap().destination)
    }

    /// Opens a connection; says to whom.
    fn open(&self, client: SocketAddr) -> Option<SocketAddr> {
        let backend = self.send(client, SYN)?;
        let link = Link { destination: MAC, source: [9; 6], tags: Vec::new() };
        let answer = Ends { source: backend, destination: client };
        let frame = tcp_frame(&link, answer, SYN | ACK, &[]);
        let (outcome, _) = self.host.send(HostFrame::new(&frame, INTERFACE));
        assert_eq!(outcome.verdict, Verdict::ToClient);
        assert_eq!(self.send(client, ACK), Some(backend));
        Some(backend)
    }

    fn is_alive(&self, address: SocketAddr) -> bool {
        let mut backends = self.installed.backends.values();
        backends.any(|entry| tables::server(entry) == Some(address) && entry.state == BACKEND_UP)
    }
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap()
}

fn way_to(address: IpAddr) -> (IpAddr, Way) {
    (
        address,
        Way::Known(NextHop { interface: INTERFACE, neighbour: [9; 6], source: MAC, mtu: 1_500 }),
    )
}

fn any_change(director: &mut Director, random: &mut Random) {
    let number = 1 + random.below(8);
    let name = format!("web{number}");
    let (address, weight, backup, state) = (None, None, None, None);
    let set = |weight, backup, state| BackendAction::Set { address, weight, backup, state };
    let states =
        [BackendState::Ready, BackendState::Ready, BackendState::Drain, BackendState::Maint];
    let weights = [0, 1, 50, 100, 100, 333, 65_535];
    let action = match random.below(10) {
        0 => BackendAction::Delete,
        1 | 2 => BackendAction::Add { address: vec![web(number)], weight, backup: false },
        3..=5 => set(Some(random.pick(&weights)), backup, state),
        6 => set(weight, Some(random.chance(20)), state),
        _ => set(weight, backup, Some(random.pick(&states))),
    };
    director.change(&name, action);
}

/// Makes changes, and looks at all open flows after each.
fn change_and_look(scheduler: &str) {
    let mut random = Random::new(1_234_567);
    let mut director = Director::new(scheduler);
    let mut flows: BTreeMap<SocketAddr, SocketAddr> = BTreeMap::new();
    let (mut n_looks, mut port) = (0, 1_000);
    for change in 0..CHANGES {
        while flows.len() < usize::from(FLOWS) {
            port += 1;
            let client = v4([198, 51, random.byte() % 8, 7], port);
            match director.open(client) {
                Some(backend) => drop(flows.insert(client, backend)),
                // Nobody serves at the moment.
                None => break,
            }
        }
        any_change(&mut director, &mut random);
        director.pass(Duration::from_millis(u64::from(random.word()) / 8));
        flows.retain(|_, backend| director.is_alive(*backend));
        for (client, backend) in &flows {
            let went = director.send(*client, ACK);
            assert_eq!(went, Some(*backend), "{scheduler}: {client} after change {change}");
            n_looks += 1;
        }
    }
    assert!(n_looks > CHANGES * usize::from(FLOWS) / 4, "{scheduler}: only {n_looks} looks");
    assert!(director.refusals * 2 < CHANGES, "{} changes were refused", director.refusals);
}

#[test]
fn no_flow_of_a_living_backend_moves_over_a_thousand_changes() {
    for scheduler in SCHEDULERS {
        change_and_look(scheduler);
    }
}
