//! Another size of the flow table by reload and restart, under load.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::time::Duration;

use lb_tests::agent::{Settings, shop};
use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::load::failures;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

const N_CONNECTIONS: usize = 20;
const MOVED: &str = "all flows are in the new flow table";
/// The kernel verifies nine programs before the first flow moves.
const MOVED_WITHIN: Duration = Duration::from_mins(2);

/// The shop with a flow table for this many flows.
fn shop_for(max_flows: u32, world: &World) -> Settings {
    Settings { datapath: format!("max_flows = {max_flows}"), ..shop(world) }
}

/// Connections that stay open, and the backend of each.
struct Open(Vec<(Connection, String)>);

impl Open {
    fn through(stage: &Stage<'_>) -> Self {
        let open = |vip| {
            let (connection, index) = stage.connect_through(vip).unwrap();
            (connection, stage.world.backends[index].name.clone())
        };
        Self(vips(PORT).into_iter().cycle().take(N_CONNECTIONS).map(open).collect())
    }

    fn still_serve(&mut self) {
        for (connection, backend) in &mut self.0 {
            assert_eq!(connection.get("/").unwrap().backend, *backend);
        }
    }
}

fn n_established(stage: &Stage<'_>) -> usize {
    let list = stage.agent.ctl_json(&["conn", "list", "--limit", "100000"]).unwrap();
    let flows = list["flows"].as_array().unwrap();
    flows.iter().filter(|flow| flow["state"] == "established").count()
}

fn n_moved(stage: &Stage<'_>) -> usize {
    stage.agent.process.log().matches(MOVED).count()
}

fn wait_until_moved(stage: &Stage<'_>, times: usize) {
    wait_until("all flows to be moved", MOVED_WITHIN, || Ok(n_moved(stage) == times)).unwrap();
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    assert_eq!(status["warnings"], serde_json::json!([]));
}

#[test]
fn the_flow_table_grows_and_shrinks_by_reload_without_one_failed_request() {
    let world = World::new(Arms::Two, 3).unwrap();
    let stage = Stage::set(&world, &shop_for(16_384, &world)).unwrap();
    let mut open = Open::through(&stage);
    let load = stage.load().unwrap();
    for (times, max_flows) in [(1, 131_072), (2, 8_192)] {
        load.wait_for_more(100).unwrap();
        stage.agent.write_config(&shop_for(max_flows, &world)).unwrap();
        stage.agent.ctl_ok(&["reload"]).unwrap();
        wait_until_moved(&stage, times);
        assert_eq!(stage.agent.ctl_json(&["status"]).unwrap()["max_flows"], max_flows);
        open.still_serve();
    }
    load.wait_for_more(100).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    open.still_serve();
    assert_eq!(n_established(&stage), N_CONNECTIONS);
    let services = stage.agent.ctl_json(&["service", "list"]).unwrap();
    let flows = exchanges.len() + N_CONNECTIONS;
    assert_eq!(services[0]["traffic"]["flows_total"], flows, "no flow was new twice: {services}");
}

#[test]
fn an_agent_that_is_killed_while_flows_move_is_followed_by_one_that_moves_the_rest() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut stage = Stage::set(&world, &shop_for(16_384, &world)).unwrap();
    let mut open = Open::through(&stage);
    let load = stage.load().unwrap();
    load.wait_for_more(50).unwrap();
    stage.agent.write_config(&shop_for(65_536, &world)).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    wait_until("flows to be moved", MOVED_WITHIN, || {
        let status = stage.agent.ctl_json(&["status"])?;
        let (left, cells) = (&status["flow_move"]["cells_left"], &status["flow_move"]["cells"]);
        Ok(left.as_u64() > Some(0) && left.as_u64() <= cells.as_u64())
    })
    .unwrap();
    let page = stage.agent.ctl_ok(&["status"]).unwrap();
    assert!(page.contains("moving to a table of this size: "), "{page}");
    stage.agent.process.kill().unwrap();
    assert_eq!(n_moved(&stage), 0, "it was killed before the end");
    load.wait_for_more(100).unwrap();
    open.still_serve();
    stage.agent.restart().unwrap();
    wait_until_moved(&stage, 1);
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    open.still_serve();
    assert_eq!(n_established(&stage), N_CONNECTIONS);
}

#[test]
fn an_agent_that_is_killed_while_maps_are_made_is_followed_by_one_that_begins_anew() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut stage = Stage::set(&world, &shop_for(16_384, &world)).unwrap();
    let mut open = Open::through(&stage);
    let load = stage.load().unwrap();
    stage.agent.write_config(&shop_for(65_536, &world)).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    stage.agent.process.kill().unwrap();
    load.wait_for_more(50).unwrap();
    stage.agent.restart().unwrap();
    // The file says so, and the maps that the first one left are of the old size.
    wait_until_moved(&stage, 1);
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    open.still_serve();
    assert_eq!(n_established(&stage), N_CONNECTIONS);
}
