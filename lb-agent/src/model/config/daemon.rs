//! `[agent]`, `[api]` and `[metrics]`: the daemon itself.

use std::path::PathBuf;

use super::address;
use super::reader::Table;
use super::value::{choice, name, path, permissions, socket_path};
use super::{Agent, Api, Metrics, Shutdown};

const STATE_DIR: &str = "/var/lib/lb";
const SOCKET: &str = "/run/lb/lb.sock";
const SOCKET_MODE: u32 = 0o660;

/// Reads `[agent]`; the node is named like the host if the file does not say.
pub(super) fn agent(mut table: Table<'_>, host_name: &str) -> Option<Agent> {
    let node = table.or("node", host_name.to_owned(), name);
    let shutdown = table.or("shutdown", Shutdown::Keep, choice(&[]));
    let state_dir = table.or("state_dir", PathBuf::from(STATE_DIR), path);
    table.finish(&[]);
    Some(Agent { node: node?.value, shutdown: shutdown?.value, state_dir: state_dir?.value })
}

/// Reads `[api]`.
pub(super) fn api(mut table: Table<'_>) -> Option<Api> {
    let socket = table.or("socket", PathBuf::from(SOCKET), socket_path);
    let socket_mode = table.or("socket_mode", SOCKET_MODE, permissions);
    table.finish(&[]);
    Some(Api { socket: socket?.value, socket_mode: socket_mode?.value })
}

/// Reads `[metrics]`.
pub(super) fn metrics(mut table: Table<'_>) -> Option<Metrics> {
    let listen = table.optional("listen", address::local);
    table.finish(&[]);
    Some(Metrics { listen: listen?.map(|listen| listen.value) })
}
