//! Backends that are taken out by hand: drained, put into maintenance, given back.
#![cfg(feature = "root")]

use lb_tests::agent::{Settings, shop};
use lb_tests::clock::{now, wait_until};
use lb_tests::load::{TIMEOUT, by_backend, failures};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

#[test]
fn a_drained_backend_keeps_its_flows_and_gets_no_new_ones() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let (mut connection, index) = stage.connect_through(vips(PORT)[0]).unwrap();
    let drained = world.backends[index].name.clone();
    let load = stage.load().unwrap();
    load.wait_for_more(50).unwrap();
    stage.agent.ctl_ok(&["backend", "drain", "shop", &drained]).unwrap();
    let drained_at = now();
    load.wait_for_more(200).unwrap();
    assert_eq!(connection.get("/").unwrap().backend, drained);
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    let before = by_backend(exchanges.iter().filter(|it| it.ended_at < drained_at));
    assert!(before.contains_key(&drained), "{before:?}");
    let after = by_backend(exchanges.iter().filter(|it| it.started_at > drained_at));
    assert!(!after.contains_key(&drained), "{after:?}");

    stage.agent.ctl_ok(&["backend", "ready", "shop", &drained]).unwrap();
    assert_eq!(stage.answers(20).unwrap().into_values().collect::<Vec<_>>(), [10, 10]);
}

#[test]
fn waiting_for_a_drain_ends_with_the_last_flow_or_with_the_timeout() {
    let world = World::new(Arms::Two, 1).unwrap();
    // The shortest: the end of a flow is remembered for two ticks of 4.3 s.
    let datapath = "[datapath.timeouts]\ntcp_fin = \"4295ms\"\n".to_owned();
    let stage = Stage::set(&world, &Settings { datapath, ..shop(&world) }).unwrap();
    let (mut connection, _) = stage.connect_through(vips(PORT)[1]).unwrap();
    let drain = |timeout| {
        let arguments = ["backend", "drain", "shop", "web1", "--wait", "--timeout", timeout];
        stage.agent.ctl(&arguments).unwrap()
    };
    let output = drain("1500ms");
    assert_eq!(output.status.code(), Some(7));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("shop/web1 still has 1 flow after 1s 500ms"), "{said}");
    assert_eq!(connection.get("/").unwrap().backend, "web1");
    drop(connection);
    assert_eq!(drain("20s").status.code(), Some(0));
    let count = stage.agent.ctl_json(&["conn", "list", "--backend", "web1"]).unwrap();
    assert_eq!(count["total"], 0);
}

#[test]
fn a_backend_in_maintenance_takes_nothing_and_its_connections_are_reset() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let (mut connection, index) = stage.connect_through(vips(PORT)[0]).unwrap();
    let out = world.backends[index].name.clone();
    stage.agent.ctl_ok(&["backend", "maint", "shop", &out]).unwrap();
    assert!(!stage.answering(10).unwrap().contains(&out));
    let end = format!("{:#}", connection.get("/").unwrap_err());
    assert!(end.contains("reset by peer"), "{end}");
    stage.agent.ctl_ok(&["backend", "ready", "shop", &out]).unwrap();
    stage.agent.wait_for_health(&out, "up").unwrap();
    assert_eq!(stage.answering(10).unwrap().len(), 2);
}

#[test]
fn a_deleted_backend_is_forgotten_and_its_connections_are_reset() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let (mut connection, index) = stage.connect_through(vips(PORT)[1]).unwrap();
    let gone = world.backends[index].name.clone();
    stage.agent.ctl_ok(&["backend", "delete", "shop", &gone]).unwrap();
    assert_eq!(stage.answering(6).unwrap().len(), 1);
    let end = format!("{:#}", connection.get("/").unwrap_err());
    assert!(end.contains("reset by peer"), "{end}");
    let address = world.backends[index].at(PORT).map(|at| at.to_string());
    stage.agent.ctl_ok(&["backend", "add", "shop", &gone, &address[0], &address[1]]).unwrap();
    stage.agent.wait_for_health(&gone, "up").unwrap();
    wait_until("both to serve again", TIMEOUT, || Ok(stage.answering(2)?.len() == 2)).unwrap();
}
