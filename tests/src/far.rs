//! A host further away, behind the world's client or one of its backends, which is its router.
//!
//! ```text
//! far ---- (narrow) client ---- front  director  back ---- switch ---- web1 (narrow) ---- far
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::link::{End, join};
use crate::namespace::Namespace;
use crate::world::{Host, World};

/// A client. Packets to it that are larger than `mtu` must not pass the last hop. It does not know that: its own
/// end of the link is as wide as usual, so that it asks for segments that are too large. It goes before the world
/// does.
pub fn behind_the_client(world: &World, mtu: u16) -> Result<Host> {
    behind(world, &world.client, mtu)
}

/// The same as a backend, behind the first one.
pub fn behind_a_backend(world: &World, mtu: u16) -> Result<Host> {
    behind(world, world.backends.first().context("find a backend")?, mtu)
}

fn behind(world: &World, router: &Host, mtu: u16) -> Result<Host> {
    let far = Host {
        name: "far".to_owned(),
        namespace: Namespace::create(&format!("{}-far", world.name()))?,
        v4: Ipv4Addr::new(198, 18, 0, 10),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0x10),
    };
    let (from_v4, from_v6) = (router.v4, router.v6);
    let router = &router.namespace;
    join(
        End { namespace: &far.namespace, interface: "eth0" },
        End { namespace: router, interface: "narrow" },
    )?;
    router.ip(
        "address add 198.18.0.1/24 dev narrow\naddress add 2001:db8:9::1/64 dev narrow nodad",
    )?;
    router.ip(&format!("link set narrow mtu {mtu}"))?;
    router.sysctl("ipv4/ip_forward", "1")?;
    router.sysctl("ipv6/conf/all/forwarding", "1")?;
    far.namespace.ip(&format!(
        "address add {}/24 dev eth0\naddress add {}/64 dev eth0 nodad\n\
         route add default via 198.18.0.1\nroute add default via 2001:db8:9::1",
        far.v4, far.v6
    ))?;
    world.director.ip(&format!(
        "route add 198.18.0.0/24 via {from_v4}\nroute add 2001:db8:9::/64 via {from_v6}"
    ))?;
    Ok(far)
}
