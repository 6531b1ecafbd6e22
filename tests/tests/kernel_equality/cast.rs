//! The director of the test: services of every kind, two interfaces, and a third one that it is not on.

use std::net::{IpAddr, SocketAddr};

use lb_common::layout::Scheduler;
use lb_ebpf::family::{TCP, UDP};
use lb_ebpf::host::{CLOSED, HostTables, NextHop, SHARED};
use nix::net::if_::if_nametoindex;

use crate::director::add_wire;

/// MAC addresses of `nic` and `second`, as far as the director knows; they tell where a frame is sent.
pub const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];

/// A listener as clients see it.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Where it listens.
    pub vip: SocketAddr,
    /// TCP or UDP.
    pub protocol: u8,
}

/// VIP, protocol and backends: address, and the interface (0 or 1) on their way, if it is known.
type Row = (&'static str, u8, &'static [(&'static str, Option<usize>)]);

/// One server has two VIPs, and the same port for TCP and UDP; some services have no backend, or one whose next hop is not known.
const SERVICES: &[Row] = &[
    (
        "203.0.113.10:80",
        TCP,
        &[("10.0.0.1:8080", Some(0)), ("10.0.0.2:8080", Some(1)), ("10.0.0.3:8080", Some(0))],
    ),
    ("203.0.113.11:80", TCP, &[("10.0.0.1:8080", Some(0))]),
    ("203.0.113.10:53", UDP, &[("10.0.0.1:8080", Some(1)), ("10.0.0.2:5353", Some(0))]),
    ("203.0.113.10:81", TCP, &[]),
    ("203.0.113.11:81", TCP, &[("10.0.0.4:80", None), ("10.0.0.5:80", Some(1))]),
    ("203.0.113.20:80", TCP, &[("10.0.0.2:80", Some(1)), ("10.0.0.5:80", Some(0))]),
    (
        "[2001:db8::10]:80",
        TCP,
        &[("[2001:db8:1::1]:8080", Some(0)), ("[2001:db8:1::2]:8080", Some(1))],
    ),
    ("[2001:db8::11]:80", TCP, &[("[2001:db8:1::1]:8080", Some(0))]),
    (
        "[2001:db8::10]:53",
        UDP,
        &[("[2001:db8:1::1]:8080", Some(1)), ("[2001:db8:1::3]:53", Some(0))],
    ),
    ("[2001:db8::10]:81", UDP, &[]),
    ("[2001:db8::20]:80", TCP, &[("[2001:db8:1::4]:80", None), ("[2001:db8:1::5]:80", Some(0))]),
];

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
        let mut services = Vec::new();
        for (vip, protocol, backends) in SERVICES {
            let vip: SocketAddr = vip.parse().unwrap();
            services.push(Service { vip, protocol: *protocol });
            let is_host = HOST.contains(&vip.ip().to_string().as_str());
            tables.add_vip(vip.ip(), if is_host { SHARED } else { CLOSED });
            let listener = tables.add_listener(vip, *protocol);
            let ids: Vec<_> = backends
                .iter()
                .map(|(address, way)| {
                    let address: SocketAddr = address.parse().unwrap();
                    tables.add_backend(listener, address, hop(address.ip(), *way, &interfaces))
                })
                .collect();
            tables.set_slots(listener, &ids);
            tables.set_scheduler(listener, scheduler(listener, ids.len()));
            if listener % 5 == 2 {
                tables.set_affinity(listener, 3, if vip.is_ipv4() { 24 } else { 48 });
            }
        }
        Self { tables, services, interfaces }
    }
}

/// One whose choice can be foretold: of one slot even chance can only draw that.
fn scheduler(listener: u32, n_backends: usize) -> Scheduler {
    let of_one = [Scheduler::LeastLoad, Scheduler::Random];
    let of_several = [Scheduler::RoundRobin, Scheduler::SourceHash, Scheduler::FlowHash];
    let choice = usize::try_from(listener).unwrap();
    if n_backends == 1 { of_one[choice % 2] } else { of_several[choice / 2 % 3] }
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
