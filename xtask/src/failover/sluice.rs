//! The configuration of a director of Sluice.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use lb_tests::pair::{Pair, VIP_V4};

use super::Setup;
use super::directors::{GATEWAY, other, own_address};

const KEY: &str = "a key of thirty-two bytes or more";

/// By a hash the other director finds the backend of a connection too that began a moment before the fault.
pub(crate) fn tables(pair: &Pair, number: usize, setup: Setup) -> Result<String> {
    let key = pair.folder().join("sync.key");
    std::fs::write(&key, KEY).context("write the key")?;
    std::fs::set_permissions(&key, Permissions::from_mode(0o600))?;
    let backends = pair.backends.iter().map(|host| {
        format!("[[service.backend]]\nname = \"{}\"\naddress = \"{}:80\"\n", host.name, host.v4)
    });
    let router = |name: &str, interface: &str, id: u8, address: &str| {
        format!(
            "[[vrrp]]\nname = \"{name}\"\ngroup = \"pair\"\ninterface = \"{interface}\"\n\
             virtual_router_id = {id}\npriority = {}\npreempt = {}\nadvert_interval = \"{}ms\"\n\
             addresses = [\"{address}\"]\n",
            setup.priority(number),
            setup.has_preferred,
            setup.advert.as_millis()
        )
    };
    Ok(format!(
        "[[service]]\nname = \"shop\"\nlisten = [\"{VIP_V4}:80\"]\nscheduler = \"maglev\"\n{}\n{}{}\n\
         [sync]\nlisten = \"{}:8848\"\npeers = [\"{}:8848\"]\nkey_file = \"{}\"\n",
        backends.collect::<Vec<_>>().concat(),
        router("vip", "front", 51, &format!("{VIP_V4}/32")),
        router("gateway", "back", 52, GATEWAY),
        own_address(number),
        own_address(other(number)),
        key.display()
    ))
}
