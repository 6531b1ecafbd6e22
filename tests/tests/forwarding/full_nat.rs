//! Full NAT: backends need no way back to the clients, and may be clients themselves.

use lb_tests::command::run;
use lb_tests::load::{by_backend, failures, send_in_turn};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

use lb_tests::way::shop_by;

use crate::exchange;

#[test]
fn backends_without_a_route_to_the_clients_serve_them() {
    for arms in [Arms::One, Arms::Two] {
        let world = World::new(arms, 3).unwrap();
        for host in &world.backends {
            let lines = "route del default via 192.0.2.1\nroute del default via 2001:db8:2::1";
            host.namespace.ip(lines).unwrap();
        }
        let stage = Stage::set(&world, &shop_by("full-nat", &world)).unwrap();
        let counts = stage.answers(60).unwrap();
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [20, 20, 20], "{arms:?}");
        for vip in vips(PORT) {
            exchange(&stage, vip);
            let (_connection, index) = stage.connect_through(vip).unwrap();
            let mut ss = world.backends[index].namespace.command("ss");
            let sockets = run(ss.args(["-Htn", "state", "established"])).unwrap();
            let source = if vip.is_ipv4() { "192.0.2.1:2" } else { "[2001:db8:2::1]:2" };
            assert!(sockets.contains(source), "no {source} in\n{sockets}");
        }
    }
}

#[test]
fn a_backend_is_a_client_of_the_vip_that_it_serves() {
    for arms in [Arms::One, Arms::Two] {
        let world = World::new(arms, 2).unwrap();
        let _stage = Stage::set(&world, &shop_by("full-nat", &world)).unwrap();
        for host in &world.backends {
            let exchanges = send_in_turn(&host.namespace, &vips(PORT), 20).unwrap();
            assert_eq!(failures(&exchanges), Vec::<&String>::new(), "{arms:?} {}", host.name);
            let counts = by_backend(&exchanges);
            assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10], "itself too");
        }
    }
}

#[test]
fn the_way_changes_by_reload_under_load_and_open_connections_stay_where_they_are_kept() {
    let world = World::new(Arms::Two, 2).unwrap();
    let by = |way: &str| {
        let mut settings = shop_by(way, &world);
        settings.tables =
            settings.tables.replace("scheduler", "on_backend_down = \"keep\"\nscheduler");
        settings
    };
    let stage = Stage::set(&world, &by("nat")).unwrap();
    let load = stage.load().unwrap();
    let mut open = Vec::new();
    for way in ["full-nat", "nat", "full-nat"] {
        load.wait_for_more(60).unwrap();
        open.extend(vips(PORT).map(|vip| stage.connect_through(vip).unwrap()));
        stage.agent.write_config(&by(way)).unwrap();
        let said = stage.agent.ctl_ok(&["reload"]).unwrap();
        assert!(said.contains("forward"), "{said}");
    }
    load.wait_for_more(60).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    assert_eq!(by_backend(&exchanges).len(), 2);
    for (connection, index) in &mut open {
        assert_eq!(connection.get("/").unwrap().backend, world.backends[*index].name);
    }
}

#[test]
fn the_way_changes_by_reload_and_open_connections_end_where_they_are_not_kept() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::set(&world, &shop_by("nat", &world)).unwrap();
    let mut open = vips(PORT).map(|vip| stage.connect_through(vip).unwrap().0);
    stage.agent.write_config(&shop_by("full-nat", &world)).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    for connection in &mut open {
        connection.get("/").unwrap_err();
    }
    assert!(stage.packets("reset_sent").unwrap() >= 2);
    assert_eq!(stage.answers(10).unwrap().len(), 1);
}

#[test]
fn ports_that_health_checks_may_take_are_found_by_the_doctor() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut settings = shop_by("full-nat", &world);
    let stage = Stage::set(&world, &settings).unwrap();
    let doctor = || {
        let output = stage.agent.ctl(&["doctor"]).unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (_, said) = doctor();
    assert!(said.contains("full NAT 192.0.2.1") && !said.contains("health checks"), "{said}");
    settings.datapath = settings.datapath.replace("20000-29999", "20000-60999");
    stage.agent.write_config(&settings).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    let (code, said) = doctor();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("or ports outside of 32768-60999"), "{said}");
}
