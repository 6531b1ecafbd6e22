//! Metrics of the virtual routers.

use std::fmt;

use lb_common::api::{RouterState, VirtualRouter, VrrpStatus};

use super::text::{Families, Label, count, gauge, yes};

pub(super) fn encode(status: &VrrpStatus, families: &mut Families<'_>) -> fmt::Result {
    let routers = || status.routers.iter().map(|router| (labels(router), router));
    let active = routers().map(|(labels, it)| gauge(labels, yes(it.state == RouterState::Active)));
    let help = "Whether the virtual router is Active on this director";
    families.family("lb_vrrp_active", help, active)?;
    let up = routers().map(|(labels, it)| gauge(labels, yes(it.state != RouterState::Initialize)));
    let help = "Whether the virtual router takes part in the election";
    families.family("lb_vrrp_up", help, up)?;
    let priority = routers().map(|(labels, it)| gauge(labels, f64::from(it.priority)));
    let help = "Priority by now, with tracked services";
    families.family("lb_vrrp_priority", help, priority)?;
    let warnings = routers().map(|(labels, it)| gauge(labels, yes(!it.warnings.is_empty())));
    let help = "Whether a split brain, or another router with other settings, is seen";
    families.family("lb_vrrp_warning", help, warnings)?;
    let changes = routers().map(|(labels, it)| count(labels, it.changes));
    families.family("lb_vrrp_changes", "Changes of the virtual router's state", changes)?;
    let sent = routers().map(|(labels, it)| count(labels, it.adverts_sent));
    families.family("lb_vrrp_adverts_sent", "Advertisements sent", sent)?;
    let received = routers().map(|(labels, it)| count(labels, it.adverts_received));
    families.family(
        "lb_vrrp_adverts_received",
        "Advertisements received and believed",
        received,
    )?;
    let discarded = status
        .discarded
        .iter()
        .map(|it| count(vec![("interface", &it.interface), ("reason", &it.reason)], it.packets));
    let help = "Advertisements received and not believed";
    families.family("lb_vrrp_adverts_discarded", help, discarded)
}

fn labels(router: &VirtualRouter) -> Vec<Label<'_>> {
    vec![("router", &router.name), ("interface", &router.interface), ("family", &router.family)]
}
