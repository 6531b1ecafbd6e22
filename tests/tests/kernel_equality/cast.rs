//! The director of the test: services of every kind, two interfaces, and a third one that it is not on.

use std::net::{IpAddr, SocketAddr};

use lb_common::layout::{Forward, Scheduler, Settings, Slot, SynCookies, address};
use lb_ebpf::family::{TCP, UDP};
use lb_ebpf::host::{CLOSED, HostTables, NextHop, SHARED};
use nix::net::if_::if_nametoindex;

use crate::director::add_wire;

/// MAC addresses of `nic` and `second`, as far as the director knows; they tell where a frame is sent.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
/// The MAC addresses of virtual routers; the first one is Active on the first interface.
pub const VIRTUAL_MACS: [[u8; 6]; 2] = [[0, 0, 0x5e, 0, 1, 51], [0, 0, 0x5e, 0, 2, 51]];

/// A listener as clients see it.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Where it listens.
    pub vip: SocketAddr,
    /// TCP or UDP.
    pub protocol: u8,
}

/// A backend: its address, and the interface (0 or 1) on its way, if it is known.
type Server = (&'static str, Option<usize>);
/// VIP, protocol, the way to the backends with its MTU (0: not known), and the backends.
type Row = (&'static str, u8, Forward, u16, &'static [Server]);

const NAT: Forward = Forward::Nat;

/// One server has two VIPs, and the same port for TCP and UDP; some services have no backend, or one whose next hop is not known.
const BY_NAT: &[Row] = &[
    (
        "203.0.113.10:80",
        TCP,
        NAT,
        0,
        &[("10.0.0.1:8080", Some(0)), ("10.0.0.2:8080", Some(1)), ("10.0.0.3:8080", Some(0))],
    ),
    ("203.0.113.11:80", TCP, NAT, 1_500, &[("10.0.0.1:8080", Some(0))]),
    ("203.0.113.10:53", UDP, NAT, 0, &[("10.0.0.1:8080", Some(1)), ("10.0.0.2:5353", Some(0))]),
    ("203.0.113.10:81", TCP, NAT, 0, &[]),
    ("203.0.113.11:81", TCP, NAT, 0, &[("10.0.0.4:80", None), ("10.0.0.5:80", Some(1))]),
    ("203.0.113.20:80", TCP, NAT, 0, &[("10.0.0.2:80", Some(1)), ("10.0.0.5:80", Some(0))]),
    (
        "[2001:db8::10]:80",
        TCP,
        NAT,
        0,
        &[("[2001:db8:1::1]:8080", Some(0)), ("[2001:db8:1::2]:8080", Some(1))],
    ),
    ("[2001:db8::11]:80", TCP, NAT, 0, &[("[2001:db8:1::1]:8080", Some(0))]),
    (
        "[2001:db8::10]:53",
        UDP,
        NAT,
        1_280,
        &[("[2001:db8:1::1]:8080", Some(1)), ("[2001:db8:1::3]:53", Some(0))],
    ),
    ("[2001:db8::10]:81", UDP, NAT, 0, &[]),
    (
        "[2001:db8::20]:80",
        TCP,
        NAT,
        0,
        &[("[2001:db8:1::4]:80", None), ("[2001:db8:1::5]:80", Some(0))],
    ),
];

const V4_SERVERS: &[Server] = &[("10.0.0.6:80", Some(0)), ("10.0.0.7:80", Some(1))];
const V6_SERVERS: &[Server] = &[("[2001:db8:1::6]:80", Some(0)), ("[2001:db8:1::7]:80", Some(1))];

/// Each other way, with each family inside and outside, and both protocols.
const BY_OTHERS: &[Row] = &[
    ("203.0.113.12:80", TCP, Forward::FullNat, 1_500, V4_SERVERS),
    ("203.0.113.12:80", UDP, Forward::FullNat, 0, V4_SERVERS),
    ("[2001:db8::12]:80", TCP, Forward::FullNat, 0, V6_SERVERS),
    ("[2001:db8::12]:80", UDP, Forward::FullNat, 1_500, V6_SERVERS),
    ("203.0.113.13:80", TCP, Forward::Dsr, 1_500, V4_SERVERS),
    ("203.0.113.13:80", UDP, Forward::Dsr, 0, V4_SERVERS),
    ("[2001:db8::13]:80", TCP, Forward::Dsr, 1_500, V6_SERVERS),
    ("[2001:db8::13]:80", UDP, Forward::Dsr, 0, V6_SERVERS),
    ("203.0.113.14:80", TCP, Forward::IpipV4, 1_280, V4_SERVERS),
    ("203.0.113.14:80", UDP, Forward::IpipV6, 0, V6_SERVERS),
    ("[2001:db8::14]:80", TCP, Forward::IpipV4, 0, V4_SERVERS),
    ("[2001:db8::14]:80", UDP, Forward::IpipV6, 1_500, V6_SERVERS),
    ("203.0.113.15:80", UDP, Forward::GueV4, 0, V4_SERVERS),
    ("203.0.113.15:80", TCP, Forward::GueV6, 1_280, V6_SERVERS),
    ("[2001:db8::15]:80", UDP, Forward::GueV4, 1_500, V4_SERVERS),
    ("[2001:db8::15]:80", TCP, Forward::GueV6, 0, V6_SERVERS),
    ("203.0.113.19:80", UDP, Forward::IpipV4, 0, V4_SERVERS),
    ("203.0.113.19:80", TCP, Forward::IpipV6, 1_500, V6_SERVERS),
    ("[2001:db8::19]:80", UDP, Forward::IpipV4, 1_280, V4_SERVERS),
    ("[2001:db8::19]:80", TCP, Forward::IpipV6, 0, V6_SERVERS),
    ("203.0.113.21:80", TCP, Forward::GueV4, 1_500, V4_SERVERS),
    ("203.0.113.21:80", UDP, Forward::GueV6, 0, V6_SERVERS),
    ("[2001:db8::21]:80", TCP, Forward::GueV4, 0, V4_SERVERS),
    ("[2001:db8::21]:80", UDP, Forward::GueV6, 1_500, V6_SERVERS),
];

/// Those that always answer with SYN cookies.
const COOKIES: [&str; 3] = ["203.0.113.16:80", "203.0.113.17:80", "[2001:db8::16]:80"];

const BY_COOKIES: &[Row] = &[
    (COOKIES[0], TCP, NAT, 0, V4_SERVERS),
    (COOKIES[1], TCP, Forward::FullNat, 0, V4_SERVERS),
    (COOKIES[2], TCP, NAT, 0, V6_SERVERS),
];

/// One that takes no new flows.
const LIMITED: &str = "203.0.113.18:80";
const BY_LIMIT: &[Row] = &[(LIMITED, UDP, NAT, 0, V4_SERVERS)];

/// Sources of full NAT; with so few ports that they are used up now and then.
const NAT_SOURCES: [&str; 4] = ["10.0.0.254", "10.0.0.253", "2001:db8:1::fe", "2001:db8:1::fd"];

/// The address of the host's own in each family.
pub const HOST: [&str; 2] = ["203.0.113.20", "2001:db8::20"];

/// Addresses that are nobody's here.
pub const ELSEWHERE: [&str; 2] = ["192.0.2.77", "2001:db8:ffff::7"];

/// The director, and the indexes of its interfaces.
pub struct Cast {
    /// Its tables.
    pub tables: HostTables,
    /// Its services.
    pub services: Vec<Service>,
    /// Two interfaces that it is attached to, and another.
    pub interfaces: [u32; 3],
}

impl Cast {
    /// A director in this network namespace.
    pub fn new(buckets: usize) -> Self {
        let interfaces = interfaces();
        let mut tables = HostTables::with_buckets(buckets, [0x0123_4567_89ab_cdef, 42]);
        for (interface, mac) in interfaces.into_iter().zip(MACS) {
            tables.add_interface(interface, mac);
        }
        tables.add_virtual_mac(interfaces[0], VIRTUAL_MACS[0]);
        set_sources(&mut tables.settings);
        let mut services = Vec::new();
        let others = BY_OTHERS.iter().chain(BY_COOKIES).chain(BY_LIMIT);
        for (vip, protocol, forward, mtu, backends) in BY_NAT.iter().chain(others) {
            let answers_with_cookies = COOKIES.contains(vip);
            let is_limited = *vip == LIMITED;
            let vip: SocketAddr = vip.parse().unwrap();
            // Clients use NAT more than any other way, for there the most can happen.
            let weight = if *forward == NAT || answers_with_cookies { 2 } else { 1 };
            services.extend([Service { vip, protocol: *protocol }].repeat(weight));
            let is_host = HOST.contains(&vip.ip().to_string().as_str());
            tables.add_vip(vip.ip(), if is_host { SHARED } else { CLOSED });
            let listener = tables.add_listener(vip, *protocol);
            let ids: Vec<_> = backends
                .iter()
                .map(|(address, way)| {
                    let address: SocketAddr = address.parse().unwrap();
                    let hop = hop(address.ip(), *way, &interfaces);
                    let id = tables.add_backend_by(*forward, listener, address, hop);
                    tables.backends.last_mut().unwrap().mtu = *mtu;
                    id
                })
                .collect();
            let entry = tables.listeners.last_mut().unwrap();
            entry.syn_cookies =
                if answers_with_cookies { SynCookies::Always } else { SynCookies::Off }.number();
            entry.flow_cost = u32::from(is_limited);
            take_turns(&mut tables, listener, &ids);
            if listener % 5 == 2 {
                tables.set_affinity(listener, 3, if vip.is_ipv4() { 24 } else { 48 });
            }
        }
        Self { tables, services, interfaces }
    }
}

fn set_sources(settings: &mut Settings) {
    let [v4, v4_too, v6, v6_too] = NAT_SOURCES.map(|source| address(source.parse().unwrap()).0);
    (settings.nat_v4[0], settings.nat_v4[1]) = (v4[0], v4_too[0]);
    (settings.nat_v6[0], settings.nat_v6[1]) = (v6, v6_too);
    settings.nat_sources = [2, 2];
    (settings.nat_first_port, settings.nat_ports, settings.cpus) = (20_000, 4, 2);
    (settings.tunnel_v4, settings.tunnel_v6) = (v4[0] & 0xffff, v6);
    (settings.tunnel_v4_entropy, settings.tunnel_v6_entropy) = (0xffff_u32.to_be(), 0xff00);
    settings.gue_port = 6_080_u16.to_be();
}

/// Weights of two backends that are drawn by load. With them, and a thousand flows each to begin with, no two loads that
/// are seen here are equal, so that chance decides nothing.
const WEIGHTS: [u32; 2] = [65_535, 65_534];

/// Has these backends drawn in a way that can be foretold: of one slot even chance can only draw that.
fn take_turns(tables: &mut HostTables, listener: u32, ids: &[u32]) {
    let of_one = [Scheduler::LeastLoad, Scheduler::Random];
    let of_several = [Scheduler::RoundRobin, Scheduler::SourceHash, Scheduler::FlowHash];
    let choice = usize::try_from(listener).unwrap();
    let scheduler = match ids.len() {
        1 => of_one[choice % 2],
        2 if choice % 4 == 0 => Scheduler::LeastLoad,
        _ => of_several[choice / 2 % 3],
    };
    tables.set_scheduler(listener, scheduler);
    if ids.len() == 2 && scheduler == Scheduler::LeastLoad {
        let slots =
            ids.iter().zip(WEIGHTS).map(|(backend, weight)| Slot { backend: *backend, weight });
        tables.set_weighted_slots(listener, &slots.collect::<Vec<_>>());
        for id in ids {
            tables.set_swept(*id, 1_000);
        }
    } else {
        tables.set_slots(listener, ids);
    }
}

fn interfaces() -> [u32; 3] {
    if if_nametoindex("second").is_err() {
        add_wire("second", "third");
    }
    ["nic", "second", "third"].map(|name| if_nametoindex(name).unwrap())
}

fn hop(address: IpAddr, way: Option<usize>, interfaces: &[u32; 3]) -> NextHop {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    let neighbour = [2, 0, 0, 0, 9, last];
    match way {
        Some(way) => NextHop { interface: interfaces[way], neighbour, source: MACS[way] },
        None => NextHop { interface: 0, neighbour, source: [0; 6] },
    }
}
