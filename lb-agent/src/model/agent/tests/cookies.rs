//! SYN cookies are asked of the packet path when it has them, and not before.

use lb_common::layout::SynCookies;

use super::*;
use crate::model::config::Forward;

/// What the listeners ask for.
fn asked(world: &World) -> Vec<u8> {
    world.kernel.listeners.values().map(|listener| listener.syn_cookies).collect()
}

fn begin(config: Config) -> World {
    World::begin_knowing(Known { lacks_cookies: true, ..Known::default() }, &[], config)
}

#[test]
fn listeners_do_without_cookies_until_the_packet_path_has_them() {
    let mut world = begin(config(vec![shop(1)]));
    assert!(world.agent.misses_cookies());
    world.run(seconds(10));
    assert_eq!(asked(&world), [SynCookies::Off.number(); 2]);
    world.event(Event::CookiesReady);
    assert_eq!(asked(&world), [SynCookies::Auto.number(); 2]);
    assert!(!world.agent.misses_cookies());
}

#[test]
fn cookies_are_missed_when_a_service_may_want_them() {
    let mut service = shop(1);
    service.forward = Forward::Dsr;
    let mut world = begin(config(vec![service]));
    assert!(!world.agent.misses_cookies(), "its replies do not pass");
    let nat = Box::new(config(vec![shop(1)]));
    let (read, overlay, terms) = (Stock::new(), Laid::Keep, Terms::default());
    world.event(Event::Load { config: nat, read, overlay, terms, request: 1 });
    assert!(world.agent.misses_cookies());
    world.event(Event::CookiesReady);
    assert_eq!(asked(&world), [SynCookies::Auto.number(); 2]);
}

#[test]
fn an_agent_that_takes_over_leaves_cookies_as_they_are() {
    let mut world = World::begin(config(vec![shop(1)]));
    assert_eq!(asked(&world), [SynCookies::Auto.number(); 2]);
    world.restart();
    assert_eq!(world.writes_of_start, []);
}
