//! What an interface does to frames before the program sees them, or after it let go of them.

use lb_common::api::Check;

use super::{Interface, bad, good};
use crate::io::datapath::FITS_A_PAGE;

/// What is to be said of an interface that exists.
pub(super) fn evaluate(interface: &Interface) -> Vec<Check> {
    let checks =
        [mode(interface), lro(interface), gro(interface), vlan(interface), peer(interface)];
    checks.into_iter().flatten().collect()
}

fn mode(interface: &Interface) -> Option<Check> {
    let name = format!("XDP mode {}", interface.name);
    match (interface.mode.as_deref()?, interface.mtu) {
        ("generic", Some(mtu)) if mtu > FITS_A_PAGE => {
            let detail = format!(
                "generic: every packet costs a socket buffer first; its MTU is {mtu}, and in native mode \
                 frames must fit into one page"
            );
            let remedy = format!(
                "ip link set dev {} mtu {FITS_A_PAGE} and that of all on its link, then lb-agent detach \
                 and a start",
                interface.name
            );
            Some(bad(name, detail, remedy))
        }
        ("generic", _) => Some(bad(
            name,
            "generic: every packet costs a socket buffer first",
            "use a NIC whose driver supports XDP; on virtual machines virtio needs twice as many queues as \
             CPUs",
        )),
        (mode, _) => Some(good(name, mode)),
    }
}

/// Merged packets are longer than the link that they would be forwarded to.
fn lro(interface: &Interface) -> Option<Check> {
    let name = &interface.name;
    let check = format!("LRO {name}");
    Some(if interface.lro? {
        let remedy = format!("ethtool -K {name} lro off");
        bad(check, "on: merged packets cannot be forwarded", remedy)
    } else {
        good(check, "off")
    })
}

/// The generic hook runs behind GRO, the native one in front of it.
fn gro(interface: &Interface) -> Option<Check> {
    if !interface.is("generic") || interface.gro != Some(true) {
        return None;
    }
    let name = &interface.name;
    let detail = "on: in generic mode the program sees merged packets";
    Some(bad(format!("GRO {name}"), detail, format!("ethtool -K {name} gro off")))
}

/// A tag that the NIC takes off is lost to the program: replies go back without it. Most NICs do, and it does
/// not matter where no frame has one; a VLAN device shows that some have.
fn vlan(interface: &Interface) -> Option<Check> {
    let (name, remedy) = (&interface.name, format!("ethtool -K {} rxvlan off", interface.name));
    let check = format!("VLAN offload {name}");
    Some(match (interface.rx_vlan?, interface.vlans.as_slice()) {
        (false, _) => good(check, "off"),
        (true, []) => good(check, format!("on: before clients' frames carry VLAN tags, {remedy}")),
        (true, vlans) => {
            let detail = format!(
                "on, and there is {}: replies to tagged frames go back without their tag",
                vlans.join(", ")
            );
            bad(check, detail, remedy)
        }
    })
}

/// A veth drops what XDP sends unless its other end polls: with a native program of its own, or GRO (`veth_xdp_xmit`
/// in drivers/net/veth.c). In generic mode frames go the way of all others.
fn peer(interface: &Interface) -> Option<Check> {
    let peer = interface.peer.as_ref().filter(|_| !interface.is("generic"))?;
    let (check, name) = (format!("veth peer {}", interface.name), &peer.name);
    Some(if peer.polls? {
        good(check, format!("{name} takes frames from XDP"))
    } else {
        let detail = format!("{name} does not poll: what XDP sends to it is dropped unseen");
        bad(check, detail, format!("ethtool -K {name} gro on, while both ends are up"))
    })
}
