//! Services that answer with SYN cookies: real clients and servers on both sides of the translation.
#![cfg(feature = "root")]

use anyhow::Result;
use lb_tests::agent::{BALANCED, CALM_CHECK, Settings, service};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

/// The service `shop`, which always answers with cookies.
fn guarded(world: &World, lines: &str) -> Settings {
    let shop = service("shop", &vips(PORT), lines, world);
    let tables = format!("[firewall]\nsyn_cookies = \"always\"\n{CALM_CHECK}\n{shop}");
    Settings { tables, ..Settings::default() }
}

fn stage(world: &World) -> Result<Stage<'_>> {
    Stage::set(world, &guarded(world, BALANCED))
}

#[test]
fn clients_are_answered_and_every_connection_began_with_a_cookie() {
    for arms in [Arms::One, Arms::Two] {
        let world = World::new(arms, 2).unwrap();
        let stage = stage(&world).unwrap();
        assert_eq!(stage.answers(40).unwrap().values().sum::<usize>(), 40);
        assert!(stage.packets("syn_cookie_sent").unwrap() >= 40);
        assert!(stage.packets("syn_cookie_accepted").unwrap() >= 40);
    }
}
