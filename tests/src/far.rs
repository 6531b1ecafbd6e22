//! A client further away: the world's client is its router.
//!
//! ```text
//! far ---- (narrow) client ---- front  director
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::link::{End, join};
use crate::namespace::Namespace;
use crate::world::World;

/// The far client; it goes before the world does.
#[derive(Debug)]
pub struct Far {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Far {
    /// Packets to it that are larger than `mtu` must not pass the last hop. It does not know that: its own
    /// end of the link is as wide as usual, so that it asks for segments that are too large.
    pub fn behind_the_client(world: &World, mtu: u16) -> Result<Self> {
        let namespace = Namespace::create(&format!("{}-far", world.name()))?;
        let far = Self {
            namespace,
            v4: Ipv4Addr::new(198, 18, 0, 10),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0x10),
        };
        let router = &world.client.namespace;
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
        world.director.ip(
            "route add 198.18.0.0/24 via 198.51.100.10\nroute add 2001:db8:9::/64 via 2001:db8:1::10",
        )?;
        Ok(far)
    }
}
