//! What the API shows.

use std::time::Duration;

use lb_common::layout::{Count, Traffic};

use super::*;
use crate::model::agent::{Effect, Event};
use crate::model::agent::{Known, Laid, Terms};
use crate::model::cast::{VIP, at, config, outcome, shop, start, tables, v4, v6};
use crate::model::config::BackendState;
use crate::model::overlay::Overlay;

/// An agent whose first probes have ended; those of `web2` failed.
fn agent(now: Instant) -> Agent {
    let mut service = shop(3);
    service.backends[2].state = BackendState::Maint;
    let mut file = config(vec![service]);
    file.services.push(crate::model::config::Service {
        name: "idle".to_owned(),
        listen: vec![at("203.0.113.11:53")],
        health_check: None,
        backends: Vec::new(),
        ..shop(0)
    });
    let (mut agent, effects) = Agent::new(now, 1, file, Known::default(), tables()).unwrap();
    for effect in effects {
        if let Effect::Probe { target, .. } = effect {
            let outcome = outcome(target.backend != "web2");
            agent.handle(now + Duration::from_secs(1), Event::Probes(vec![(target, outcome)]));
        }
    }
    agent
}

fn traffic(packets: u64) -> Traffic {
    Traffic { forward: Count { packets, bytes: 60 * packets }, flows: 1, ..Traffic::default() }
}

#[test]
fn a_backends_traffic_is_the_sum_over_its_ids() {
    let agent = agent(start());
    let ids =
        agent.owners().into_iter().filter(|(_, owner)| owner.backend.as_deref() == Some("web1"));
    let ids: Vec<u32> = ids.map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 2);
    let listeners = agent.installed().pointers.values().map(|id| (*id, traffic(100))).collect();
    let backends = [(ids[0], traffic(10)), (ids[1], traffic(20))].into();
    let flows = [(ids[0], 3), (ids[1], 4)].into();
    let counters = Counters { listeners: &listeners, backends: &backends, flows: &flows };
    let services = agent.services(counters);
    let web1 = services[0].backends[0].traffic;
    assert_eq!((web1.packets, web1.bytes, web1.flows_total, web1.flows), (30, 1_800, 2, 7));
    assert_eq!(services[0].backends[1].traffic, api::Traffic::default());
    assert_eq!((services[0].traffic.packets, services[0].traffic.flows), (200, 7));
    assert_eq!(services[1].traffic.packets, 100);
}

#[test]
fn a_service_is_shown_in_the_words_of_the_file() {
    let none = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let counters = Counters { listeners: &none.0, backends: &none.1, flows: &none.2 };
    let services = agent(start()).services(counters);
    let shop = &services[0];
    let words = [&shop.name, &shop.protocol, &shop.forward, &shop.scheduler];
    assert_eq!(words, ["shop", "tcp", "nat", "rr"]);
    assert_eq!(shop.health_check.as_deref(), Some("web"));
    let seen: Vec<_> = shop.backends.iter().map(|at| (at.health, at.serving, at.state)).collect();
    assert_eq!(
        seen,
        [
            (Health::Up, true, BackendState::Ready),
            (Health::Down, false, BackendState::Ready),
            (Health::Unknown, false, BackendState::Maint),
        ]
    );
}

#[test]
fn a_backend_that_differs_from_the_file_is_marked() {
    let now = start();
    let overlay = r#"{"services":{"shop":{"set":{"web1":{"weight":5}}}}}"#;
    let overlay: Overlay = serde_json::from_str(overlay).unwrap();
    let (agent, _) =
        Agent::new(now, 1, config(vec![shop(2)]), Known { overlay, ..Known::default() }, tables())
            .unwrap();
    let none = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let counters = Counters { listeners: &none.0, backends: &none.1, flows: &none.2 };
    let marks: Vec<bool> =
        agent.services(counters)[0].backends.iter().map(|backend| backend.overlay).collect();
    assert_eq!(marks, [true, false]);
}

#[test]
fn health_says_how_each_address_fares() {
    let begin = start();
    let health = agent(begin).health(begin + Duration::from_secs(61));
    let seen: Vec<_> =
        health.iter().map(|at| (at.address, at.health, at.last_result.as_str())).collect();
    assert_eq!(
        seen,
        [
            (v4(1), Health::Up, "connected"),
            (v6(1), Health::Up, "connected"),
            (v4(2), Health::Down, "no answer within 1s"),
            (v6(2), Health::Down, "no answer within 1s"),
            (v4(3), Health::Unknown, "in maintenance"),
            (v6(3), Health::Unknown, "in maintenance"),
        ]
    );
    assert_eq!((health[0].since_seconds, health[0].last_duration_ms), (60, 1));
}

#[test]
fn history_is_told_in_calendar_time() {
    let begin = start();
    let unix = |at: Instant| 999_939 + (at - begin).as_secs();
    let history = agent(begin).history(unix);
    assert_eq!(history.len(), 4);
    let last = history.last().unwrap();
    assert_eq!((last.at_unix, last.from, last.to), (999_940, Health::Unknown, Health::Down));
    assert_eq!((last.backend.as_str(), last.reason.as_str()), ("web2", "no answer within 1s"));
}

#[test]
fn an_id_names_its_owner_until_it_is_freed() {
    let now = start();
    let mut agent = agent(now);
    let (config, request) = (Box::new(config(vec![shop(1)])), 1);
    let (read, overlay, terms) = ([].into(), Laid::Keep, Terms::default());
    agent.handle(now, Event::Load { config, read, overlay, terms, request });
    let owners = agent.owners();
    let of = |address| owners.values().find(|owner| owner.address == address).unwrap();
    assert_eq!(of(v4(1)).backend.as_deref(), Some("web1"));
    assert_eq!(of(v4(1)).listener.address, at(VIP));
    assert_eq!((of(v4(2)).service.as_deref(), of(v4(2)).backend.as_deref()), (Some("shop"), None));
}

#[test]
fn a_service_that_nobody_serves_is_a_warning() {
    let summary = agent(start()).summary();
    assert_eq!((summary.services, summary.backends, summary.backends_serving), (2, 3, 1));
    assert_eq!(summary.warnings, ["service idle: no backend takes new flows"]);
}
