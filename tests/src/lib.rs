//! Worlds of network namespaces in which Sluice is tested and shown.
//!
//! A [`World`](world::World) is a client, a director and backends, each in a network namespace of its own
//! and wired up with veth pairs. Nothing here knows the packet path: an [`Agent`](agent::Agent) is the real
//! binary with a real configuration file. Everything that is made is removed by `Drop`, on a panic too;
//! what a killed process leaves behind is removed by the next one.

pub mod agent;
pub mod binaries;
pub mod bpf_fs;
pub mod capture;
pub mod clock;
pub mod command;
pub mod decap;
pub mod far;
pub mod flood;
pub mod flooder;
pub mod greeter;
pub mod held;
pub mod http_client;
pub mod http_server;
pub mod link;
pub mod load;
pub mod losses;
pub mod machine;
pub mod namespace;
pub mod pair;
pub mod process;
pub mod pulse;
pub mod stage;
pub mod stale;
pub mod tunnel;
pub mod udp_echo;
pub mod wall_clock;
pub mod way;
pub mod web;
pub mod world;
pub mod xdp;
