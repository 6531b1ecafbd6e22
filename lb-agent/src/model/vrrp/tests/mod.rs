//! Virtual routers without a network: one director whose neighbours are played by the test.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::advert::Advert;
use super::{Effect, Event, GROUP_V4, GROUP_V6, Interface, Network, Received, Routers, State};
use crate::model::cast::start;
use crate::model::config::{Vrrp, VrrpChecksum};

mod adverts;
mod captures;
mod election;
mod flows;
mod groups;
mod proofs;
mod reload;
mod resilience;
mod table;
mod tracking;
mod virtual_mac;
mod world;

/// This director's addresses on its interfaces.
const OWN: [&str; 2] = ["192.0.2.5", "fe80::5"];
/// Those of the other one.
const OTHER: &str = "192.0.2.6";
const OTHER_V6: &str = "fe80::6";

/// IPv4 alone, priority 100, once a second.
fn router(name: &str, id: u8) -> Vrrp {
    let router = crate::model::cast::router(name, id);
    Vrrp { addresses: vec!["203.0.113.10/32".parse().unwrap()], ..router }
}

fn network(interfaces: &[&str]) -> Network {
    let nets = OWN.iter().map(|address| address.parse::<IpAddr>().unwrap().into());
    let addresses: Vec<_> = nets.collect();
    let mac = Some([2, 0, 0, 0, 0, 5]);
    let interface = |(index, name): (u32, &&str)| {
        let addresses = addresses.clone();
        ((*name).to_owned(), Interface { index, mac, is_running: true, addresses })
    };
    (1..).zip(interfaces).map(interface).collect()
}

/// A director.
struct One {
    routers: Routers,
    begin: Instant,
    now: Instant,
    /// The history, a word each: `send 100`, `place 1`, `announce`, `backup`.
    did: Vec<String>,
}

impl One {
    /// With these routers and two interfaces.
    fn with(entries: Vec<Vrrp>) -> Self {
        let now = start();
        let mut one = Self { routers: Routers::default(), begin: now, now, did: Vec::new() };
        one.event(Event::Network(network(&["eth0", "eth1"])));
        one.configure(entries);
        one
    }

    fn configure(&mut self, routers: Vec<Vrrp>) {
        self.event(Event::Configure { routers, dead_services: BTreeSet::new() });
    }

    fn event(&mut self, event: Event) {
        let effects = self.routers.handle(self.now, event);
        self.note(effects);
    }

    fn note(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let word = match effect {
                Effect::Send { packet, destination, .. } => {
                    // The priority stands behind version and id.
                    let header = if destination.is_ipv4() { 20 } else { 40 };
                    format!("send {}", packet[header + 2])
                }
                Effect::Hold => "hold".to_owned(),
                Effect::Accept(routers) => format!("accept {}", routers.len()),
                Effect::Addresses(places) => format!("place {}", places.len()),
                Effect::Announce { .. } => "announce".to_owned(),
                Effect::Changed(change) => change.to.name().to_owned(),
                Effect::Warning(warning) => format!("warning {warning}"),
            };
            self.did.push(word);
        }
    }

    /// What was done since this was asked last.
    fn did(&mut self) -> String {
        std::mem::take(&mut self.did).join(", ")
    }

    /// Lets time pass; timers fire on time.
    fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(at) = self.routers.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.event(Event::Timer);
        }
        self.now = end;
    }

    /// Lets time pass during which this director does not run.
    fn sleep(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn hear(&mut self, priority: u8) {
        self.hear_from(OTHER, "eth0", 51, priority);
    }

    fn hear_from(&mut self, source: &str, interface: &str, id: u8, priority: u8) {
        let interval = Duration::from_secs(1);
        let advert = Advert { id, priority, interval, addresses: vec![vip(source)] };
        self.event(Event::Received(received(source, interface, &advert)));
    }

    fn state(&self) -> State {
        let group = self.routers.groups.values().next().unwrap();
        group.state
    }

    /// Milliseconds from now to the deadline.
    fn due(&self) -> u128 {
        let deadline = self.routers.deadline().unwrap();
        deadline.saturating_duration_since(self.now).as_millis()
    }

    /// Milliseconds since the begin.
    fn at(&self) -> u128 {
        (self.now - self.begin).as_millis()
    }

    /// A director that has become Active.
    fn active(entries: Vec<Vrrp>) -> Self {
        let mut one = Self::with(entries);
        one.run(5_000);
        assert_eq!(one.state(), State::Active);
        one.did();
        one
    }
}

/// The virtual address of the routers of these tests.
fn vip(source: &str) -> IpAddr {
    let is_ipv4 = source.contains('.');
    if is_ipv4 { "203.0.113.10" } else { "fe80::200:5eff:fe00:233" }.parse().unwrap()
}

fn received(source: &str, interface: &str, advert: &Advert) -> Received {
    let source: IpAddr = source.parse().unwrap();
    let destination = if source.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() };
    let payload = advert.encode(source, destination, VrrpChecksum::PseudoHeader);
    Received {
        interface: interface.to_owned(),
        source,
        destination,
        hop_limit: 255,
        options: Vec::new(),
        payload,
    }
}
