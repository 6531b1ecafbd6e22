//! What the tables should say: the only function that derives them from configuration and health.
//!
//! There are no ids here: [`super::plan`] gives them. The one hard fact: a backend is in the slots of a
//! listener exactly if new flows may go to it now.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::layout::{self, BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET, Vip};

use super::config::{self, Config, Forward, Limits, OnBackendDown, Service};
use super::firewall::{Firewall, SynCookies};
use super::health::Checks;
use super::paces::Paces;
use super::tables::{ListenerKey, NextHop};
use members::Members;
pub use room::{MOST_TURNS, cut, least_turns};
use settings::whole_ticks;
pub use turns::Turns;

mod members;
mod ring;
mod room;
mod rotation;
mod settings;
#[cfg(test)]
mod tests;
mod turns;

pub(super) use members::{can_serve, is_in_panic, is_ready};

/// What the tables should say.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// What is the same for all packets; what the maps were made with is zero.
    pub settings: layout::Settings,
    /// VIPs.
    pub vips: BTreeMap<IpAddr, Vip>,
    /// Where is listened.
    pub listeners: BTreeMap<ListenerKey, Listener>,
    /// Ways to backends, those included that only old flows remember.
    pub next_hops: NextHops,
}

/// One VIP, port and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listener whose cursor it draws from.
    pub cursor: ListenerKey,
    /// A [`state`](lb_common::layout::Backend::state) for each backend of the VIP's family.
    pub backends: BTreeMap<SocketAddr, u8>,
    /// The backends that new flows may go to, each with its weight.
    pub members: Vec<(SocketAddr, u32)>,
    /// Whose turn it is, slot by slot: indexes of `members`.
    pub turns: Arc<[u32]>,
    /// How a slot is drawn.
    pub draw: Draw,
    /// The state of backends that are dead or gone.
    pub down: u8,
    /// How packets reach the backends.
    pub forward: Forward,
}

/// The ways to addresses that are known.
type NextHops = BTreeMap<IpAddr, NextHop>;

/// How a listener draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The way an index is drawn.
    pub scheduler: layout::Scheduler,
    /// For how many ticks a source is remembered; 0: not at all.
    pub affinity_ticks: u32,
    /// How many leading bits of a source count.
    pub affinity_prefix: u32,
    /// When SYNs are answered with cookies.
    pub syn_cookies: layout::SynCookies,
    /// SYNs that may be followed by nothing before [`layout::SynCookies::Auto`] means always.
    pub unanswered: Pace,
    /// Flows that may begin.
    pub new_flows: Pace,
}

/// How often something may happen: what fills a token bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// After so many nanoseconds once more; 0: always.
    pub cost: u32,
    /// So often at once.
    pub burst: u32,
}

impl Pace {
    /// A pace by the number that may happen in a second.
    fn of(per_second: u32, burst: u32) -> Self {
        Self { cost: 1_000_000_000 / per_second.max(1), burst }
    }
}

/// Derives the tables. `turns` keeps what takes long to work out from one call to the next.
pub fn desired(
    config: &Config,
    checks: &Checks,
    paces: &Paces,
    turns: &Turns,
    next_hops: &NextHops,
) -> Desired {
    turns.begin();
    let firewall = &config.firewall;
    let ring_cap = room::cap(config.services.iter());
    let known = Known { checks, paces, turns, next_hops, ring_cap, firewall };
    let services: Vec<_> =
        config.services.iter().map(|service| (service, by_family(service, known))).collect();
    Desired {
        settings: settings::settings(&config.datapath),
        vips: vips(config),
        listeners: services
            .iter()
            .flat_map(|(service, members)| listeners(service, members, known))
            .collect(),
        next_hops: next_hops.clone(),
    }
}

impl Desired {
    /// No SYN is answered with a cookie.
    pub(super) fn drop_cookies(&mut self) {
        for listener in self.listeners.values_mut() {
            listener.draw.syn_cookies = layout::SynCookies::Off;
        }
    }
}

/// Whether any service may answer SYNs with cookies.
pub(super) fn wants_cookies(config: &Config) -> bool {
    let cookies = |service| cookies(service, &config.firewall);
    config.services.iter().any(|service| cookies(service) != layout::SynCookies::Off)
}

/// The addresses of the services, and those at which the host must not answer.
fn vips(config: &Config) -> BTreeMap<IpAddr, Vip> {
    let closed = u32::from(config.datapath.manage_addresses);
    let listens = config.services.iter().flat_map(|service| &service.listen);
    let listens = listens.map(|listen| (listen.ip(), Vip { closed }));
    // RFC 9568 6.1: without Accept_Mode the addresses are not the host's.
    let shut = config.vrrp.iter().filter(|router| !router.accept);
    let shut = shut.flat_map(|router| &router.addresses).map(|net| (net.addr(), Vip { closed: 1 }));
    listens.chain(shut).collect()
}

/// What is known besides the configuration.
#[derive(Clone, Copy)]
struct Known<'a> {
    checks: &'a Checks,
    paces: &'a Paces,
    turns: &'a Turns,
    next_hops: &'a NextHops,
    /// The largest ring.
    ring_cap: u32,
    firewall: &'a Firewall,
}

/// The members of a service for IPv4 and IPv6.
type ByFamily<'a> = [Members<'a>; 2];

fn by_family<'a>(service: &'a Service, known: Known<'_>) -> ByFamily<'a> {
    [true, false].map(|is_ipv4| Members::of(service, known, is_ipv4))
}

/// The listeners of a service. Those of one family are alike.
fn listeners(
    service: &Service,
    members: &ByFamily<'_>,
    known: Known<'_>,
) -> Vec<(ListenerKey, Listener)> {
    let [v4, v6] = members.each_ref().map(|members| (members, turns(service, members, known)));
    let are_alike = v4.0.rotation().eq(v6.0.rotation());
    let first = |is_ipv4| service.listen.iter().find(|at| are_alike || at.is_ipv4() == is_ipv4);
    let listen = |&address: &SocketAddr| {
        let (members, turns) = if address.is_ipv4() { &v4 } else { &v6 };
        let key = |address| ListenerKey { address, protocol: service.protocol };
        let listener = Listener {
            cursor: key(first(address.is_ipv4()).copied().unwrap_or(address)),
            backends: members.states.clone(),
            members: members.serving.clone(),
            turns: Arc::clone(turns),
            draw: draw(service, address, known.firewall),
            down: down(service),
            forward: service.forward,
        };
        (key(address), listener)
    };
    service.listen.iter().map(listen).collect()
}

fn turns(service: &Service, members: &Members<'_>, known: Known<'_>) -> Arc<[u32]> {
    if service.scheduler.is_by_hash() {
        known.turns.ring(&members.configured, known.ring_cap)
    } else {
        known.turns.cycle(&members.serving)
    }
}

fn draw(service: &Service, listen: SocketAddr, firewall: &Firewall) -> Draw {
    let scheduler = match service.scheduler {
        config::Scheduler::RoundRobin | config::Scheduler::WeightedRoundRobin => {
            layout::Scheduler::RoundRobin
        }
        config::Scheduler::LeastConnections | config::Scheduler::WeightedLeastConnections => {
            layout::Scheduler::LeastLoad
        }
        config::Scheduler::SourceHash => layout::Scheduler::SourceHash,
        config::Scheduler::Maglev => layout::Scheduler::FlowHash,
        config::Scheduler::Random => layout::Scheduler::Random,
    };
    let affinity = service.affinity.map(|affinity| {
        let prefix = if listen.is_ipv4() { affinity.prefix_v4 } else { affinity.prefix_v6 };
        (whole_ticks(affinity.timeout), prefix)
    });
    let (affinity_ticks, affinity_prefix) = affinity.unwrap_or_default();
    let limit = |limits: Limits| Pace::of(limits.new_connections_per_second, limits.burst);
    Draw {
        scheduler,
        affinity_ticks,
        affinity_prefix,
        syn_cookies: cookies(service, firewall),
        // A second's SYNs at once, for services begin their days so.
        unanswered: Pace::of(firewall.syn_cookies_above, firewall.syn_cookies_above),
        new_flows: service.limits.map_or_else(Pace::default, limit),
    }
}

/// Without replies nothing can be translated.
fn cookies(service: &Service, firewall: &Firewall) -> layout::SynCookies {
    let passes_replies = matches!(service.forward, Forward::Nat | Forward::FullNat);
    match firewall.syn_cookies {
        SynCookies::Auto if passes_replies => layout::SynCookies::Auto,
        SynCookies::Always if passes_replies => layout::SynCookies::Always,
        SynCookies::Off | SynCookies::Auto | SynCookies::Always => layout::SynCookies::Off,
    }
}

fn down(service: &Service) -> u8 {
    match service.on_backend_down {
        OnBackendDown::Reset => BACKEND_DOWN_RESET,
        OnBackendDown::Keep => BACKEND_DOWN_KEEP,
    }
}
