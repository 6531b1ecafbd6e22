//! Virtual routers: their states, and when these changed.

use lb_common::api::{Discarded, RouterChange, RouterState, VirtualRouter, VrrpStatus};

use super::table::{Column, Tone, Word, table};
use super::units::{span, time};
use super::{Look, prefixed};

pub(crate) fn status(status: &VrrpStatus, look: Look) -> String {
    let columns = [
        Column::new("ROUTER", |router: &VirtualRouter| Word::from(&router.name)),
        Column::new("GROUP", |router: &VirtualRouter| Word::from(&router.group)).wide(),
        Column::new("INTERFACE", |router: &VirtualRouter| Word::from(&router.interface)),
        Column::new("ID", |router: &VirtualRouter| router.virtual_router_id.into()).right(),
        Column::new("FAMILY", |router: &VirtualRouter| Word::from(&router.family)),
        Column::new("STATE", |router: &VirtualRouter| state(router.state)),
        Column::new("PRIORITY", |router: &VirtualRouter| router.priority.into()).right(),
        Column::new("SINCE", |router: &VirtualRouter| span(router.since_seconds).into()).right(),
        Column::new("ACTIVE ROUTER", active),
        Column::new("INTERVAL", |router: &VirtualRouter| {
            format!("{} ms", router.advert_interval_ms).into()
        })
        .right()
        .wide(),
        Column::new("SENT", |router: &VirtualRouter| router.adverts_sent.into()).right().wide(),
        Column::new("HEARD", |router: &VirtualRouter| router.adverts_received.into())
            .right()
            .wide(),
        Column::new("ADDRESSES", addresses).wide(),
        Column::new("MAC", |router: &VirtualRouter| {
            router.virtual_mac.as_deref().unwrap_or("interface's").into()
        })
        .wide(),
        Column::new("REASON", |router: &VirtualRouter| Word::from(&router.reason)),
    ];
    let mut text = table(&columns, &status.routers, look);
    text.push_str(&prefixed("warning: ", status.routers.iter().flat_map(warnings)));
    if look.wide {
        text.push_str(&prefixed("discarded: ", status.discarded.iter().map(discarded)));
    }
    text
}

pub(crate) fn history(changes: &[RouterChange], look: Look) -> String {
    let columns = [
        Column::new("TIME", |change: &RouterChange| time(change.at_unix).into()),
        Column::new("ROUTER", |change: &RouterChange| Word::from(&change.router)),
        Column::new("FROM", |change: &RouterChange| state(change.from)),
        Column::new("TO", |change: &RouterChange| state(change.to)),
        Column::new("PRIORITY", |change: &RouterChange| change.priority.into()).right(),
        Column::new("REASON", |change: &RouterChange| Word::from(&change.reason)),
    ];
    table(&columns, changes, look)
}

fn state(state: RouterState) -> Word {
    let tone = match state {
        RouterState::Initialize => Tone::Bad,
        RouterState::Backup => Tone::Plain,
        RouterState::Active => Tone::Good,
    };
    Word::new(state.name(), tone)
}

fn active(router: &VirtualRouter) -> Word {
    match (router.state, router.active) {
        (RouterState::Active, _) => "this one".into(),
        (RouterState::Backup | RouterState::Initialize, Some(address)) => address.into(),
        (RouterState::Backup | RouterState::Initialize, None) => "-".into(),
    }
}

fn addresses(router: &VirtualRouter) -> Word {
    router.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into()
}

fn warnings(router: &VirtualRouter) -> impl Iterator<Item = String> {
    let VirtualRouter { name, family, warnings, .. } = router;
    warnings.iter().map(move |warning| format!("{name} {family}: {warning}"))
}

fn discarded(it: &Discarded) -> String {
    format!("{} on {}: {}", it.reason, it.interface, it.packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(state: RouterState) -> VirtualRouter {
        VirtualRouter {
            name: "vip-a".into(),
            group: "pair".into(),
            interface: "eth0".into(),
            virtual_router_id: 51,
            virtual_mac: (state == RouterState::Active).then(|| "00:00:5e:00:01:33".into()),
            family: "ipv4".into(),
            state,
            priority: 140,
            configured_priority: 200,
            addresses: vec!["203.0.113.10".parse().unwrap()],
            source: Some("203.0.113.2".parse().unwrap()),
            changes: 3,
            since_seconds: 61,
            reason: "started".into(),
            active: (state == RouterState::Backup).then(|| "203.0.113.3".parse().unwrap()),
            advert_interval_ms: 100,
            active_interval_ms: 100,
            adverts_sent: 7,
            adverts_received: 8,
            warnings: vec!["split brain: 203.0.113.3 is Active too".into()],
        }
    }

    #[test]
    fn a_router_shows_who_has_its_addresses_and_why() {
        let routers = vec![router(RouterState::Backup), router(RouterState::Active)];
        let discarded = Discarded { interface: "eth0".into(), reason: "type".into(), packets: 3 };
        let all = VrrpStatus { routers, discarded: vec![discarded] };
        assert_eq!(
            status(&all, Look::default()),
            "\
ROUTER  INTERFACE  ID  FAMILY  STATE   PRIORITY  SINCE  ACTIVE ROUTER  REASON
vip-a   eth0       51  ipv4    backup       140  1m 1s  203.0.113.3    started
vip-a   eth0       51  ipv4    active       140  1m 1s  this one       started
warning: vip-a ipv4: split brain: 203.0.113.3 is Active too
warning: vip-a ipv4: split brain: 203.0.113.3 is Active too
"
        );
        let wide = status(&all, Look { wide: true, colour: false });
        assert!(wide.contains("203.0.113.10  interface's  "), "{wide}");
        assert!(wide.contains("203.0.113.10  00:00:5e:00:01:33  "), "{wide}");
        assert!(wide.ends_with("discarded: type on eth0: 3\n"), "{wide}");
    }

    #[test]
    fn a_change_shows_when_and_why() {
        let change = RouterChange {
            at_unix: 1_795_243_562,
            router: "vip-a".into(),
            from: RouterState::Backup,
            to: RouterState::Active,
            priority: 200,
            reason: "203.0.113.3 has left".into(),
        };
        assert_eq!(
            history(&[change], Look::default()),
            "\
TIME                  ROUTER  FROM    TO      PRIORITY  REASON
2026-11-21T06:46:02Z  vip-a   backup  active       200  203.0.113.3 has left
"
        );
    }
}
