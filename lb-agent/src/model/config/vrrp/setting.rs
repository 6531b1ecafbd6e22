//! A `[[vrrp]]` as keys and values.

use super::super::setting::{
    Literal, Setting, bare, duration, list, list_if_any, optional, quote, text, text_of, word,
};
use super::{TrackedService, Vrrp};

/// The keys of a virtual router.
pub(in crate::model::config) fn settings(entry: &Vrrp) -> Vec<Setting> {
    let notify = entry.notify.as_ref().map(|path| path.to_string_lossy().into_owned());
    vec![
        text("name", &entry.name),
        optional("group", entry.group.clone().map(Literal::Text)),
        text("interface", &entry.interface),
        bare("virtual_router_id", entry.virtual_router_id),
        bare("priority", entry.priority),
        duration("advert_interval", entry.advert_interval),
        bare("preempt", entry.preempt),
        optional("preempt_delay", entry.preempt_delay.map(text_of)),
        list("addresses", &entry.addresses),
        bare("virtual_mac", entry.virtual_mac),
        bare("accept", entry.accept),
        optional("notify", notify.map(Literal::Text)),
        list_if_any("unicast_source", &entry.unicast_source),
        list_if_any("unicast_peers", &entry.unicast_peers),
        bare("unicast_min_hop_limit", entry.unicast_min_hop_limit),
        word("checksum_v4", entry.checksum_v4),
        word("authentication", entry.authentication),
        list_if_any("track_interfaces", &entry.track_interfaces),
        optional("track_services", tracked(&entry.track_services)),
    ]
}

fn tracked(services: &[TrackedService]) -> Option<Literal> {
    let item = |tracked: &TrackedService| {
        let weight = tracked.weight.map_or(String::new(), |weight| format!(", weight = {weight}"));
        format!("{{ service = {}{weight} }}", quote(&tracked.service))
    };
    let items: Vec<_> = services.iter().map(item).collect();
    (!items.is_empty()).then(|| Literal::Bare(format!("[{}]", items.join(", "))))
}
