//! The ways of forwarding in a world: what the configuration says, and what backends need.

use std::net::SocketAddr;

use anyhow::Result;

use crate::agent::{BALANCED, CALM_CHECK, Settings, service};
use crate::web::PORT;
use crate::world::{Host, VIP_V4, VIP_V6, World, vips};

/// Sources of full NAT, on ports that the director's kernel does not use, and of tunnels.
pub const SOURCES: &str = r#"full_nat = { sources = ["192.0.2.1", "2001:db8:2::1"], ports = "20000-29999" }
tunnel = { sources = ["192.0.2.1", "2001:db8:2::1"] }
"#;

/// The service `shop` by some way.
pub fn shop_by(way: &str, world: &World) -> Settings {
    let options = BALANCED.replace("\"nat\"", &format!("{way:?}"));
    let listed = service("shop", &vips(PORT), &options, world);
    Settings { datapath: SOURCES.to_owned(), tables: format!("{CALM_CHECK}\n{listed}") }
}

/// Whether backends have the VIPs, and answer clients past the director.
pub fn is_direct(way: &str) -> bool {
    !way.ends_with("nat")
}

/// Gives a backend the VIPs, and a way to the clients that is not the director's.
pub fn give_vips(host: &Host) -> Result<()> {
    host.answer_directly()?;
    let lines = format!("address add {VIP_V4}/32 dev lo\naddress add {VIP_V6}/128 dev lo nodad");
    host.namespace.ip(&lines)
}

/// Where a backend serves.
pub fn served_at(host: &Host, way: &str, port: u16) -> [SocketAddr; 2] {
    if is_direct(way) { vips(port) } else { host.at(port) }
}
